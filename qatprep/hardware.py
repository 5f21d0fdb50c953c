"""What is known of the hardware, as tables. Kernel paths are those of Linux 7.2 unless a version is named.

BDFs are always written with their domain, 0000:6b:00.0.
"""

from __future__ import annotations

import re
from typing import NamedTuple

INTEL = 0x8086

BDF = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")

PCI_DEVICES = "/sys/bus/pci/devices"
PCI_DRIVERS = "/sys/bus/pci/drivers"
IOMMU_GROUPS = "/sys/kernel/iommu_groups"
DEBUGFS = "/sys/kernel/debug"
VFIO_DEV = "/dev/vfio"

VFIO_PCI = "vfio-pci"
VFIO_VARIANT = "qat_vfio_pci"
"""Variant driver for live migration, Linux 6.10: drivers/vfio/pci/qat/main.c. It makes the same group nodes."""
VFIO_DRIVERS = (VFIO_PCI, VFIO_VARIANT)


class Services(NamedTuple):
    """Which combinations of services the hardware of a family takes, whatever the kernel.

    Sources: qat_common/adf_gen4_hw_data.c and qat_6xxx/adf_6xxx_hw_data.c, services_supported. Kernels before 6.15
    know fewer (simulator/services.py).
    """

    tokens: tuple[str, ...]
    most: int
    """How many of them at the same time."""
    alone: tuple[str, ...] = ("dcc",)
    """Tokens that exclude every other."""

    def problem(self, wanted: frozenset[str]) -> str:
        """Why no kernel can set this combination, "" when one can: a clause without its subject."""
        if unknown := [token for token in SERVICES if token in wanted and token not in self.tokens]:
            return f"does not offer {', '.join(unknown)}, only {', '.join(self.tokens)}"
        for token in self.alone:
            if token in wanted and len(wanted) > 1:
                return f"offers {token} only by itself"
        if len(wanted) > self.most:
            return f"offers at most {self.most} services at the same time"
        return "" if wanted else "needs at least one service"

    def nearest(self, wanted: frozenset[str]) -> tuple[str, ...]:
        """Two combinations or one that are possible and have most in common with one that is not, asym first."""
        kept = [token for token in self.tokens if token in wanted and token not in self.alone] or ["asym", "sym"]
        pairs = [frozenset((kept[0], *(rest,))) for rest in kept[1:]] or [frozenset(kept)]
        alone = [frozenset((token,)) for token in self.alone if token in wanted]
        return tuple(spell_services(pair) for pair in (pairs[:1] + alone if alone else pairs[:2]))


SERVICES = ("asym", "sym", "dc", "decomp", "dcc")
"""Tokens of cfg_services in the order kernels from 6.15 on write them back (qat_common/adf_cfg_services.h)."""

_GEN4 = Services(("asym", "sym", "dc", "dcc"), most=2)
_GEN6 = Services(SERVICES, most=3)
"""The wireless variant of 6xxx takes sym only (adf_6xxx_hw_data.c); its PCI ids are those of the others."""
_FIXED = Services(("asym", "sym", "dc"), most=3)
"""Generation 2 offers all it has and cannot be set: qat_c62x/adf_c62x_hw_data.c."""


