"""Manifests judged by rules that schemas miss: Kubernetes pods, Istio's proxy config, static Envoy configurations.

Where they are does not matter (shapes.py finds them). What was recognised is said, and objects with nothing of the kind
are named.
"""

from __future__ import annotations

from dataclasses import dataclass

from qatprep.findings import Finding
from qatprep.mesh.inspect import shapes
from qatprep.mesh.inspect.judge import envoy, istio, plugin, pod
from qatprep.mesh.inspect.judge.found import Found
from qatprep.mesh.inspect.manifest import Manifest, Object
from qatprep.mesh.inspect.recognised import Seen, seen


@dataclass(frozen=True)
class Recognised:
    """An object, and what in it was judged."""

    part: Object
    seen: tuple[Seen, ...]


@dataclass(frozen=True)
class Judgement:
    findings: tuple[Finding, ...]
    recognised: tuple[Recognised, ...]
    passed_over: tuple[Object, ...]
    """Objects with nothing about QAT, CryptoMB or Envoy."""


def judge(manifest: Manifest) -> Judgement:
    findings: list[Finding] = []
    recognised, passed_over = [], []
    for part in manifest.objects:
        found = Found(manifest, part)
        what: list[Seen] = []
        for shape in shapes.shapes(part):
            _shape(found, shape)
            what += seen(shape)
        findings += found.findings
        if what or found.findings:
            recognised.append(Recognised(part, tuple(what)))
        else:
            passed_over.append(part)
    return Judgement(tuple(findings), tuple(recognised), tuple(passed_over))


def _shape(found: Found, shape: shapes.Shape) -> None:
    match shape:
        case shapes.Pod():
            pod.judge(found, shape)
        case shapes.Resources(spot, resources):
            pod.resources(found, spot, resources)
        case shapes.Annotated():
            istio.annotation(found, shape)
        case shapes.ProxyConfig():
            istio.proxy_config(found, shape)
        case shapes.Envoy():
            envoy.judge(found, shape)
        case shapes.Provider(spot, block):
            envoy.provider(found, spot, block)
        case shapes.Plugin(spot, spec):
            for problem in plugin.problems(spec):
                add = found.fail if problem.fatal else found.warn
                place = spot.at(*problem.field)
                add("QP-K8S-013", place, problem.value, problem.title, problem.cause, problem.fix)
        case shapes.Services(spot, text):
            why, fatal = plugin.services(text)
            if why:
                add = found.fail if fatal else found.warn
                said, cause = f"ServicesEnabled={text}", plugin.SERVICES_CAUSE
                add("QP-K8S-013", spot, said, f"{said}: {why}", cause, "Set asym;sym.")
