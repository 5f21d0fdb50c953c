"""Recorded hosts for tests, each file read only once."""

from __future__ import annotations

from functools import cache

from qatprep.host import manifest
from qatprep.host.shipped import hosts_directory
from qatprep.host.tree import Tree
from qatprep.simulator.disk import copy
from qatprep.simulator.faults import Faults
from qatprep.simulator.host import SimulatedHost
from qatprep.simulator.scenarios import scenario

_load = manifest.load


@cache
def _read(path: str) -> Tree:
    return _load(path)


def load_once(path: str) -> Tree:
    """As manifest.load, which reads a recorded host once: tests open each a hundred times (tests/conftest.py)."""
    if not path.startswith(hosts_directory()):
        return _load(path)
    tree = Tree()
    tree.root = copy(_read(path).root)
    return tree


@cache
def recorded(name: str) -> tuple[Tree, str]:
    """The tree of a host, only to be looked at, and its manifest."""
    tree = _read(scenario(name).host_file)
    return tree, manifest.dump(tree)


def tree_of(name: str) -> Tree:
    """The tree of a host, to do with as one likes."""
    return load_once(scenario(name).host_file)


def simulated(name: str = "spr-2s", kernel: str = "", faults: Faults | None = None) -> SimulatedHost:
    """What `--simulate NAME[@KERNEL]` opens."""
    return SimulatedHost(tree_of(name), kernel or scenario(name).kernel, faults=faults)
