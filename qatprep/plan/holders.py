"""The one rule about VFs in use: what somebody has open is not taken away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from qatprep.facts import nodes
from qatprep.facts.nodes import Holder
from qatprep.facts.pci import Vf
from qatprep.host.base import Host
from qatprep.plan.model import Refusal
from qatprep.steps.base import Change

Lanes = Mapping[str, Sequence[Change]]


def refusals(lanes: Lanes, holders: Sequence[Holder]) -> tuple[Refusal, ...]:
    """For lanes that take functions from their holders: the kernel would wait until they close them, without end."""
    found = []
    for device, lane in lanes.items():
        taken = _taken(lane)
        holding = tuple(holder for holder in holders if holder.vf in taken)
        if holding:
            vfs = ", ".join(sorted({holder.vf for holder in holding}))
            found.append(Refusal(device, f"{vfs} would be removed while in use", holding))
    return tuple(found)


def held(host: Host, lanes: Lanes, functions: Iterable[Vf]) -> tuple[Refusal, ...]:
    """The same, the holders looked for on the host. `functions`: all that the lanes could be about."""
    taken = {bdf for lane in lanes.values() for bdf in _taken(lane)}
    found, _ = nodes.holders(host, tuple(vf for vf in functions if vf.bdf in taken))
    return refusals(lanes, found)


def _taken(lane: Sequence[Change]) -> set[str]:
    return {bdf for change in lane for bdf in change.takes}
