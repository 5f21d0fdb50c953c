"""VFs made and removed, all of them at once: the driver knows nothing between none and sriov_totalvfs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from qatprep.facts.pci import DeviceNode, Pf, Vf
from qatprep.host.base import Host
from qatprep.steps import places as place
from qatprep.steps.base import Change, ChangeFailed, Summary
from qatprep.steps.binding import rebind
from qatprep.steps.driver import bind_again, make_vfs, num_vfs, remove_vfs, set_state, state_of
from qatprep.steps.nodes import own
from qatprep.steps.places import Place

VfRecord = tuple[int, str, str, str, int, int, int]
"""index, BDF, driver ("" for none), driver_override ("" when unset), uid, gid, mode (-1 without a node)."""


@dataclass(frozen=True)
class CreateVfs(Change):
    kind: ClassVar[str] = "create-vfs"
    what: ClassVar[str] = "VFs"
    places: ClassVar[Mapping[str, Place]] = {"pf": place.BDF, "old_state": place.STATE}

    pf: str
    total: int
    old_state: str
    """"up", "down", or "" where the PF has no state: what undo leaves."""

    @property
    def summary(self) -> Summary:
        return Summary(self.pf, "0", str(self.total))

    def do(self, host: Host) -> Mapping[str, Any]:
        make_vfs(host, self.pf, self.total)
        return {"made": self.total}

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        if num_vfs(host, self.pf):
            remove_vfs(host, self.pf, self.old_state or "up")
        elif self.old_state and (now := state_of(host, self.pf)) is not None:
            if now == "up" and outcome is None:
                # An attempt that failed has restarted the PF without its kernel crypto instances (adf_sriov.c): only
                # another start gives them back. Where kernel users keep it busy the attempt never came that far.
                with contextlib.suppress(ChangeFailed):
                    set_state(host, self.pf, "down")
            set_state(host, self.pf, self.old_state)
        elif not self.old_state:
            bind_again(host, self.pf, if_loaded=True)


@dataclass(frozen=True)
class RemoveVfs(Change):
    kind: ClassVar[str] = "remove-vfs"
    what: ClassVar[str] = "VFs"
    places: ClassVar[Mapping[str, Place]] = {"pf": place.BDF, "then": place.STATE, "vfs": place.ENTRY}

    pf: str
    then: str
    """"up" or "down": how the PF is left."""
    vfs: tuple[VfRecord, ...]
    """Everything that is lost, for undo to make again."""

    @classmethod
    def of(cls, pf: Pf, then: str) -> RemoveVfs:
        """The change that takes all VFs of a PF away as they are now."""
        return cls(pf.bdf, then, tuple(_record(vf) for vf in pf.vfs))

    @property
    def summary(self) -> Summary:
        cost = f"{len(self.vfs)} VFs are destroyed, with their driver bindings and device nodes"
        return Summary(self.pf, str(len(self.vfs)), "0", (cost,))

    @property
    def takes(self) -> tuple[str, ...]:
        return tuple(bdf for _, bdf, *_ in self.vfs)

    def do(self, host: Host) -> None:
        remove_vfs(host, self.pf, self.then)

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        if num_vfs(host, self.pf) == 0:
            bind_again(host, self.pf)  # without qat/state it lets go of the PF, and may have been cut off there
            make_vfs(host, self.pf, len(self.vfs))
        for _, bdf, driver, override, uid, gid, mode in self.vfs:
            rebind(host, bdf, driver, override)
            if mode >= 0:
                own(host, bdf, uid, gid, mode)


def _record(vf: Vf) -> VfRecord:
    owner = vf.node.owner if isinstance(vf.node, DeviceNode) else (-1, -1, -1)
    driver = vf.driver if isinstance(vf.driver, str) else ""
    return (vf.number, vf.bdf, driver, vf.override if isinstance(vf.override, str) else "", *owner)
