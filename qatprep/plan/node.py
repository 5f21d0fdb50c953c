"""An assessment becomes a plan: host-wide changes, a lane for each PF, and what makes it last."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qatprep.assess import Assessment, Skipped
from qatprep.facts.pci import Pf
from qatprep.plan import containers, doubts, lane, modules, persistence
from qatprep.plan.holders import refusals
from qatprep.plan.model import Plan
from qatprep.steps.base import Change
from qatprep.steps.owners import CreateGroup, SetOwnership
from qatprep.steps.pf import BindPf
from qatprep.steps.services import SetServices


def make_plan(
    judged: Assessment, only: Callable[[str], bool] | None = None, tried: frozenset[str] = frozenset()
) -> Plan:
    """What has to change for the configuration to hold. What the assessment skips is left as it is.

    `only` chooses PFs by BDF; `tried` are those whose driver was just tried without success. The files by which it
    holds at the next boot are part of it unless only some PFs are asked for.
    """
    facts, config = judged.facts, judged.config
    finish: list[Change] = []
    skipped: list[Skipped] = []
    if only is None:
        for part in (persistence.plan, containers.plan):
            changes, without = part(judged)
            finish += changes
            skipped += without
    found: dict[str, list[Change]] = {}
    waiting: list[Pf] = []  # for their driver
    for pf in facts.pci.pfs:
        if not pf.family.supported or not (only is None or only(pf.bdf)):
            continue
        if why := judged.why(pf.bdf, tried):
            skipped.append(why)
            continue
        found[pf.bdf], without = lane.of_pf(judged, pf)
        skipped += without
        waiting += [pf] if pf.driver is None else []
    for vf in facts.pci.vfs:
        if not vf.family.supported or not (only is None or only(vf.bdf)):
            continue
        if why := judged.why(vf.bdf):
            skipped.append(why)
        else:
            found[vf.bdf] = lane.of_vf(judged, vf, config.devices)
    lanes = {device: tuple(changes) for device, changes in found.items() if changes}
    return Plan(
        _first(judged, lanes, waiting),
        lanes,
        tuple(finish),
        bool(waiting),
        tuple(skipped),
        refusals(lanes, facts.nodes.holders),
        _doubts(judged, lanes),
    )


def _doubts(judged: Assessment, lanes: dict[str, tuple[Change, ...]]) -> tuple[str, ...]:
    """Of the PFs whose services change."""
    changing = [
        (pf, wanted)
        for pf in judged.facts.pci.pfs
        if (wanted := judged.config.of(pf).services)
        and any(isinstance(change, SetServices) for change in lanes.get(pf.bdf, ()))
    ]
    return doubts.of(changing, judged.facts.kernel.version)


def _first(judged: Assessment, lanes: dict[str, tuple[Change, ...]], waiting: Sequence[Pf]) -> tuple[Change, ...]:
    """What the lanes need of the host: modules, another try of drivers that are loaded, the group."""
    changes = [change for lane in lanes.values() for change in lane]
    loadable = modules.plan(judged.facts, judged.config)
    first: list[Change] = []
    first += modules.serving(loadable, judged.facts, changes, {pf.family.module for pf in waiting})
    loading = {change.name for change in loadable}
    first += [BindPf(pf.bdf, pf.family.driver) for pf in waiting if pf.family.module not in loading]
    group = judged.config.group
    if judged.facts.nodes.gid(group) is None and any(isinstance(change, SetOwnership) for change in changes):
        first.append(CreateGroup(group))
    return tuple(first)
