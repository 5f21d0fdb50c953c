"""What cfg_services takes and gives back, by kernel. Rules: qat_common/adf_sysfs.c, adf_cfg_services.c."""

from __future__ import annotations

from qatprep.hardware import SERVICES, Family
from qatprep.simulator.kernel import Kernel

FIRST: tuple[str, ...] = ("sym;asym", "dc")
"""6.0 to 6.4: Documentation/ABI/testing/sysfs-driver-qat of 6.4."""
PAIRS: tuple[str, ...] = (*FIRST, "asym;sym", "asym", "sym", "asym;dc", "dc;asym", "sym;dc", "dc;sym")
"""6.5, commit 5005327514."""
CHAINED: tuple[str, ...] = (*PAIRS, "dcc")
"""6.7, commit 37b14f2dfa79, and stable 6.6.2."""


def accept(kernel: Kernel, family: Family, text: str) -> str | None:
    """How the kernel stores `text`, or None when it answers EINVAL."""
    if kernel.since(6, 15):
        return _tokens(kernel, family, text)
    if kernel.since(6, 6, 2):
        known = CHAINED
    elif kernel.since(6, 5):
        known = PAIRS
    else:
        known = FIRST
    return text if text in known else None


def _tokens(kernel: Kernel, family: Family, text: str) -> str | None:
    """adf_cfg_services.c since 6.15: tokens in any order, stored in the order of SERVICES."""
    tokens = text.split(";")
    if len(set(tokens)) != len(tokens) or family.services.problem(frozenset(tokens)):
        return None
    if not set(tokens) <= set(SERVICES) or ("decomp" in tokens and not kernel.since(6, 17)):
        return None
    return ";".join(token for token in SERVICES if token in tokens)


def default(kernel: Kernel, number: int) -> str:
    """What device number `number` starts with: even ones crypto, odd ones compression (adf_gen4_config.c)."""
    return "dc" if kernel.default_split and number % 2 else "sym;asym"


def ring_pairs(services: str) -> tuple[str, ...]:
    """The services of a VF's four ring pairs: qat_common/adf_gen4_hw_data.c adf_gen4_get_ring_to_svc_map."""
    tokens = services.split(";")
    if len(tokens) == 1:
        return (tokens[0] if tokens[0] != "dcc" else "dc",) * 4
    ordered = [token for token in ("dc", "decomp", "asym", "sym") if token in tokens]
    return tuple(ordered[index % len(ordered)] for index in range(4))
