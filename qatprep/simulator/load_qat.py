"""Reading the state of QAT devices back out of a recorded tree, so that the model goes on from there."""

from __future__ import annotations

import re

from qatprep.hardware import DEBUGFS
from qatprep.simulator import services
from qatprep.simulator.accel import Accel
from qatprep.simulator.core import Core
from qatprep.simulator.pci import PciBus
from qatprep.simulator.qat import PfDriver, Qat, VfDriver

_STARTED = re.compile(r"^(?:<\d+>)?\S+ ([0-9a-f:.]+): qat_dev(\d+) started")


def adopt(core: Core, bus: PciBus, qat: Qat) -> None:
    """Fill the framework's table with every function that a QAT driver holds."""
    numbers = _numbers(core)
    bound = [device for device in bus.devices.values() if isinstance(device.driver, PfDriver | VfDriver)]
    # Those whose number the log tells come first, so that the others cannot take it.
    for device in sorted(bound, key=lambda device: (device.bdf not in numbers, device.bdf)):
        driver = device.driver
        if isinstance(driver, PfDriver):
            family = driver.families.get(device.ids[1])
            if family is None:
                continue
        else:
            assert isinstance(driver, VfDriver)
            family = driver.family
        accel = qat.add(family, device)
        if device.bdf in numbers:
            accel.number = numbers[device.bdf]
        if isinstance(driver, PfDriver):
            _state(core, qat, accel)
            qat.files.attach(accel)
        else:
            accel.up = True


def _numbers(core: Core) -> dict[str, int]:
    """BDF -> N of qat_devN, from the last start of each device in the kernel log."""
    found = {}
    for line in core.log_lines():
        if match := _STARTED.match(line):
            found[match[1]] = int(match[2])
    return found


def _state(core: Core, qat: Qat, accel: Accel) -> None:
    device, family = accel.device, accel.family
    base = f"{device.path}/qat"
    accel.up = core.text(f"{base}/state") != "down"
    accel.pm_idle = core.text(f"{base}/pm_idle_enabled") != "0"
    accel.auto_reset = core.text(f"{base}/auto_reset") == "on"
    for name in accel.errors:
        accel.errors[name] = _number(core.text(f"{device.path}/qat_ras/{name}"))
    heartbeat = f"{DEBUGFS}/qat_{family.driver}_{device.bdf}/heartbeat"
    accel.queries = _number(core.text(f"{heartbeat}/queries_sent"))
    accel.failed = _number(core.text(f"{heartbeat}/queries_failed"))
    if core.text(f"{heartbeat}/status").strip("\0\n") == "-1":
        accel.hung, accel.unmoved = True, accel.queries
    text = core.raw(f"{DEBUGFS}/qat_{family.driver}_{device.bdf}/dev_cfg")
    general, found, rest = _split(text)
    accel.general = general
    configured = dict(general)
    if family.generation < 4:
        return
    stored = core.text(f"{base}/cfg_services") or configured.get("ServicesEnabled", "")
    accel.services = stored or services.default(core.kernel, accel.number)
    if not found:
        # Without debugfs nobody sees these; they matter once it is there.
        accel.set_key("ServicesEnabled", accel.services)
        if accel.up:
            qat.configure(accel, for_vfs=bool(device.vfs))
    else:
        accel.sections = rest


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _split(text: str) -> tuple[list[tuple[str, str]], bool, str]:
    """The keys of section GENERAL, whether there was one, and the text of the other sections."""
    if not text.startswith("[GENERAL]\n"):
        return [], False, ""
    body, bracket, rest = text[len("[GENERAL]\n") :].partition("[")
    pairs = []
    for line in body.splitlines():
        key, _, value = line.partition(" = ")
        pairs.append((key, value))
    return pairs, True, bracket + rest
