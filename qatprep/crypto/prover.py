"""Proofs from a process of their own: a kernel call that does not return takes that process, not ours.

VFs are proved one after the other. Side by side they starve each other: the PF gives a VF one second to take an answer,
and polling in many threads made good VFs miss it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Self

from qatprep.crypto.child import Child, Trouble
from qatprep.direct.result import Cause, Evidence, Limits, Proof, Seen, Step

PATIENCE = 75.0
"""Seconds without a sign from the process. The kernel itself waits 60 s for a function to come back from its reset
(PCIE_RESET_READY_POLL_MS, drivers/pci/pci.h)."""
SETTLE = 5.0
"""Seconds for it to put back what it has begun, once we stop asking."""

Keep = Callable[[str, dict[str, Any]], None]
"""Takes the BDF and one line of its trace (result.Entry.as_dict)."""


class Prover:
    """A context manager. Not for several threads."""

    def __init__(
        self, *, limits: Limits | None = None, patience: float = PATIENCE, command: Sequence[str] = (), way: str = ""
    ) -> None:
        self._limits, self._patience, self._command, self._way = limits or Limits(), patience, command, way
        self._child: Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child:
            self._child.close(SETTLE)

    def prove(self, bdf: str, number: int, keep: Keep | None = None) -> Proof:
        """One VF, as prove.prove does it; Cause.HUNG or Cause.DIED when the process does not live to say more."""
        if self._child is None or not self._child.running:
            self._child = Child("qatprep.crypto.direct_child", self._command)
        child, step, seconds = self._child, Step.FIND, 0.0

        def each(entry: dict[str, Any]) -> None:
            nonlocal step, seconds
            step, seconds = Step(entry["step"]), entry["t"]
            if keep:
                keep(bdf, entry)

        asked: dict[str, Any] = {"bdf": bdf, "number": f"{number:x}", "limits": asdict(self._limits), "way": self._way}
        try:
            answer = child.ask("prove", self._patience, each=each, **asked)
        except Trouble as trouble:
            # Not killed: what waits in the kernel does not die of it, and a reset must not be cut short.
            child.close(kill=False)
            self._child = None
            if child.hung:
                cause, evidence = Cause.HUNG, Evidence(pid=child.pid, seconds=self._patience)
            else:
                cause, evidence = Cause.DIED, Evidence(pid=child.pid, how=trouble.detail)
            return Proof(bdf, step, cause, evidence, Seen(), seconds=seconds)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return Proof.from_dict(answer)
