"""Recorded hosts for tests, each file read only once."""

from __future__ import annotations

from functools import cache

from qatprep.host import manifest
from qatprep.host.manifest import load
from qatprep.host.tree import Tree
from qatprep.simulator.disk import copy
from qatprep.simulator.faults import Faults
from qatprep.simulator.host import SimulatedHost
from qatprep.simulator.scenarios import scenario


@cache
def recorded(name: str) -> tuple[Tree, str]:
    """The tree of a host, only to be looked at, and its manifest."""
    tree = load(scenario(name).host_file)
    return tree, manifest.dump(tree)


def tree_of(name: str) -> Tree:
    """The tree of a host, to do with as one likes."""
    tree = Tree()
    tree.root = copy(recorded(name)[0].root)
    return tree


def simulated(name: str = "spr-2s", kernel: str = "", faults: Faults | None = None) -> SimulatedHost:
    """What `--simulate NAME[@KERNEL]` opens."""
    return SimulatedHost(tree_of(name), kernel or scenario(name).kernel, faults=faults)
