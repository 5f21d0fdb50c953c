"""The first half of the script: PFs without and with their driver, states, services, VFs."""

from __future__ import annotations

from collections.abc import Iterator

from .words import attributes, debug, vf

SERVICES = ["sym", "asym", "dc", "dcc", "decomp", "sym;asym", "asym;sym", "dc;sym", "sym;dc", "asym;dc", "dc;asym"]
SERVICES += ["sym;asym;dc", "dc;dcc", "sym;sym", "asym;", ";asym", "crypto", "SYM"]
NUMBERS = ("-1", "abc", "", " ", "16x", "1 6", "17", "65535", "65536", "99999999999", "+0", "0x0")
STATE = ("UP", "on", "1", "", "up down", "upp")
BOOLEANS = ("2", "maybe", "", "N", "yes", "off", "on", "0", "1")


def no_driver() -> Iterator[str]:
    """PFs that nothing drives."""
    yield "names /sys/bus/pci/drivers 4xxx vfio-pci"
    yield "names /dev vfio"
    for pf in ("{PF0}", "{PF1}"):
        yield from attributes(pf)
        yield f"link {pf}/driver"
        yield f"link {pf}/iommu_group"
        yield f"read {pf}/driver_override"
    for value in ("16", "1", "0", *NUMBERS):
        yield f"write {{PF0}}/sriov_numvfs '{value}'"
    yield "said 'cannot configure SR-IOV'"
    yield "write {PF0}/sriov_totalvfs 4"
    yield "read {PF0}/qat/state"
    yield "write {PF0}/qat/state up"
    yield "write /sys/bus/pci/drivers_probe {PF0:bdf}"
    yield "write /sys/bus/pci/drivers_probe 0000:6b:1f.7"
    yield "write /sys/bus/pci/drivers_probe nonsense"
    yield "read /sys/bus/pci/drivers_probe"
    yield "write /sys/bus/pci/drivers/4xxx/bind {PF0:bdf}"
    yield "stat {PF0}/sriov_numvfs"
    yield "stat {PF0}/sriov_totalvfs"
    yield "stat {PF0}/driver_override"
    yield "stat /sys/bus/pci/drivers_probe"
    yield "run modprobe no_such_module"


def loading() -> Iterator[str]:
    """The driver comes."""
    yield "run modprobe qat_4xxx"
    yield "run modprobe qat_4xxx"
    yield "names /sys/bus/pci/drivers/4xxx *"
    yield "names /sys/module intel_qat qat_4xxx"
    yield "read /sys/module/qat_4xxx/initstate"
    for pf in ("{PF0}", "{PF1}"):
        yield from attributes(pf)
        yield f"link {pf}/driver"
        yield f"section {debug(pf)} KERNEL_NOT_THERE"
        yield f"stat {debug(pf)}"
        for name in ("state", "cfg_services", "pm_idle_enabled", "num_rps", "rp2srv", "auto_reset"):
            yield f"stat {pf}/qat/{name}"
        yield f"names {pf}/qat_ras *"
        yield f"read {pf}/qat/rp2srv"
        yield f"read {pf}/qat_ras/errors_fatal"
        yield f"read {pf}/qat_ras/reset_error_counters"
        for value in ("1", "1\\n", "0\\n", "2", "x"):
            yield f"write {pf}/qat_ras/reset_error_counters '{value}'"
    yield "write {PF0}/qat/num_rps 64"
    for value in ("0", "1", "2", "3", "63", "64", "-1", "x", ""):
        yield f"write {{PF0}}/qat/rp2srv '{value}'"
        yield "read {PF0}/qat/rp2srv"
    for value in ("0", "1", "2"):
        yield f"write {{PF1}}/qat/rp2srv '{value}'"
        yield "read {PF1}/qat/rp2srv"
    for value in BOOLEANS:
        yield f"write {{PF0}}/qat/auto_reset '{value}'"
        yield "read {PF0}/qat/auto_reset"
        yield f"write {{PF0}}/qat/pm_idle_enabled '{value}'"
    yield "write {PF0}/qat/auto_reset off"
    yield "said 'must be down to set pm_idle_enabled'"
    yield "write /sys/bus/pci/drivers/4xxx/bind {PF0:bdf}"
    yield "write /sys/bus/pci/drivers_probe {PF0:bdf}"


def states() -> Iterator[str]:
    """Up and down."""
    yield "write {PF0}/qat/state up"
    yield "said 'already up'"
    for value in STATE:
        yield f"write {{PF0}}/qat/state '{value}'"
    yield "read {PF0}/qat/state"
    yield "write {PF0}/qat/state down"
    yield from attributes("{PF0}")
    yield "names {PF0}/qat_ras *"
    yield f"section {debug('{PF0}')} KERNEL"
    yield f"section {debug('{PF0}')} Accelerator0"
    yield "write {PF0}/qat/state down"
    yield "said 'already down'"
    for value in STATE:
        yield f"write {{PF0}}/qat/state '{value}'"
    yield "write {PF0}/qat/rp2srv 1"
    yield "read {PF0}/qat/rp2srv"
    yield "write {PF0}/qat/pm_idle_enabled 0"
    yield "read {PF0}/qat/pm_idle_enabled"
    yield f"section {debug('{PF0}')} GENERAL"
    yield r"write {PF0}/qat/state 'up\n'"
    yield "read {PF0}/qat/state"
    yield f"section {debug('{PF0}')} GENERAL"
    yield "read {PF0}/qat/pm_idle_enabled"
    yield "write {PF0}/qat/pm_idle_enabled 1"
    yield "write {PF0}/qat/state down"
    yield "write {PF0}/qat/pm_idle_enabled 1"
    yield "write {PF0}/qat/pm_idle_enabled nonsense"
    yield f"section {debug('{PF0}')} GENERAL"
    yield "write {PF0}/qat/state up"
    yield "read {PF1}/qat/state"


