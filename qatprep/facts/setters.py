"""Who else will set up this host's QAT devices at its next boot: files that are there today."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from qatprep.facts.base import Unknown, exists, link_name, names, read_line, read_text
from qatprep.facts.pci import PciFacts
from qatprep.facts.persist import UNIT_DIRS, is_ours
from qatprep.hardware import BDF, BY_PF_ID, BY_VF_ID, DRIVERS
from qatprep.host.base import Host
from qatprep.text import Foreign

DRIVERCTL = "/etc/driverctl.d"
"""One file for each device, pci-<BDF>, which holds the driver's name: driverctl(8)."""
QATLIB_SETTINGS = "/etc/sysconfig/qat"
"""Read by qat.service, on Debian as well (qatlib, quickassist/utilities/service/qat.service.in)."""
OPERATOR = "/etc/sriov-operator"
"""Where sriov-network-operator keeps what it applies at boot (pkg/consts/constants.go)."""
_CONFIG_MAPS = "kubernetes.io~configmap"

_UDEV_DIRS = ("/etc/udev/rules.d", "/run/udev/rules.d", "/usr/local/lib/udev/rules.d", "/usr/lib/udev/rules.d")
_DRIVERCTL_RULES = "05-driverctl.rules"
_SCRIPTS = ("/etc/rc.local", "/etc/rc.d/rc.local")
_WRITES = re.compile(
    r"sriov_numvfs|driver_override|cfg_services|qat/state|dpdk-devbind"
    r"|driverctl\s+(?:-\S+\s+)*set-override|drivers/[\w-]+/(?:un)?bind|drivers/[\w-]+/new_id"
)
_IDS = "|".join(f"{number:04x}" for number in (*BY_PF_ID, *BY_VF_ID))
_ABOUT_QAT = re.compile(
    rf"(?i)\bqat|\b(?:0x)?8086[: ](?:0x)?(?:{_IDS})\b|0x(?:{_IDS})\b|drivers/(?:{'|'.join(DRIVERS)})/"
)
_EXEC = re.compile(r"^Exec(?:StartPre|Start|StartPost|Reload)=[-@:+!]*(.*)$", re.MULTILINE)
_SERVICES = re.compile(r"^\s*ServicesEnabled\s*=\s*[\"']?([a-z;]+)", re.MULTILINE)
_LIMIT = 64 << 10
"""Bytes of a script that is looked into."""


class Kind(StrEnum):
    DRIVERCTL = "driverctl"
    UDEV = "a udev rule"
    UNIT = "a unit"
    SCRIPT = "rc.local"
    QATLIB = "qatlib's qat.service"
    INIT_CONTAINER = "the QAT plugin's init container"
    OPERATOR = "sriov-network-operator"


class Setter(NamedTuple):
    kind: Kind
    path: str
    """The file that says so."""
    says: str
    """A driver's name, services as they are written, or the line that writes."""
    bdf: str = ""
    """The function it names, "" where that is not one."""


def gather(host: Host, pci: PciFacts) -> tuple[Setter, ...]:
    """All of them, in a fixed order. What cannot be read says nothing: most is open to everybody."""
    mine = [pf.bdf for pf in pci.pfs] + [vf.bdf for vf in pci.all_vfs]
    mine += [pf.vf_bdf(index) for pf in pci.pfs if not pf.vfs for index in range(pf.family.total_vfs)]
    if not mine:
        return ()
    return (
        *_driverctl(host, frozenset(mine)),
        *_qatlib(host),
        *_udev(host, mine),
        *_units(host, mine),
        *_scripts(host, mine),
        *_init_container(host),
        *_operator(host, mine),
    )


def _driverctl(host: Host, mine: frozenset[str]) -> Iterator[Setter]:
    """Stored overrides, where driverctl's udev rule is there to load them."""
    if not any(exists(host, f"{directory}/{_DRIVERCTL_RULES}") is True for directory in _UDEV_DIRS):
        return
    for name in _names(host, DRIVERCTL):
        bus, _, bdf = name.partition("-")
        driver = read_line(host, f"{DRIVERCTL}/{name}")
        if bus == "pci" and BDF.fullmatch(bdf) and bdf in mine and isinstance(driver, str) and driver.strip():
            yield Setter(Kind.DRIVERCTL, f"{DRIVERCTL}/{name}", driver.strip(), bdf)


