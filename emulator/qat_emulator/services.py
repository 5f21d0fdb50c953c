"""The services of a PF: which ring pair does what, and what the device says it can do.

Sources: K qat_common/adf_gen4_hw_data.c (ring to service map), qat_4xxx/adf_4xxx_hw_data.c (capabilities),
qat_common/adf_cfg_common.h (the services' numbers), qat_common/icp_qat_hw.h (the capabilities' bits).
"""

from __future__ import annotations

DC, SYM, ASYM = 2, 3, 4

PAIRS: dict[str, tuple[int, int, int, int]] = {
    "asym": (ASYM,) * 4,
    "sym": (SYM,) * 4,
    "dc": (DC,) * 4,
    "sym;asym": (ASYM, SYM, ASYM, SYM),
    "asym;dc": (DC, ASYM, DC, ASYM),
    "sym;dc": (DC, SYM, DC, SYM),
}
"""The service of each ring pair of a VF."""

_CAPABILITIES = {ASYM: 0x0000_200E, SYM: 0x041B_920D, DC: 0x0380_0020}
"""What the kernel's PF driver answered for each service: seen on Linux 6.12 but for asym, which is the asymmetric,
cipher, authentication and Edwards/Montgomery bits."""


def canonical(text: str) -> str:
    """The name of a set of services, in whatever order it is written. ValueError."""
    wanted = {part.strip() for part in text.split(";")}
    for name in PAIRS:
        if set(name.split(";")) == wanted:
            return name
    raise ValueError(f"unknown services {text!r}: one of {', '.join(PAIRS)}")


def ring_map(services: str) -> int:
    """Three bits a ring pair."""
    return sum(service << 3 * pair for pair, service in enumerate(PAIRS[services]))


def capabilities(services: str) -> int:
    """Bits of what a VF with these services can do."""
    mask = 0
    for service in PAIRS[services]:
        mask |= _CAPABILITIES[service]
    return mask
