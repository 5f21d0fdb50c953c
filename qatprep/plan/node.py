"""Facts and a configuration become a plan: host-wide changes, a lane for each PF, and what makes it last."""

from __future__ import annotations

from collections.abc import Callable

from qatprep.config import NodeConfig
from qatprep.facts import Facts
from qatprep.facts.pci import Pf
from qatprep.plan import containers, doubts, lane, modules, obstacles, persistence
from qatprep.plan.holders import refusals
from qatprep.plan.model import Plan, Skipped
from qatprep.plan.obstacles import Inputs
from qatprep.steps.base import Change
from qatprep.steps.owners import CreateGroup, SetOwnership
from qatprep.steps.pf import BindPf
from qatprep.steps.services import SetServices


def make_plan(
    facts: Facts,
    config: NodeConfig,
    only: Callable[[str], bool] | None = None,
    tried: frozenset[str] = frozenset(),
) -> Plan:
    """What has to change for the configuration to hold.

    `only` chooses PFs by BDF; `tried` are those whose driver was just tried in vain. The files by which it holds at the
    next boot are part of it unless only some PFs are asked for.
    """
    inputs = Inputs(facts, config, modules.plan(facts, config), tried)
    finish: list[Change] = []
    skipped: list[Skipped] = []
    if only is None:
        for part in (persistence.plan, containers.plan):
            changes, without = part(facts, config)
            finish += changes
            skipped += without
    found: dict[str, list[Change]] = {}
    waiting: list[Pf] = []  # for their driver
    for pf in facts.pci.pfs:
        if not pf.family.supported or not (only is None or only(pf.bdf)):
            continue
        obstacle = obstacles.of_pf(inputs, pf)
        if obstacle is None:
            found[pf.bdf], obstacle = lane.of_pf(inputs, pf)
            waiting += [pf] if pf.driver is None else []
        skipped += [obstacle] if obstacle else []
    for vf in facts.pci.vfs:
        if not vf.family.supported or not (only is None or only(vf.bdf)):
            continue
        if obstacle := obstacles.of_vf(inputs, vf):
            skipped.append(obstacle)
        else:
            found[vf.bdf] = lane.of_vf(inputs, vf, config.devices)
    lanes = {device: tuple(changes) for device, changes in found.items() if changes}
    return Plan(
        _first(inputs, lanes, waiting),
        lanes,
        tuple(finish),
        bool(waiting),
        tuple(skipped),
        refusals(lanes, facts.nodes.holders),
        _doubts(inputs, lanes),
    )


def _doubts(inputs: Inputs, lanes: dict[str, tuple[Change, ...]]) -> tuple[str, ...]:
    """Of the PFs whose services change."""
    changing = [
        (pf, wanted)
        for pf in inputs.facts.pci.pfs
        if (wanted := inputs.config.of(pf).services)
        and any(isinstance(change, SetServices) for change in lanes.get(pf.bdf, ()))
    ]
    return doubts.of(changing, inputs.facts.kernel.version)


def _first(inputs: Inputs, lanes: dict[str, tuple[Change, ...]], waiting: list[Pf]) -> tuple[Change, ...]:
    """What the lanes need of the host: modules, another try of drivers that are loaded, the group."""
    changes = [change for lane in lanes.values() for change in lane]
    first: list[Change] = []
    first += modules.serving(inputs.modules, inputs.facts, changes, {pf.family.module for pf in waiting})
    loading = inputs.modules.loading
    first += [BindPf(pf.bdf, pf.family.driver) for pf in waiting if pf.family.module not in loading]
    group = inputs.config.group
    if inputs.facts.nodes.gid(group) is None and any(isinstance(change, SetOwnership) for change in changes):
        first.append(CreateGroup(group))
    return tuple(first)