class Family(NamedTuple):
    """One kind of QAT device, and everything that is known of it. Nothing else in qatprep knows a family's name."""

    name: str
    """What Intel calls it in documents: 4xxx, 401xx ..."""
    pf_id: int
    vf_id: int
    module: str
    """Kernel module of the PF driver; its sysfs name is the same (underscores)."""
    driver: str
    """Name of the PF's PCI driver, not the module's. Its lines in the kernel log begin with it, and it is part of
    /sys/kernel/debug/qat_<driver>_<BDF> (qat_common/adf_dbgfs.c) and of the out-of-tree /etc/<driver>_dev<N>.conf."""
    firmware: tuple[str, str]
    """The MMP image and the main image, in the order the kernel asks for them (adf_accel_engine.c)."""
    option: str
    """Build option of the module: drivers/crypto/intel/qat/Kconfig."""
    since: tuple[int, int]
    """The first mainline kernel that knows the PF."""
    generation: int
    services: Services
    engines: int
    """Acceleration engines of a device with none fused off, as its driver counts them when it starts
    (ADF_*_MAX_ACCELENGINES)."""
    firmware_note: str = "Debian: firmware-intel-misc; elsewhere linux-firmware"
    """Which package has the firmware."""
    plugin_default: bool = True
    """Whether Intel's device plugin serves its VFs without -kernel-vf-drivers (cmd/qat_plugin/qat_plugin.go)."""
    kernel_vf_driver: bool = False
    """Whether the mainline kernel has a driver for its VFs (`vf_driver`); since generation 4 it has none."""
    total_vfs: int = 16

    @property
    def vf_driver(self) -> str:
        """What the kernel (generation 2), qatlib and Intel's device plugin call a driver of its VFs."""
        return f"{self.driver}vf"

    @property
    def supported(self) -> bool:
        """Whether qatlib drives its VFs through vfio-pci (qatlib README: gen4 and later)."""
        return self.generation >= 4


def _firmware(name: str) -> tuple[str, str]:
    return f"qat_{name}_mmp.bin", f"qat_{name}.bin"


_LATE = "Debian 13's firmware-intel-misc (20250410) does not have it yet, 20260916 of forky and sid has"
_NOT_YET = "even Debian's firmware-intel-misc 20260916 does not have it"

# include/linux/pci_ids.h, qat_common/adf_accel_devices.h, qat_*/adf_drv.c, qat_*/adf_*_hw_data.h
FAMILIES = (
    Family("4xxx", 0x4940, 0x4941, "qat_4xxx", "4xxx", _firmware("4xxx"), "CONFIG_CRYPTO_DEV_QAT_4XXX", (5, 11), 4,
           _GEN4, 9, _LATE),
    Family("401xx", 0x4942, 0x4943, "qat_4xxx", "4xxx", _firmware("4xxx"), "CONFIG_CRYPTO_DEV_QAT_4XXX", (5, 19), 4,
           _GEN4, 9, _LATE),
    Family("402xx", 0x4944, 0x4945, "qat_4xxx", "4xxx", _firmware("402xx"), "CONFIG_CRYPTO_DEV_QAT_4XXX", (6, 4), 4,
           _GEN4, 9),
    Family("420xx", 0x4946, 0x4947, "qat_420xx", "420xx", _firmware("420xx"), "CONFIG_CRYPTO_DEV_QAT_420XX", (6, 8), 5,
           _GEN4, 17),
    Family("6xxx", 0x4948, 0x4949, "qat_6xxx", "6xxx", _firmware("6xxx"), "CONFIG_CRYPTO_DEV_QAT_6XXX", (6, 16), 6,
           _GEN6, 9, _NOT_YET, plugin_default=False),
    Family("c62x", 0x37C8, 0x37C9, "qat_c62x", "c6xx", _firmware("c62x"), "CONFIG_CRYPTO_DEV_QAT_C62X", (4, 5), 2,
           _FIXED, 10, plugin_default=False, kernel_vf_driver=True),
    Family("c3xxx", 0x19E2, 0x19E3, "qat_c3xxx", "c3xxx", _firmware("c3xxx"), "CONFIG_CRYPTO_DEV_QAT_C3XXX", (4, 5), 2,
           _FIXED, 6, plugin_default=False, kernel_vf_driver=True),
    Family("dh895xcc", 0x0435, 0x0443, "qat_dh895xcc", "dh895xcc", _firmware("895xcc"),
           "CONFIG_CRYPTO_DEV_QAT_DH895xCC", (4, 4), 2, _FIXED, 12, plugin_default=False, kernel_vf_driver=True,
           total_vfs=32),
)  # fmt: skip
OTHER = Family("other", 0, 0, "", "", ("", ""), "", (0, 0), 0, _FIXED, 0)
"""Any PCI function that is not QAT: the low-level verbs bind those too."""

