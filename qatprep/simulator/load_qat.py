"""Reading the state of QAT devices back out of a recorded tree, so that the model goes on from there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qatprep.hardware import DEBUGFS
from qatprep.simulator import services
from qatprep.simulator.qat import Accel, PfDriver, VfDriver

if TYPE_CHECKING:
    from qatprep.simulator.machine import Machine

_STARTED = re.compile(r"^\S+ ([0-9a-f:.]+): qat_dev(\d+) started")


def adopt(machine: Machine) -> None:
    """Fill the framework's table with every function that a QAT driver holds."""
    numbers = _numbers(machine)
    bound = [device for device in machine.bus.devices.values() if isinstance(device.driver, PfDriver | VfDriver)]
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
        accel = machine.qat.add(family, device)
        if device.bdf in numbers:
            accel.number = numbers[device.bdf]
        if isinstance(driver, PfDriver):
            _state(machine, accel)
            machine.qatfs.attach(accel)
        else:
            accel.up = True


def _numbers(machine: Machine) -> dict[str, int]:
    """BDF -> N of qat_devN, from the last start of each device in the kernel log."""
    found = {}
    for line in machine.log_lines():
        if match := _STARTED.match(line):
            found[match[1]] = int(match[2])
    return found


def _state(machine: Machine, accel: Accel) -> None:
    device, family = accel.device, accel.family
    base = f"{device.path}/qat"
    accel.up = machine.text(f"{base}/state") != "down"
    accel.pm_idle = machine.text(f"{base}/pm_idle_enabled") != "0"
    accel.auto_reset = machine.text(f"{base}/auto_reset") == "on"
    text = machine.raw(f"{DEBUGFS}/qat_{family.debug_class}_{device.bdf}/dev_cfg")
    general, found, rest = _split(text)
    accel.general = general
    configured = dict(general)
    if family.generation < 4:
        return
    stored = machine.text(f"{base}/cfg_services") or configured.get("ServicesEnabled", "")
    accel.services = stored or services.default(machine.kernel, accel.number)
    if not found:
        # Without debugfs nobody sees these; they matter once it is there.
        accel.set_key("ServicesEnabled", accel.services)
        if accel.up:
            machine.qat.configure(accel, for_vfs=bool(device.vfs))
    else:
        accel.sections = rest


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
