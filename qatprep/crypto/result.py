"""What one provider did: the word every engine reports in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["passed", "failed", "unavailable", "not run"]


@dataclass(frozen=True)
class ProviderResult:
    """What one provider did."""

    provider: str
    state: State
    summary: str
    """One sentence: what ran, or why nothing did."""
    fix: str = ""
    library: str = ""
    """The library that signed, with its version; "" when none did."""
    key: str = ""
    signatures: int = 0
    """Signatures made and checked."""
    wrong: int = 0
    checked_by: str = ""
    evidence: tuple[str, ...] = ()
    devices: tuple[tuple[str, int, int | None], ...] = ()
    """QAT: BDF of each PF (in a VM: VF) that signed, signatures, and responses that its firmware counted (None where it
    does not say)."""
    code: str = ""
    """A stable word for the outcome: passed, wrong, no-device, held, ... (qat_verdict.py); "" where state says it."""
