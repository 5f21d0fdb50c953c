"""All checks, in the order in which they are made and told: what a check needs stands before it."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable

from qatprep.checks import (
    binding,
    cpu,
    device,
    driver,
    errata,
    firmware,
    iommu,
    kernel,
    kubernetes,
    log,
    mesh,
    modules,
    nodes,
    persist,
    runtime,
    services,
    sriov,
    stack,
)
from qatprep.checks.base import Check, Stage
from qatprep.errors import InputError

CRASH = "QP-CRASH"
"""The id of what is found when a check itself fails. It is nobody's check, but has a page like one."""
CRASH_TITLE = "a check itself failed: a bug in qatprep"
CRASH_PAGE = """\
A check ran into an error of its own. What it was to find out is not known; the other checks are not affected.

Why it matters: the host may be fine or not; qatprep cannot tell.

How it is found out: every check is run so that an exception in it becomes this finding, with its type and the line
it came from, instead of a traceback.

How to mend it: it is a bug in qatprep. Report it with the finding's words and a capture of the host (qatprep
capture), by which it can be seen again anywhere. Until then leave that check out: --skip and its id."""

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
    *services.CHECKS,
    *sriov.CHECKS,
    *binding.CHECKS,
    *nodes.CHECKS,
    *persist.CHECKS,
    *runtime.CHECKS,
    *kubernetes.CHECKS,
    *mesh.CHECKS,
    *log.CHECKS,
)
BY_ID = {check.id: check for check in CHECKS}


def select(patterns: Iterable[str]) -> frozenset[str]:
    """The ids that patterns name: an id, a glob of ids (QP-IOMMU-*) or a stage, several joined by commas.

    InputError, with what comes close, for one that names nothing.
    """
    chosen: set[str] = set()
    for pattern in (part.strip() for text in patterns for part in text.split(",")):
        found = {
            check.id
            for check in CHECKS
            if fnmatch.fnmatchcase(check.id, pattern.upper()) or same_stage(check.stage, pattern)
        }
        if not found:
            raise InputError(f"no check or stage is called {pattern!r}", _close(pattern))
        chosen |= found
    return frozenset(chosen)


def same_stage(stage: str, pattern: str) -> bool:
    """Whether a pattern is the name of the stage; case, dashes and underscores do not matter."""
    plain = pattern.lower().replace("_", " ").replace("-", " ")
    return plain == str(stage).replace("-", " ")


def _close(pattern: str) -> str:
    names = {check.id: check.id for check in CHECKS} | {s.value.upper(): s.value for s in used_stages()}
    close = difflib.get_close_matches(pattern.upper(), names, 3, 0.6)
    if close:
        return f"did you mean {' or '.join(names[name] for name in close)}?"
    return "qatprep explain lists all ids; a stage (iommu, nodes) or a glob (QP-IOMMU-*) will do as well"


def used_stages() -> tuple[Stage, ...]:
    """The stages that have checks, in order."""
    return tuple(dict.fromkeys(check.stage for check in CHECKS))
