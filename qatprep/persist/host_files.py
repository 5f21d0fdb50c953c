"""modules-load.d, sysusers.d, the udev rule with its helper, and the configuration: plain files of the host."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qatprep import hardware
from qatprep.facts.persist import CONFIG, HELPER, MARKER
from qatprep.text import printable

if TYPE_CHECKING:
    from qatprep.config import NodeConfig

VF_IDS = tuple(f"0x{family.vf_id:04x}" for family in hardware.SUPPORTED)


def head(purpose: str) -> str:
    """The first lines of a file of ours."""
    return (
        f"# {MARKER}: {purpose}\n# bootstrap writes it again; `qatprep rollback` and --set persist=false remove it.\n"
    )


def modules_load(config: NodeConfig) -> str:
    """modules-load.d(5). The QAT modules are not in it: udev loads those by the devices' own aliases.

    vfio-pci has no alias, and vfio_iommu_type1 is only asked for once somebody opens /dev/vfio/vfio.
    """
    drivers = {config.devices.driver, *(str(v) for o in config.overrides for k, v in o.values if k == "driver")}
    names = ["vfio-pci", "vfio_iommu_type1"] if drivers != {"none"} else []
    names += [hardware.VFIO_VARIANT] if hardware.VFIO_VARIANT in drivers else []
    return head("modules that no hardware asks for") + "".join(f"{name}\n" for name in names)


def sysusers(config: NodeConfig) -> str:
    """sysusers.d(5): a system group, there before udev reads its rules."""
    return head("the group that owns the device nodes of QAT VFs") + f"g {config.group} -\n"


def helper() -> str:
    """The program that the udev rule asks.

    A VFIO group node has no PCI device above it in udev (drivers/vfio/group.c), so a rule cannot match vendor and
    device; they are read from the group's own directory. A group that holds anything but QAT VFs and bridges is left
    to root: whoever opens it gets the other device as well.
    """
    known = " | ".join(f"0x8086:{number}" for number in VF_IDS)
    return f"""\
#!/bin/sh
{head("asked by the udev rule 90-qatprep.rules. Status 0: the VFIO group $1 is that of a QAT VF.")}\
case $1 in
'' | *[!0-9]*) exit 1 ;;
esac
answer=1
for device in /sys/kernel/iommu_groups/"$1"/devices/*; do
    read -r class <"$device/class" && read -r vendor <"$device/vendor" && read -r id <"$device/device" || exit 1
    case $vendor:$id in
    {known}) answer=0 ;;
    *) case $class in 0x0604*) ;; *) exit 1 ;; esac ;; # a bridge shares no access
    esac
done
exit $answer
"""


def rules(config: NodeConfig) -> str:
    """udev(7). vfio: group nodes, /dev/vfio/<N>. vfio-dev (6.1 and later): /dev/vfio/devices/vfio<N>, below the PCI
    device in udev, so that the rule can look for itself. The helper is handed to sh rather than run: what lies in /etc
    may be read everywhere, but not be executed everywhere."""
    owner = f'GROUP="{config.group}", MODE="{config.mode:04o}"'
    return (
        head("group and mode of the device nodes of QAT VFs, and of no others.")
        + f'ACTION!="remove", SUBSYSTEM=="vfio", KERNEL=="[0-9]*", PROGRAM=="/bin/sh {HELPER} %k", {owner}\n'
        + 'ACTION!="remove", SUBSYSTEM=="vfio-dev", ATTRS{vendor}=="0x8086", '
        + f'ATTRS{{device}}=="{"|".join(VF_IDS)}", {owner}\n'
    )


def config_text(config: NodeConfig) -> str:
    """The configuration as YAML, in the words it was given in."""
    import yaml

    document = {"version": 1, **config.document}
    text: str = yaml.safe_dump(document, sort_keys=False, default_flow_style=False)
    return (
        f"# {MARKER}: what was asked for on the command line, so that it holds at the next boot ({CONFIG}).\n"
        "# Edit it as you like. Remove this comment to make the file your own: bootstrap then never replaces it.\n"
    ) + text


_SAFE = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")


def words(argv: tuple[str, ...]) -> str:
    """A command as systemd reads it: systemd.service(5), "Command lines", systemd.syntax(7), "Quoting"."""
    out = []
    for word in argv:
        plain = word.replace("%", "%%").replace("$", "$$")
        if not _SAFE.fullmatch(word):
            plain = '"' + printable(plain.replace("\\", "\\\\").replace('"', '\\"')) + '"'
        out.append(plain)
    return " ".join(out)