SUPPORTED = tuple(family for family in FAMILIES if family.supported)
DRIVERS = tuple(dict.fromkeys(family.driver for family in FAMILIES))
"""How the kernel's lines about a QAT function begin, among other things."""
PLUGIN_VF_DRIVERS = tuple(dict.fromkeys(family.vf_driver for family in SUPPORTED))
"""Value of the device plugin's -kernel-vf-drivers by which it serves every family that qatlib drives."""

BY_PF_ID = {family.pf_id: family for family in FAMILIES}
BY_VF_ID = {family.vf_id: family for family in FAMILIES}

NEWER_QAT_IDS = range(0x494A, 0x4950)
"""Ids next to the known ones: very likely a QAT newer than this program."""

OOT_IDS = {0x18EE: "200xx", 0x6F54: "d15xx", 0x18A0: "c4xxx"}
"""PFs that only ever had an out-of-tree driver (DPDK doc/guides/cryptodevs/qat.rst)."""

SERVICE_ALIASES = {"cy": ("asym", "sym")}
"""The out-of-tree configuration's word, and the Kubernetes plugin's."""


def parse_services(text: str) -> frozenset[str]:
    """The set of tokens in a services text such as "sym;asym", "dc" or "cy;dc". ValueError for what is none."""
    tokens: set[str] = set()
    for token in text.strip().split(";"):
        word = token.strip()
        if word in SERVICE_ALIASES:
            tokens.update(SERVICE_ALIASES[word])
        elif word in SERVICES:
            tokens.add(word)
        elif re.search(r"[,:|+/\s]", word):
            raise ValueError("services are separated by ';'")
        else:
            raise ValueError(f"{word!r} is none of {', '.join(SERVICES)}, cy")
    return frozenset(tokens)


def suggest_services(text: str) -> str:
    """What a services text with a mistake was meant to be ("assym,sym": "asym;sym"), "" where that is not clear."""
    from qatprep.text import close

    words = [word for word in re.split(r"[;,:|+/\s]+", text.strip().lower()) if word]
    meant = [close(word, (*SERVICES, *SERVICE_ALIASES)) for word in words]
    return ";".join(dict.fromkeys(meant)) if all(meant) else ""


def services_since(services: frozenset[str]) -> tuple[int, int]:
    """The first mainline kernel whose cfg_services takes this combination, on a device that offers it.

    Distributions backport: a kernel that says it is older may take it all the same. Documentation/ABI/testing/
    sysfs-driver-qat of 6.4; commits 5005327514 (6.5, single services and pairs), 37b14f2dfa79 (6.7, dcc);
    qat_common/adf_cfg_services.c (6.15, any set), decomp 6.17.
    """
    if "decomp" in services:
        return (6, 17)
    if len(services) > 2:
        return (6, 15)
    if "dcc" in services:
        return (6, 7)
    return (6, 0) if services in ({"sym", "asym"}, {"dc"}) else (6, 5)


def spell_services(services: frozenset[str]) -> str:
    """A spelling every kernel that knows the combination takes.

    Kernels before 6.5 know only the literal "sym;asym" and "dc"; those before 6.15 take both orders of any pair.
    """
    if services == {"sym", "asym"}:
        return "sym;asym"
    return ";".join(token for token in SERVICES if token in services)


FIRMWARE_SUFFIXES = ("", ".zst", ".xz")
"""In the order the kernel tries them (drivers/base/firmware_loader/main.c)."""

OOT_MODULES = ("qat_api", "usdm_drv")
"""Modules only the out-of-tree stack has."""

OOT_FILES = (
    "/etc/init.d/qat_service",
    "/usr/lib/systemd/system/qat_service.service",
    "/etc/systemd/system/qat_service.service",
    "/usr/local/bin/adf_ctl",
    "/usr/sbin/adf_ctl",
    "/dev/qat_adf_ctl",
    "/dev/qat_dev_processes",
    "/dev/usdm_drv",
)
"""Files only the out-of-tree stack leaves; next to them /etc/<family>_dev<N>.conf."""
