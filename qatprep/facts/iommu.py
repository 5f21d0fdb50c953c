"""The IOMMU in its layers: what the BIOS shows, what the kernel made of it, and the unsafe ways around it."""

from __future__ import annotations

from typing import NamedTuple

from qatprep.facts.base import Unknown, exists, names, read_int, read_line
from qatprep.hardware import IOMMU_GROUPS
from qatprep.host.base import Host

ACPI_TABLES = "/sys/firmware/acpi/tables"
MAPPINGS = "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit"


class IommuFacts(NamedTuple):
    table: str | Unknown | None
    """"DMAR" (Intel VT-d) or "IVRS" (AMD-Vi): the ACPI table by which the BIOS offers an IOMMU."""
    units: tuple[str, ...] | Unknown
    """/sys/class/iommu: dmar0, ivhd0 ... appear once the kernel's driver is up (drivers/iommu/intel/iommu.c)."""
    groups: bool | Unknown
    noiommu: bool | Unknown | None
    """vfio's enable_unsafe_noiommu_mode; None where the kernel was built without CONFIG_VFIO_NOIOMMU."""
    unsafe_interrupts: bool | Unknown | None
    """vfio_iommu_type1's allow_unsafe_interrupts."""
    xen: bool = False
    """Whether this is Xen's control domain: Xen itself drives the IOMMU and hides its tables from the kernel
    (/proc/xen/capabilities, drivers/xen/xenfs/super.c)."""
    mappings: int | Unknown | None = None
    """vfio_iommu_type1's dma_entry_limit: mappings that one user of VFIO may have."""

    @property
    def on(self) -> bool | Unknown:
        """Whether the kernel runs an IOMMU."""
        return self.units if isinstance(self.units, Unknown) else bool(self.units)


def gather(host: Host) -> IommuFacts:
    groups = names(host, IOMMU_GROUPS)
    return IommuFacts(
        table=_table(host),
        units=names(host, "/sys/class/iommu"),
        groups=groups if isinstance(groups, Unknown) else bool(groups),
        noiommu=_flag(host, "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"),
        unsafe_interrupts=_flag(host, "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"),
        xen=read_line(host, "/sys/hypervisor/type") == "xen" and _control_domain(host),
        mappings=read_int(host, MAPPINGS),
    )


def _control_domain(host: Host) -> bool:
    text = read_line(host, "/proc/xen/capabilities")
    return isinstance(text, str) and "control_d" in text.split()


def _table(host: Host) -> str | Unknown | None:
    for name in ("DMAR", "IVRS"):
        there = exists(host, f"{ACPI_TABLES}/{name}")
        if isinstance(there, Unknown):
            return there
        if there:
            return name
    tables = names(host, ACPI_TABLES)
    if isinstance(tables, Unknown):
        return tables
    return None if tables else Unknown(f"{ACPI_TABLES}: no ACPI tables are shown here")


def _flag(host: Host, path: str) -> bool | Unknown | None:
    text = read_line(host, path)
    return text.strip() in ("Y", "1") if isinstance(text, str) else text
