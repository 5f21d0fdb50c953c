"""Choosing devices on the command line: BDFs, short BDFs and globs."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from qatprep.errors import InputError
from qatprep.hardware import BDF
from qatprep.text import did_you_mean

if TYPE_CHECKING:
    from qatprep.cli.session import Session
    from qatprep.facts import Facts
    from qatprep.facts.pci import PciFacts


def full(bdf: str) -> str:
    """A BDF with its domain; one without is of domain 0000. InputError for what is not a BDF."""
    text = bdf.strip().lower()
    text = text if text.count(":") >= 2 else f"0000:{text}"
    if not BDF.fullmatch(text):
        if BDF.fullmatch(re.sub(r"\.[89a-f]$", ".0", text)):
            raise InputError(f"{bdf!r} is no PCI address: a device has functions 0 to 7", "qatprep device list --all")
        raise InputError(
            f"{bdf!r} is neither a PCI address nor a network interface or disk of this host",
            "write it as 0000:6b:00.1 or 6b:00.1",
        )
    return text


def matching(patterns: Iterable[str], known: Iterable[str], what: str) -> list[str]:
    """The BDFs that the patterns mean, in the order of `known`. InputError for a pattern that means nothing.

    "6b:00.0" is "0000:6b:00.0": only a BDF without a domain is completed, and only by domain 0000.
    """
    known = list(known)
    chosen: set[str] = set()
    for pattern in patterns:
        whole = pattern.lower() if pattern.count(":") >= 2 else f"0000:{pattern.lower()}"
        found = [bdf for bdf in known if fnmatch.fnmatchcase(bdf, whole) or fnmatch.fnmatchcase(bdf, pattern.lower())]
        if not found:
            hint = did_you_mean(whole, known, "qatprep device list shows them all")
            raise InputError(f"no {what} matches {pattern!r}", hint)
        chosen.update(found)
    return [bdf for bdf in known if bdf in chosen]


def chooser(facts: Facts, patterns: list[str]) -> Callable[[str], bool] | None:
    """A filter for PFs (VFs in a VM); None when nothing was asked for."""
    if not patterns:
        return None
    known = [pf.bdf for pf in facts.pci.pfs] + [vf.bdf for vf in facts.pci.vfs]
    return set(matching(patterns, known, "QAT device")).__contains__


def name_of(facts: Facts) -> Callable[[str], str]:
    """What is written next to a BDF: family and NUMA node."""
    return names(facts.pci)


def names(pci: PciFacts) -> Callable[[str], str]:
    table = {pf.bdf: f"{pf.name}, NUMA node {pf.numa_node}" if pf.numa_node >= 0 else pf.name for pf in pci.pfs}
    return lambda bdf: table.get(bdf, "")


def to_undo(session: Session, run: str) -> str:
    """How a run on the session's host is undone: a command, or why not."""
    if session.simulate and not session.env.get("QATPREP_STATE"):
        return "nothing of it is kept: with QATPREP_STATE=FILE a simulated host stays as it is between calls"
    from qatprep.cli.open_host import same_host

    return f"qatprep rollback {run}{same_host(session.root, session.simulate)}"
