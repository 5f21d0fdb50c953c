"""The run at boot: what can be prepared is, whatever is wrong with the rest.

A run that somebody started goes back as a whole when one PF fails, because he is there to look at it. At boot nobody
is: the PF that failed is left out, and the others are prepared without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qatprep.engine import journal
from qatprep.engine.bootstrap import BOOT, Result, bootstrap
from qatprep.engine.run import Failure, Progress, need_writable
from qatprep.errors import QatprepError
from qatprep.facts import pci
from qatprep.hardware import BDF
from qatprep.host.base import Host

if TYPE_CHECKING:
    from qatprep.config import NodeConfig

SETTLE = 30.0
"""Seconds in which udev has to work off what the boot brought: until then a PF may still be without its driver."""


@dataclass(frozen=True)
class Boot:
    result: Result
    """How it ended for the devices that were not given up."""
    given_up: dict[str, Failure]
    """BDF -> why it could not be prepared."""


def prepare(host: Host, config: NodeConfig, progress: Progress | None = None) -> Boot:
    """Make the configuration true for every PF for which it can be. Installs no files.

    Raises Locked, NeedsRoot, or QatprepError when the host cannot be changed at all.
    """
    need_writable(host)
    host.settle(SETTLE)
    forget(host)
    given_up: dict[str, Failure] = {}
    while True:
        result = bootstrap(host, config, only=lambda bdf: bdf not in given_up, command=BOOT, progress=progress)
        bad = _culprits(host, result)
        if not bad.keys() - given_up.keys():
            return Boot(result, given_up)
        given_up.update(bad)


def _culprits(host: Host, result: Result) -> dict[str, Failure]:
    """The devices that kept a run from its end: PFs, and VFs of a VM."""
    if result.status == "refused":
        return {r.subject: Failure(None, r.reason, "") for r in result.plan.refused}
    if result.status not in ("rolled back", "partial") or result.failure is None:
        return {}
    failure = result.failure
    named = {failure.change.subject} if failure.change else set(BDF.findall(failure.message))
    owners = {vf.bdf: vf.pf or vf.bdf for vf in pci.gather(host).all_vfs}
    for bdf, lane in result.plan.lanes.items():
        if named & {bdf, *(change.subject for change in lane)}:
            named.add(bdf)
    known = set(result.plan.lanes)
    return {owners.get(bdf, bdf): failure for bdf in named if owners.get(bdf, bdf) in known}


def forget(host: Host) -> None:
    """Remove the journals of runs at earlier boots whose changes are gone with those boots: of ours all, of others all
    but the newest."""
    try:
        known = journal.runs(host)
    except QatprepError:
        return
    for run in known:
        stands = any(entry.change.persistent for entry in run.standing)
        old = run.command == BOOT or run in known[: -journal.KEPT]
        if old and run.boot != host.boot_id() and not stands and not run.problem:
            host.unlink(f"{journal.DIRECTORY}/{run.id}.jsonl")
