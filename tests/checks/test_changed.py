"""Hosts with a line or two changed by hand: what no story shows, and each distinct cause with its advice.

A case is data: a recorded host, the manifest lines that change it, what is found then, and words that must be said.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from qatprep.checks.base import Profile
from qatprep.config import NodeConfig, parse
from qatprep.findings import Finding, Status
from tests.checks.hosts import found, judge

PF = "/sys/devices/pci0000:6b/0000:6b:00.0"
VF = "/sys/devices/pci0000:6b/0000:6b:00.1"
BEAT = "/sys/kernel/debug/qat_4xxx_0000:6b:00.0/heartbeat"
MODULES = "/lib/modules/6.12.117"


def config(*lines: str, release: str = "6.12.117") -> str:
    """A kernel built with these options, and with what is the same everywhere."""
    fixed = ("CONFIG_VFIO_GROUP=y", "CONFIG_VFIO_CONTAINER=y", "CONFIG_FW_LOADER_COMPRESS_XZ=y")
    return f"/boot/config-{release} <<\n" + "\n".join(f"| {line}" for line in (*lines, *fixed))


WITHOUT_IOV = "\n".join(
    f"- /sys/devices/pci0000:{bus}/0000:{bus}:00.0/{name}"
    for bus in ("6b", "70", "75", "7a", "e8", "ed", "f2", "f7")
    for name in ("sriov_totalvfs", "sriov_numvfs")
)


GRUB_CLOSED = "/boot/grub/grub.cfg [0600] !EACCES"
ENTRIES_CLOSED = "/boot/loader/entries /\n/boot/loader/entries [0700] !EACCES"


@dataclass(frozen=True)
class Case:
    name: str
    host: str
    change: str
    finds: dict[str, list[str]]
    says: tuple[str, ...]
    """Words of the finding (title, evidence, cause, fix) whose id comes first in `finds`."""
    config: str = ""
    profile: Profile = Profile.QAT
    silent: tuple[str, ...] = field(default=())
    """Words that must not be said."""


def one(id: str) -> dict[str, list[str]]:
    return {"fail": [id]}


READY = "spr-2s-ready"

CASES = [
    Case(
        "the kernel's module is a backport that knows the device: it was unbound, and bootstrap tries it",
        "emr-2s-old-kernel",
        "/lib/modules/5.17.15/modules.alias = alias pci:v00008086d00004942sv*sd*bc*sc*i* qat_4xxx",
        one("QP-PF-001"),
        ("without a driver",),
    ),
    # -- driver stack
    Case("only files of the other stack", READY, "/etc/4xxx_dev0.conf = [GENERAL]", {"warn": ["QP-STACK-001"]},
         ("left behind", "rm /etc/4xxx_dev0.conf")),
    Case("qat_adf_ctl is the kernel's own before 6.12", READY, "/dev/qat_adf_ctl c 240:0", {}, ()),
    # -- device
    Case("no PCI bus", READY, "- /sys/bus/pci/devices\n/sys/bus/pci/devices /", one("QP-DEV-001"), ("no PCI devices",)),
    Case("PCI bus closed", READY, "/sys/bus/pci/devices [0500] !EACCES", {"unknown": ["QP-DEV-001"]},
         ("no permission",)),
    # -- kernel
    Case("device newer than the kernel", READY, f"{PF}/device = 0x4948\n- {PF}/driver", one("QP-KRN-001"),
         ("6.16", "qat_6xxx", "0000:6b:00.0")),
    Case("no SR-IOV in the kernel", "spr-2s-no-vfs", f"{WITHOUT_IOV}\n{config('CONFIG_VFIO_PCI=m')}", one("QP-KRN-002"),
         ("CONFIG_PCI_IOV",)),
    Case("PF id among vfio-pci's, the driver came first", READY,
         "/etc/modprobe.d/vfio.conf = options vfio-pci ids=8086:4940,10de:1234", {"warn": ["QP-KRN-004"]},
         ("if it loads first", "/etc/modprobe.d/vfio.conf", "initramfs")),
    Case("VF ids beside a GPU's on the command line", READY,
         "/proc/cmdline = quiet vfio-pci.ids=10de:1234,8086:4941", {"warn": ["QP-KRN-004"]},
         ("add vfio-pci.ids=10de:1234", "remove vfio-pci.ids=10de:1234,8086:4941")),
    Case("ids of others only", READY, "/proc/cmdline = quiet vfio-pci.ids=10de:4941,8086:1572", {}, ()),
    Case("Debian hides its stable release in uname -v", READY,
         "/proc/sys/kernel/osrelease = 6.1.0-30-amd64\n/proc/sys/kernel/version = #1 SMP Debian 6.1.124-1 (2025-01-12)"
         "\n/lib/modules/6.1.0-30-amd64/modules.dep = kernel/qat_4xxx.ko.xz:", {"warn": ["QP-KRN-005"]},
         ("QATE-106085", "6.1.149")),
    Case("a newer Debian 12", READY,
         "/proc/sys/kernel/osrelease = 6.1.0-40-amd64\n/proc/sys/kernel/version = #1 SMP Debian 6.1.153-1 (2025-09-20)",
         {}, ()),
    Case("a distribution that tells no stable release", READY, "/proc/sys/kernel/osrelease = 6.1.0-1023-aws",
         {"unknown": ["QP-KRN-005"]}, ("6.1.0-1023-aws",)),
    Case("RHEL 9: 5.14 with backports", READY, "/proc/sys/kernel/osrelease = 5.14.0-427.el9.x86_64", {}, ()),
    # -- iommu
    Case("grub edited, grub.cfg not written again", "iommu-staged", "/boot/grub/grub.cfg <<\n| linux /vmlinuz ro quiet",
         one("QP-IOMMU-002"), ("not written again", "update-grub", "Reboot.")),
    Case("SUSE's grub", "iommu-off-by-default", "/boot/grub2/grub.cfg <<\n| linux /vmlinuz ro quiet",
         one("QP-IOMMU-002"), ("grub2-mkconfig -o /boot/grub2/grub.cfg",)),
    Case("grub edited, grub.cfg closed to us", "iommu-staged", GRUB_CLOSED, one("QP-IOMMU-002"),
         ("Staged in /etc/default/grub: intel_iommu=on and iommu=pt. Whether the boot loader has it yet cannot be "
          "seen: /boot/grub/grub.cfg cannot be read.", "update-grub", "Reboot."), silent=("was not written again",)),
    Case("grub edited, boot loader entries closed to us", "iommu-staged", ENTRIES_CLOSED,
         one("QP-IOMMU-002"), ("/boot/loader/entries cannot be read", "as root"), silent=("update-grub", "Reboot.")),
    Case("no argument seen, grub.cfg closed to us", "iommu-off-by-default", GRUB_CLOSED, one("QP-IOMMU-002"),
         ("qatprep gen-conf --stage-kernel-arguments", "/boot/grub/grub.cfg: no permission",
          "Whether the next boot will differ already")),
    Case("SUSE's grub, closed to us", "iommu-off-by-default", "/boot/grub2 [0700] /\n/boot/grub2/grub.cfg !EACCES",
         one("QP-IOMMU-002"), ("grub2-mkconfig -o /boot/grub2/grub.cfg",)),
    Case("boot loader entries closed to us", "iommu-off-by-default", ENTRIES_CLOSED,
         one("QP-IOMMU-002"), ('grubby --update-kernel=ALL --args="intel_iommu=on"',)),
    Case("the IOMMU runs, grub.cfg closed to us", READY, f"{GRUB_CLOSED}\n/etc/default/grub = GRUB_TIMEOUT=5",
         {"unknown": ["QP-IOMMU-003"]},
         ("cannot see whether an IOMMU argument waits", "Cannot be read: /boot/grub/grub.cfg (no permission).",
          "Run qatprep as root")),
    Case("the IOMMU runs, /etc/default/grub is as what runs, grub.cfg closed to us", READY,
         f'{GRUB_CLOSED}\n/proc/cmdline = intel_iommu=on\n/etc/default/grub = GRUB_CMDLINE_LINUX="intel_iommu=on"',
         {"unknown": ["QP-IOMMU-003"]}, ("/etc/default/grub has none that does not run already",)),
    Case("an argument in /etc/default/grub, grub.cfg closed to us", READY,
         f'{GRUB_CLOSED}\n/etc/default/grub = GRUB_CMDLINE_LINUX="intel_iommu=off"', {"warn": ["QP-IOMMU-003"]},
         ("a later boot will add intel_iommu=off", "Whether it is the next boot already cannot be seen",
          "/boot/grub/grub.cfg: no permission", "switch the IOMMU off")),
    Case("an argument in /etc/kernel/cmdline, which GRUB does not read", READY,
         f"{GRUB_CLOSED}\n/etc/kernel/cmdline = quiet intel_iommu=off", {"unknown": ["QP-IOMMU-003"]},
         (), silent=("intel_iommu=off",)),
    Case("an argument in /etc/kernel/cmdline of systemd-boot", "boot-systemd-boot",
         "/etc/kernel/cmdline = quiet intel_iommu=on", one("QP-IOMMU-002"),
         ("Staged in the boot loader, reboot pending: intel_iommu=on",)),
    Case("an argument gone from one place, which a closed one may still have", READY,
         f"{GRUB_CLOSED}\n/proc/cmdline = quiet intel_iommu=on\n/etc/kernel/cmdline = quiet",
         {"unknown": ["QP-IOMMU-003"]}, (), silent=("will remove",)),
    Case("/boot closed to us", READY, "\n".join(f"{path} !EACCES" for path in (
         "/boot/config-6.12.117", "/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")) + f"\n{ENTRIES_CLOSED}",
         {"unknown": ["QP-IOMMU-003"]},
         ("/boot/grub2/grub.cfg (no permission) and /boot/loader/entries (no permission).",)),
    Case("the command line closed to us", READY, "/proc/cmdline !EACCES", {"unknown": ["QP-IOMMU-003"]},
         ("/proc/cmdline: no permission",)),
    Case("boot loader entries", "iommu-off-by-default", "/boot/loader/entries/a.conf <<\n| title a\n| options ro quiet",
         one("QP-IOMMU-002"), ('grubby --update-kernel=ALL --args="intel_iommu=on"',)),
    Case("a snippet of a cloud image wins over /etc/default/grub", "iommu-off-argument",
         '/etc/default/grub.d/50-cloudimg-settings.cfg = GRUB_CMDLINE_LINUX_DEFAULT="console=ttyS0"',
         one("QP-IOMMU-002"), ("GRUB_CMDLINE_LINUX of /etc/default/grub.d/50-cloudimg-settings.cfg",)),
    Case("unknown boot loader", "iommu-off-by-default", "- /etc/default/grub", one("QP-IOMMU-002"),
         ("not recognised", "add intel_iommu=on"), silent=("update-grub",)),
    Case("ostree", "boot-ostree", "", one("QP-IOMMU-002"), ("rpm-ostree kargs --append-if-missing=intel_iommu=on",),
         silent=("grubby",)),
    Case("bootc", "boot-bootc", "", one("QP-IOMMU-002"), ("/usr/lib/bootc/kargs.d", "bootc upgrade")),
    Case("Proxmox VE", "boot-proxmox", "", one("QP-IOMMU-002"), ("/etc/kernel/cmdline", "proxmox-boot-tool refresh"),
         silent=("/etc/default/grub",)),
    Case("grub.cfg on the EFI partition", "boot-grub-on-efi", "", one("QP-IOMMU-002"),
         ("/boot/efi/EFI/centos/grub.cfg, which GRUB reads, was not written again",
          "grub2-mkconfig -o /boot/efi/EFI/centos/grub.cfg")),
    Case("blscfg in grub.cfg", "boot-bls", "", one("QP-IOMMU-002"), ("grubby --update-kernel=ALL",)),
    Case("RHEL 8 keeps arguments in GRUB's environment", "boot-bls",
         "/boot/loader/entries/0f-6.12.117.conf <<\n| title a\n| options $kernelopts\n"
         "/boot/grub2/grubenv = kernelopts=quiet intel_iommu=on", one("QP-IOMMU-002"), ("reboot pending",)),
    Case("the last boot did not bring the argument", "boot-argument-lost", "", one("QP-IOMMU-002"),
         ("was in /boot/grub/grub.cfg and /etc/default/grub already when this host was booted", "default"),
         silent=("reboot pending",)),
    Case("the next boot will bring it", "boot-argument-lost", "/proc/stat = btime 1767400000", one("QP-IOMMU-002"),
         ("reboot pending",)),
    Case("an argument that the last boot did not bring, and the IOMMU runs", READY,
         "/boot/grub/grub.cfg <<\n| linux /vmlinuz ro quiet iommu=pt\n/proc/stat = btime 1767600000\n"
         "/.qatprep/modified = 1767500000.0 /boot/grub/grub.cfg", {"warn": ["QP-IOMMU-003"]},
         ("the last boot did not add iommu=pt", "another boot entry"), silent=("the next boot will",)),
    Case("Arch: no update-grub", "iommu-off-argument", "/etc/os-release = ID=arch\n/boot/grub/grub.cfg <<\n"
         "| linux /vmlinuz ro quiet intel_iommu=off", one("QP-IOMMU-002"), ("grub-mkconfig -o /boot/grub/grub.cfg",),
         silent=("update-grub", "stage-kernel-arguments")),
    Case("a kernel without the IOMMU's driver", "iommu-off-by-default", config("CONFIG_PCI_IOV=y"), one("QP-IOMMU-002"),
         ("CONFIG_INTEL_IOMMU is not set",), silent=("add intel_iommu=on",)),
    Case("an argument that is gone from the boot entries", READY,
         "/proc/cmdline = quiet intel_iommu=on\n/etc/kernel/cmdline = quiet", {"warn": ["QP-IOMMU-003"]},
         ("the next boot will remove intel_iommu=on", "in no boot entry any more")),
    Case("intel_iommu=on,sm_on is on", READY,
         "/proc/cmdline = quiet intel_iommu=on,sm_on\n/etc/kernel/cmdline = quiet intel_iommu=on,sm_on", {}, ()),
    Case("one VF outside the IOMMU", READY, f"- {VF}/iommu_group", one("QP-IOMMU-004"), ("0000:6b:00.1",)),
    Case("unsafe interrupts", READY, "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts = Y",
         {"warn": ["QP-IOMMU-005"]}, ("interrupt remapping", "echo N >")),
    Case("no ACPI tables to be seen, but the IOMMU runs", READY, "- /sys/firmware/acpi/tables", {}, ()),
    Case("no ACPI tables to be seen, and no IOMMU", "iommu-off-by-default", "- /sys/firmware/acpi/tables",
         {"fail": ["QP-IOMMU-002"], "unknown": ["QP-IOMMU-001"]}, ("no ACPI tables", "which of the two")),
    # -- modules
    Case("built, but its package is not installed", "debian-kernel",
         config("CONFIG_CRYPTO_DEV_QAT_4XXX=m", "CONFIG_PCI_IOV=y", release="6.12.117+deb13-amd64"), one("QP-MOD-001"),
         ("linux-modules-extra",), silent=("Debian's kernels",)),
    Case("loaded in spite of a blacklist", READY, "/etc/modprobe.d/old.conf = blacklist intel_qat",
         {"warn": ["QP-MOD-002"]}, ("/etc/modprobe.d/old.conf", "may be missing after the next boot")),
    Case("forbidden on the command line", "module-not-loaded",
         "/proc/cmdline = quiet module_blacklist=qat_4xxx,nouveau", one("QP-MOD-002"),
         ("module_blacklist=qat_4xxx", "Reboot.")),
    # -- firmware
    Case("the package lost its links' targets", "fw-missing",
         "/usr/lib/firmware/qat_4xxx.bin -> intel/qat/qat_4xxx.bin\n"
         "/usr/lib/firmware/qat_4xxx_mmp.bin -> intel/qat/qat_4xxx_mmp.bin", one("QP-FW-001"), ("leads nowhere",)),
    Case("firmware_class.path", "fw-missing",
         "/sys/module/firmware_class/parameters/path = /opt/fw\n/opt/fw/qat_4xxx.bin ~ 9\n/opt/fw/qat_4xxx_mmp.bin ~ 9",
         one("QP-PF-001"), ("came later", "initramfs", "echo")),
    Case("it runs, but its firmware is gone", READY,
         "- /usr/lib/firmware/qat_4xxx.bin\n- /usr/lib/firmware/intel/qat/qat_4xxx.bin", {"warn": ["QP-FW-001"]},
         ("the other half is there", "The next loading of the driver will fail")),
    # -- driver
    Case("an override keeps the driver away", READY, f"- {PF}/driver\n- {PF}/qat\n{PF}/driver_override = vfio-pci",
         one("QP-PF-001"),
         ("driver_override keeps 4xxx away", "echo > /sys/bus/pci/devices/0000:6b:00.0/driver_override")),
    Case("unbound by hand", READY, f"- {PF}/driver\n- {PF}/qat", one("QP-PF-001"), ("it was unbound by hand",)),
    Case("the device rejects its firmware", READY,
         f"- {PF}/driver\n- {PF}/qat\n/.qatprep/dmesg <<\n| QAT: authentication error (FCU_STATUS = 0x1)"
         "\n| 4xxx 0000:6b:00.0: probe with driver 4xxx failed with error -14", one("QP-PF-001"),
         ("rejected the firmware", "FCU_STATUS")),
    Case("units fused off", READY, f"- {PF}/driver\n- {PF}/qat\n/.qatprep/dmesg <<"
         "\n| 4xxx 0000:6b:00.0: No acceleration units found.", one("QP-PF-001"), ("sold without QAT",)),
    Case("down after a failed start", "pf-down", "/.qatprep/dmesg <<\n| 4xxx 0000:70:00.0: Failed to start qat_dev1",
         one("QP-PF-002"), ("the driver left it down",)),
    # -- health
    Case("auto_reset configured and off", READY, "", {"warn": ["QP-PF-005"]},
         ("auto_reset of all 8 PFs is off", "echo on >"), config="devices: {auto_reset: true}"),
    Case("auto_reset configured on one PF", READY, "", {"warn": ["QP-PF-005"]}, ("of PF 0000:6b:00.0 is off",),
         config="overrides: [{match: {device: '6b:00.0'}, auto_reset: true}]"),
    Case("auto_reset not configured", READY, f"{PF}/qat/auto_reset = on", {}, ()),
    Case("auto_reset before 6.9", READY, f"- {PF}/qat/auto_reset", {"warn": ["QP-PF-005"]},
         ("cannot be set for PF 0000:6b:00.0", "Linux 6.9"),
         config="overrides: [{match: {device: '6b:00.0'}, auto_reset: true}]"),
    Case("auto_reset off before 6.9", READY, f"- {PF}/qat/auto_reset", {}, (), config="devices: {auto_reset: false}"),
    Case("a query that came too early is no failure", READY, f'{BEAT}/status == "-1\\n\\u0000"', {}, ()),
    Case("a PF before 6.0 has no state", "spr-2s-old-kernel",
         "/.qatprep/dmesg <<\n| 4xxx 0000:6b:00.0: Heartbeat ERROR: QAT is not responding.",
         {"fail": ["QP-PF-003", "QP-KRN-001"]}, ("does not answer",)),
    # -- services
    Case("services nobody knows", READY, f"{PF}/qat/cfg_services = rsa", one("QP-SVC-002"),
         ("'rsa'", "newer than this")),
    Case("in the kernel's own order", READY, f"{PF}/qat/cfg_services = asym;sym", {}, ()),
    Case("services that only some PFs cannot offer", READY, "", one("QP-SVC-003"),
         ("a 4xxx device offers dcc only by itself", "Set overrides[0].services to asym or dcc, or to keep."),
         config="overrides: [{match: {numa_node: 1}, services: asym;dcc}]"),
    Case("a configuration that 6.1 cannot fulfil", READY, "/proc/sys/kernel/osrelease = 6.1.160", one("QP-SVC-001"),
         ("Mainline takes asym from Linux 6.5 on", "backported it"), config="devices: {services: asym}"),
    Case("compression is configured", READY, "", one("QP-SVC-001"),
         ("all 8 PFs offer sym;asym, not dc", "takes the VFs"), config="devices: {services: dc}",
         silent=("TLS handshakes",)),
    Case("compression on one NUMA node", READY, "", one("QP-SVC-001"), ("4 of 8 PFs",),
         config="overrides: [{match: {numa_node: 1}, services: dc}]"),
    Case("keep what there is", "dc-only", "", {}, (), config="devices: {services: keep}"),
    # -- sr-iov
    Case("no VFs configured", READY, "", one("QP-SRIOV-001"), ("128 VFs, and the configuration wants none",),
         config="devices: {vfs: false}"),
    Case("no VFs configured, and none there", "spr-2s-no-vfs", "", {}, (), config="devices: {vfs: false}"),
    Case("some of the VFs", READY, f"{PF}/sriov_numvfs = 8", one("QP-SRIOV-001"), ("8 of its 16",)),
    Case("a PF is being removed, and a VF of it is held", READY,
         f"{PF}/sriov_numvfs !ETIMEDOUT\n- {PF}/driver\n- {PF}/virtfn0\n- {VF}/physfn\n- {VF}/driver",
         {"fail": ["QP-PF-001"]}, ("is being removed from its driver", "has closed its VF", "grep /dev/vfio"),
         silent=("qatprep bootstrap",)),
    Case("a PF is going down, and a VF of it is held", READY,
         f"{PF}/qat/state = down\n/.qatprep/dmesg <<\n"
         "| vfio-pci 0000:6b:00.1: No device request channel registered, blocked until released by user",
         {"fail": ["QP-PF-002"]}, ("is going down", "blocked until released by user", "grep /dev/vfio"),
         silent=("qatprep bootstrap",)),
    Case("sriov_numvfs blocks in the kernel", READY, f"{PF}/sriov_numvfs !ETIMEDOUT", {"unknown": ["QP-SRIOV-001"]},
         ("waits until every process has closed its VF", "/dev/vfio/")),
    # -- binding
    Case("a VF given to another driver", READY, f"{VF}/driver -> ../../../bus/pci/drivers/pci-stub", one("QP-VFIO-001"),
         ("pci-stub instead of vfio-pci", "driver/unbind")),
    Case("VFs left without a driver on purpose", "spr-2s-no-vfs", "", one("QP-SRIOV-001"), (),
         config="devices: {driver: none}"),
    # -- nodes
    Case("/dev/vfio/vfio closed", READY, "/dev/vfio/vfio [0600] c 10:196", one("QP-NODE-003"),
         ("only root may use /dev/vfio/vfio", "chmod 0666 /dev/vfio/vfio")),
    Case("/dev/vfio/vfio for the group is enough", READY, "/dev/vfio/vfio [0660 0:996] c 10:196", {}, ()),
    Case("no /dev/vfio/vfio", READY, "- /dev/vfio/vfio", one("QP-NODE-003"), ("not there",)),
    Case("a node is missing", READY, "- /dev/vfio/13", one("QP-NODE-001"), ("0000:6b:00.1 has no node",)),
    Case("another group is configured", READY, "", one("QP-NODE-004"), ("groupadd --system envoy",),
         config="nodes: {group: envoy}"),
    Case("the configuration itself opens the nodes", "nodes-world-writable", "", {"warn": ["QP-NODE-002"]},
         ("The configuration (test) says mode 0666",),
         config='nodes: {group: root, mode: "0666", world_accessible: true}'),
    Case("/etc/group closed to us", READY, "/etc/group [0600] !EACCES", {"unknown": ["QP-NODE-004"]},
         ("no permission",)),
    # -- cpu
    Case("cpuid cannot be asked", READY, "- /.qatprep/cpuid", {"unknown": ["QP-CPU-001", "QP-CPU-002"]},
         ("/proc/cpuinfo shows all",), profile=Profile.CRYPTOMB),
    Case("XCR0 cannot be read", READY, "- /.qatprep/xcr0", {"unknown": ["QP-CPU-002"]}, ("XCR0",),
         profile=Profile.CRYPTOMB),
    Case("clearcpuid hides a flag", "cpu-hidden-flag", "/proc/cmdline = quiet clearcpuid=avx512_vbmi2",
         {"warn": ["QP-CPU-003"]}, ("clearcpuid=avx512_vbmi2",), profile=Profile.CRYPTOMB),
]  # fmt: skip


def everything(f: Finding) -> str:
    evidence = [f"{e.path}: {e.value}" for e in f.evidence]
    return "\n".join([f.title, *f.subjects, *evidence, f.cause, *f.fix])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_changed_host(case: Case) -> None:
    config = parse(case.config, "test") if case.config else NodeConfig()
    report = judge(case.host, case.change, config, case.profile)
    assert found(report) == {status: sorted(ids) for status, ids in case.finds.items()}
    first = next((id for ids in case.finds.values() for id in ids), "")
    told = [f for f in report.of(Status.FAIL, Status.WARN, Status.UNKNOWN) if f.id == first]
    text = "\n".join(everything(f) for f in told)
    for words in case.says:
        assert words in text
    for words in case.silent:
        assert words not in text
