"""One look at a host: what every verb that judges begins with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from qatprep.host.base import Host

if TYPE_CHECKING:
    from qatprep.assess import Assessment
    from qatprep.config import NodeConfig
    from qatprep.facts import Facts
    from qatprep.findings import Finding
    from qatprep.outcome import Outcome
    from qatprep.plan.model import Plan


class Look(NamedTuple):
    facts: Facts
    judged: Assessment
    plan: Plan
    outcome: Outcome


def look(
    host: Host,
    wanted: NodeConfig,
    again: str = "",
    *,
    facts: Facts | None = None,
    only: Callable[[Facts], Callable[[str], bool] | None] = lambda facts: None,
) -> Look:
    """Facts, judgement, plan and the last word. `again`: the options by which another command works on the same host;
    `only` chooses the devices that are planned for."""
    from qatprep.assess import assess
    from qatprep.facts import gather
    from qatprep.outcome import conclude
    from qatprep.plan.node import make_plan

    found = facts or gather(host)
    judged = assess(found, wanted)
    chosen = only(found)
    plan = make_plan(judged, chosen)
    return Look(found, judged, plan, conclude(judged, plan, again, writable=host.writable, only=chosen))


def narrowed(host: Host, whole: Look, profile: str, only: Sequence[str], skip: Sequence[str], again: str) -> Look:
    """The same host, judged for one profile, or by some checks alone."""
    from qatprep.assess import assess
    from qatprep.checks.base import Profile
    from qatprep.outcome import conclude

    judged = assess(whole.facts, whole.judged.config, Profile(profile), only, skip)
    return Look(whole.facts, judged, whole.plan, conclude(judged, whole.plan, again, writable=host.writable))


def signed(host: Host, seen: Look, found: tuple[Finding, ...], again: str) -> Look:
    """The same host with what an attempt to sign found."""
    from qatprep.assess import with_proof
    from qatprep.outcome import conclude

    judged = with_proof(seen.judged, found)
    return Look(seen.facts, judged, seen.plan, conclude(judged, seen.plan, again, writable=host.writable))


def named(facts: Facts, patterns: Sequence[str]) -> list[str]:
    """The PFs (in a VM: VFs) that --device names."""
    from qatprep.cli.select import chooser

    chosen = chooser(facts, list(patterns))
    known = [*(pf.bdf for pf in facts.pci.pfs), *(vf.bdf for vf in facts.pci.vfs)]
    return [bdf for bdf in known if chosen and chosen(bdf)]