def services() -> Iterator[str]:
    """What cfg_services takes, when, and how it reads back."""
    for value in ("dc", "sym;asym", "nonsense", ""):
        yield f"write {{PF0}}/qat/cfg_services '{value}'"
    yield "said 'must be down to reconfigure'"
    yield "read {PF0}/qat/cfg_services"
    yield "write {PF0}/qat/state down"
    for value in SERVICES:
        yield f"write {{PF0}}/qat/cfg_services '{value}'"
        yield "read {PF0}/qat/cfg_services"
    for value in ("asym\\n", "dc ", " dc", "dc\\n\\n", "sym;asym\\n", ""):
        yield f"write {{PF0}}/qat/cfg_services '{value}'"
        yield "read {PF0}/qat/cfg_services"
    for value in ("sym", "asym", "dc", "dcc", "asym;sym", "sym;dc", "asym;dc", "sym;asym"):
        yield f"write {{PF0}}/qat/cfg_services '{value}'"
        yield "write {PF0}/qat/state up"
        yield "read {PF0}/qat/cfg_services"
        yield f"section {debug('{PF0}')} GENERAL"
        for ring in "0123":
            yield f"write {{PF0}}/qat/rp2srv {ring}"
            yield "read {PF0}/qat/rp2srv"
        yield "write {PF0}/qat/state down"
        yield "read {PF0}/qat/cfg_services"
    yield "write {PF0}/qat/cfg_services dc"
    yield "write {PF0}/sriov_numvfs 16"
    yield "read {PF0}/qat/state"
    yield "read {PF0}/qat/cfg_services"
    yield "write {PF0}/qat/cfg_services asym"
    yield "read {PF0}/sriov_numvfs"
    yield "write {PF0}/qat/state down"
    yield "write {PF0}/qat/cfg_services 'sym;asym'"
    yield "write {PF0}/qat/state up"
    yield "read {PF1}/qat/cfg_services"


def creating_vfs() -> Iterator[str]:
    """sriov_numvfs: what is written is not what is made."""
    for value in NUMBERS:
        yield f"write {{PF0}}/sriov_numvfs '{value}'"
    yield "write {PF0}/sriov_numvfs 0"
    yield "read {PF0}/qat/state"
    yield "write {PF0}/sriov_numvfs 4"
    yield "read {PF0}/sriov_numvfs"
    yield "said 'only 16 enabled'"
    yield "names {PF0} virtfn*"
    yield from attributes("{PF0}")
    yield f"section {debug('{PF0}')} KERNEL"
    for number in (0, 6, 7, 14, 15):
        yield from vf(f"{{VF0.{number}}}")
        yield f"link {{PF0}}/virtfn{number}"
    yield "names {VF1.0} vendor"
    for value in ("16", "4", "1", "15", "17", "-1", "x"):
        yield f"write {{PF0}}/sriov_numvfs '{value}'"
        yield "read {PF0}/sriov_numvfs"
    yield "said 'Disable before enabling'"
    yield "write {PF1}/sriov_numvfs 16"
    yield "read {PF1}/sriov_numvfs"
    yield from vf("{VF1.15}")
    yield f"section {debug('{PF1}')} GENERAL"
    yield f"section {debug('{PF1}')} KERNEL"
    yield "write {PF0}/sriov_numvfs 0"
    yield "said 'Already enabled for this device'"
    yield "read {PF0}/sriov_numvfs"
    yield "read {PF0}/qat/state"
    yield "names {PF0} virtfn*"
    yield "names {VF0.0} vendor"
    yield f"section {debug('{PF0}')} GENERAL"
    yield "read {PF1}/sriov_numvfs"
    yield "write {PF0}/qat/state down"
    yield "write {PF1}/qat/state down"
    yield "read {PF0}/sriov_numvfs"
    yield "write {PF0}/sriov_numvfs 0"
    yield "write {PF1}/sriov_numvfs 16"
    yield "read {PF1}/qat/state"
    yield "write {PF1}/qat/state down"
    yield "write {PF0}/qat/state up"
    yield "write {PF1}/qat/state up"


def vfs_and_state() -> Iterator[str]:
    """What VFs survive."""
    yield "write {PF0}/sriov_numvfs 16"
    yield "write {PF0}/qat/state up"
    yield "read {PF0}/sriov_numvfs"
    yield "write {PF0}/qat/state nonsense"
    yield "write {PF0}/qat/auto_reset on"
    yield "write {PF0}/qat/auto_reset off"
    yield "write {PF0}/qat/state down"
    yield "read {PF0}/sriov_numvfs"
    yield "names {PF0} virtfn*"
    yield "names {VF0.0} vendor"
    yield f"section {debug('{PF0}')} GENERAL"
    yield "write {PF0}/qat/state up"
    yield "read {PF0}/sriov_numvfs"
    yield f"section {debug('{PF0}')} GENERAL"
    for value in ("0", "n", "2", "", "1", "y", "off", "0"):
        yield f"write {{PF0}}/sriov_drivers_autoprobe '{value}'"
        yield "read {PF0}/sriov_drivers_autoprobe"
    yield "write {PF0}/sriov_numvfs 16"
    yield "link {VF0.0}/driver"
    yield "write /sys/bus/pci/drivers_probe {VF0.0:bdf}"
    yield "link {VF0.0}/driver"
    yield "write {PF0}/qat/state down"
    yield "read {PF0}/sriov_drivers_autoprobe"
    yield "write {PF0}/sriov_drivers_autoprobe 1"
    yield "write {PF0}/qat/state up"
