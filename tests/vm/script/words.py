"""Groups of operations that both halves of the script use."""

from __future__ import annotations

from collections.abc import Iterator


def attributes(pf: str) -> Iterator[str]:
    """What there is of a PF."""
    yield f"names {pf} qat qat_ras driver virtfn* sriov_* iommu_group"
    yield f"names {pf}/qat *"
    for name in ("state", "cfg_services", "pm_idle_enabled", "num_rps", "auto_reset"):
        yield f"read {pf}/qat/{name}"
    for name in ("numvfs", "totalvfs", "drivers_autoprobe", "offset", "stride", "vf_device"):
        yield f"read {pf}/sriov_{name}"
    yield f"names /sys/kernel/debug qat_4xxx_{bdf(pf)}"
    yield f"section {debug(pf)} GENERAL"


def bdf(pf: str) -> str:
    return pf.replace("}", ":bdf}")


def debug(pf: str) -> str:
    return f"/sys/kernel/debug/qat_4xxx_{bdf(pf)}/dev_cfg"


def vf(name: str) -> Iterator[str]:
    """What there is of a VF."""
    yield f"names {name} driver physfn iommu_group virtfn* sriov_* qat numa_node driver_override"
    for file in ("vendor", "device", "class", "driver_override", "numa_node"):
        yield f"read {name}/{file}"
    for file in ("driver", "physfn", "iommu_group"):
        yield f"link {name}/{file}"
