"""Simulated hosts for the tests of this folder, whole or a little changed."""

from __future__ import annotations

from functools import cache

from qatprep.assess import Assessment, assess
from qatprep.checks.base import Profile, Stage
from qatprep.checks.registry import Report, evaluate
from qatprep.config import NodeConfig
from qatprep.facts import Facts, gather
from qatprep.findings import Status
from qatprep.host import manifest
from qatprep.host.capture import Capture
from qatprep.host.tree import Tree
from qatprep.simulator.scenarios import scenario

_OTHERS = ("persistence", "memlock", "runtime", "kubernetes", "mesh")
CHAIN = frozenset(stage for stage in Stage if stage.value not in _OTHERS)
"""The stages of the hardware chain, of the CPU and of the kernel log: what tests in this folder are about."""


@cache
def _text(name: str) -> str:
    return manifest.dump(manifest.load(scenario(name).host_file))


def tree(name: str, change: str = "") -> Tree:
    """The recorded files of a host, with the manifest lines `change` after them."""
    return manifest.parse(f"{_text(name)}{change}\n", name)


def facts(name: str, change: str = "") -> Facts:
    """A look at a recorded host with some lines changed: no kernel reacts to the change."""
    return gather(Capture(tree(name, change), name))


def judge(name: str, change: str = "", config: NodeConfig | None = None, profile: Profile = Profile.QAT) -> Report:
    return evaluate(facts(name, change), config or NodeConfig(), profile)


def assessed(name: str, change: str = "", profile: Profile = Profile.QAT, **narrowed: list[str]) -> Assessment:
    return assess(facts(name, change), NodeConfig(), profile, **narrowed)


def found(report: Report) -> dict[str, list[str]]:
    """What a scenario.yaml lists: ids that failed, warn and are unknown."""
    return {
        str(status): sorted(report.ids(status))
        for status in (Status.FAIL, Status.WARN, Status.UNKNOWN)
        if report.ids(status)
    }