def _qatlib(host: Host) -> Iterator[Setter]:
    for directory in UNIT_DIRS:
        path = f"{directory}/multi-user.target.wants/qat.service"
        if isinstance(link_name(host, path), str):
            text = read_text(host, QATLIB_SETTINGS)
            found = _SERVICES.search(text) if isinstance(text, str) else None
            yield Setter(Kind.QATLIB, path, found[1] if found else "")
            return


def _udev(host: Host, mine: list[str]) -> Iterator[Setter]:
    seen = set()
    for directory in _UDEV_DIRS:
        for name in _names(host, directory):
            if not name.endswith(".rules") or name in seen:
                continue  # a file in an earlier directory hides its namesakes
            seen.add(name)
            text = _text(host, f"{directory}/{name}")
            if not is_ours(text):
                yield from _writing(Kind.UDEV, f"{directory}/{name}", text.replace("\\\n", " "), mine, by_line=True)


def _units(host: Host, mine: list[str]) -> Iterator[Setter]:
    """Enabled units whose commands, or the scripts these name, write to the devices."""
    enabled = {
        unit
        for directory in UNIT_DIRS
        for target in _names(host, directory)
        if target.endswith((".wants", ".requires"))
        for unit in _names(host, f"{directory}/{target}")
        if unit.endswith(".service") and unit != "qat.service"
    }
    for unit in sorted(enabled):
        path = next((p for d in UNIT_DIRS if exists(host, p := f"{d}/{unit}") is True), "")
        text = _text(host, path) if path else ""
        if not text or is_ours(text):
            continue
        commands = "\n".join(_EXEC.findall(text))
        found = list(_writing(Kind.UNIT, path, commands, mine))
        for script in dict.fromkeys(re.findall(r"(?:^|\s)(/(?:usr/local|opt|etc|root|srv|home)/\S+)", commands)):
            found += _writing(Kind.UNIT, path, _text(host, script), mine)
        yield from found[:1]


def _scripts(host: Host, mine: list[str]) -> Iterator[Setter]:
    for path in _SCRIPTS:
        try:
            runs = bool(host.stat(path).mode & 0o111)
        except OSError:
            continue
        if runs:
            yield from list(_writing(Kind.SCRIPT, path, _text(host, path), mine))[:1]


def _writing(kind: Kind, path: str, text: str, mine: list[str], *, by_line: bool = False) -> Iterator[Setter]:
    """The lines of a text that write to QAT devices. `by_line`: each line counts alone, as a udev rule does."""
    lines = [line.strip() for line in text.splitlines() if not line.strip().startswith("#")]
    for line in lines:
        if _WRITES.search(line) and _about(line if by_line else "\n".join(lines), mine):
            yield Setter(kind, path, line[:200])


def _about(text: str, mine: list[str]) -> bool:
    return _ABOUT_QAT.search(text) is not None or any(
        bdf in text or re.search(rf"(?<![\w:]){re.escape(bdf.partition(':')[2])}", text) for bdf in mine
    )


def _init_container(host: Host) -> Iterator[Setter]:
    """The ConfigMap of the plugin's init container, as the kubelet has mounted it: qat.conf or qat-<node>.conf
    (intel-device-plugins-for-kubernetes, demo/qat-init.sh).
    """
    root = "/var/lib/kubelet/pods"
    for pod in _names(host, root):
        for volume in _names(host, f"{root}/{pod}/volumes/{_CONFIG_MAPS}"):
            directory = f"{root}/{pod}/volumes/{_CONFIG_MAPS}/{volume}"
            for name in _names(host, directory):
                if not re.fullmatch(r"qat(?:-.+)?\.conf", name):
                    continue
                if found := _SERVICES.search(_text(host, f"{directory}/{name}")):
                    yield Setter(Kind.INIT_CONTAINER, f"{directory}/{name}", found[1])


def _operator(host: Host, mine: list[str]) -> Iterator[Setter]:
    for name in _names(host, OPERATOR):
        path = f"{OPERATOR}/{name}"
        lines = [line.strip() for line in _text(host, path).splitlines()]
        line = next((line for line in lines if any(bdf in line for bdf in mine)), None)
        if line is not None:
            yield Setter(Kind.OPERATOR, path, line[:200])


def _names(host: Host, path: str) -> tuple[str, ...]:
    found = names(host, path)
    return () if isinstance(found, Unknown) else found


def _text(host: Host, path: str) -> str:
    """A file's text; "" for what cannot be read, is not a script, or is too large for one."""
    try:
        data = host.read(path, limit=_LIMIT)
    except OSError:
        return ""
    return "" if b"\0" in data[:512] else Foreign(data).text
