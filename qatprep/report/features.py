"""The node as labels for node-feature-discovery."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from qatprep.checks.base import Profile
from qatprep.checks.registry import Report
from qatprep.checks.verdict import State
from qatprep.config import NodeConfig
from qatprep.facts import Facts
from qatprep.instruction_sets import AVX512, envoy_build
from qatprep.mesh.render.kubernetes import nfd_features

DOMAIN = "qatprep.feature.node.kubernetes.io"
"""Sub-namespaces of feature.node.kubernetes.io are NFD's own to allow; others may be denied."""


def labels(report: Report, facts: Facts, config: NodeConfig, *, prepared: bool) -> dict[str, str]:
    """Label -> value; every label is there on every node, so that none is left over from before."""
    states = {verdict.subject: verdict for verdict in report.verdicts}
    qat = states.get(Profile.QAT)
    ready = {p: p in states and states[p].state is State.READY for p in (Profile.QAT, Profile.CRYPTOMB)}
    vfs = [*(vf for pf in facts.pci.pfs for vf in pf.vfs), *facts.pci.vfs]
    usable = sum(vf.bound is True for vf in vfs)
    return {
        f"{DOMAIN}/qat": _truth(ready[Profile.QAT]),
        f"{DOMAIN}/qat-prepared": _truth(prepared),
        f"{DOMAIN}/qat-vfs": str(usable),
        f"{DOMAIN}/qat-finding": qat.first if qat and qat.first else "none",
        f"{DOMAIN}/cryptomb": _truth(ready[Profile.CRYPTOMB]),
        f"{DOMAIN}/cryptomb-path": _path(facts, config) if ready[Profile.CRYPTOMB] else "none",
    }


def _path(facts: Facts, config: NodeConfig) -> str:
    """avx512 or avx-ifma: with the latter Envoys before 1.35 do not sign, or not with every key."""
    path, _ = facts.cpu.judge(envoy_build(config.envoy).paths)
    return "avx512" if path is AVX512 else "avx-ifma"


def _truth(value: bool) -> str:
    return "true" if value else "false"


def later(now: str, minutes: int) -> str:
    """A time of day, ISO 8601 in UTC, so many minutes later."""
    then = datetime.datetime.fromisoformat(now) + datetime.timedelta(minutes=minutes)
    return then.strftime("%Y-%m-%dT%H:%M:%SZ")


def feature_file(labels: Mapping[str, str], expiry: str = "") -> str:
    """NFD's feature file; from `expiry` on NFD takes no notice of it."""
    text = nfd_features(dict(labels))
    return f"# +expiry-time={expiry}\n{text}" if expiry else text


def document(host: str, labels: Mapping[str, str], *, prepared: bool, written: bool) -> dict[str, Any]:
    """schema/features.json."""
    return {
        "schema": "qatprep.features/1",
        "host": host,
        "prepared": prepared,
        "labels": dict(labels),
        "written": written,
    }
