"""All checks, in the order in which they are made and told: what a check needs comes before it."""

from __future__ import annotations

from collections.abc import Iterable

from qatprep.checks import (
    binding,
    cpu,
    device,
    driver,
    errata,
    firmware,
    health,
    iommu,
    kernel,
    kubernetes,
    log,
    mesh,
    modules,
    nodes,
    persist,
    qatlib,
    runtime,
    services,
    setters,
    sriov,
    stack,
)
from qatprep.checks.base import Check
from qatprep.errors import InputError
from qatprep.findings.pages import close, named, pages, same_stage

CHECKS: tuple[Check, ...] = (
    *stack.CHECKS,
    *device.CHECKS,
    *cpu.CHECKS,
    *kernel.CHECKS,
    *errata.CHECKS,
    *iommu.CHECKS,
    *modules.CHECKS,
    *firmware.CHECKS,
    *driver.CHECKS,
    *health.CHECKS,
    *services.CHECKS,
    *sriov.CHECKS,
    *binding.CHECKS,
    *nodes.CHECKS,
    *qatlib.CHECKS,
    *persist.CHECKS,
    *setters.CHECKS,
    *runtime.CHECKS,
    *kubernetes.CHECKS,
    *mesh.CHECKS,
    *log.CHECKS,
)
BY_ID = {check.id: check for check in CHECKS}


def select(patterns: Iterable[str]) -> frozenset[str]:
    """The ids that patterns name: an id (QP- may be left out), a glob (QP-IOMMU-*) or a stage, several joined by
    commas. Ids that no look at the node finds are among them only where a pattern names nothing else.

    InputError, with what comes close, for one that names nothing.
    """
    chosen: set[str] = set()
    for pattern in (part.strip() for text in patterns for part in text.split(",")):
        found = {check.id for check in CHECKS if named(check.id, pattern) or same_stage(check.stage, pattern)}
        found = found or {page.id for page in pages().values() if named(page.id, pattern)}
        if not found:
            raise _no_check(pattern)
        chosen |= found
    return frozenset(chosen)


def _no_check(pattern: str) -> InputError:
    hint = "qatprep explain lists all ids; a stage (iommu, nodes) or a glob (QP-IOMMU-*) will do as well"
    return InputError(f"no check or stage is called {pattern!r}", close(pattern, hint))
