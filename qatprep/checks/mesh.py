"""Envoy and Istio: the two statements that a node can be asked for, and pages for those that dumps and logs answer."""

from __future__ import annotations

from collections.abc import Callable

from qatprep.checks.base import Check, Context, Profile, Stage
from qatprep.checks.kubernetes import ENVOY_ON_NODE, envoys
from qatprep.checks.mesh_pages import PAGES, TITLES
from qatprep.checks.runtime import never, nothing

_BOTH = frozenset({Profile.QAT, Profile.CRYPTOMB})


def _check(id: str) -> Check:
    run = ENVOY_ON_NODE.get(id, nothing)
    applies: Callable[[Context], bool] = envoys if id in ENVOY_ON_NODE else never
    return Check(id, Stage.MESH, TITLES[id], run, profiles=_BOTH, applies=applies, explain=PAGES[id])


CHECKS = tuple(_check(id) for id in TITLES)
