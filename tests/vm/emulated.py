"""Guests with emulated QAT: a qat-emulator process for each PF, the unpatched driver, Debian's firmware and libqat.

with EmulatedGuest(kit, Hardware(kind="emulated"), cache=rig.cache()) as guest:
    guest.check("modprobe qat_4xxx")
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any

from . import userland
from .errors import RigError
from .kernels import Kit
from .machine import BUSES, REPOSITORY, Guest, Hardware

READY = 20.0
"""Seconds in which an emulator must have its sockets."""
_PROGRAM = (sys.executable, "-m", "qat_emulator")


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.path.join(REPOSITORY, "emulator")}


class Emulator:
    """A PF and its VFs, served by a process of this machine. It outlives guests, as a device does."""

    def __init__(self, directory: str, vfs: int, *, pf: bool = True) -> None:
        """Start it; without `pf` VFs alone, as a VM has them. RigError when it does not come up."""
        os.makedirs(directory)
        self.directory = directory
        self.names = [*(["pf"] if pf else []), *(f"vf{n}" for n in range(vfs))]
        self._log = f"{directory}/log"
        self.record = f"{directory}/record"
        """What drivers did to the devices, as JSON lines."""
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [*_PROGRAM, "serve", directory, *(["--pf"] if pf else []), "--vfs", str(vfs), "--record", self.record],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
            )
        began = time.monotonic()
        while "vfio-user-pci" not in self.log():  # it has its sockets when it says what to start QEMU with
            if self._process.poll() is not None or time.monotonic() - began > READY:
                self.end()
                raise RigError(f"qat-emulator did not start: {self.log()[-500:]}")
            time.sleep(0.05)

    def sockets(self) -> list[str]:
        """The PF's, then those of its VFs."""
        return [f"{self.directory}/{name}" for name in self.names]

    def tell(self, *words: str) -> str:
        """Ask or change it: counts, or fault NAME[=N|=off]. RigError when it refuses."""
        command = [*_PROGRAM, "tell", self.directory, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
        if done.returncode:
            raise RigError(f"the emulator refuses {' '.join(words)!r}: {done.stderr}")
        return done.stdout

    def counts(self) -> dict[str, Any]:
        """What the device did, by function: of VFs the public key functions by number, of the PF admin messages."""
        found: dict[str, Any] = json.loads(self.tell("counts"))
        return found

    def log(self) -> str:
        """What it wrote."""
        with open(self._log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def end(self) -> None:
        """Stop it."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class EmulatedGuest(Guest):
    """One boot with emulated PFs."""

    def __init__(
        self, kit: Kit, hardware: Hardware | None = None, *, cache: str, suite: str = userland.DEFAULT, **more: Any
    ) -> None:
        """`suite`: the Debian that the guest runs. The rest is as for Guest."""
        super().__init__(kit, hardware or Hardware(kind="emulated"), **more)
        self.suite = suite
        self.root = userland.root(cache, suite)
        userland.compile_python(self.root, f"{REPOSITORY}/qatprep")
        self.qemu = userland.qemu(cache)
        self.python = "/usr/bin/python3"
        self.emulators: list[Emulator] = []

    @property
    def interpreter(self) -> str:
        return self.python

    def _start(self) -> None:
        hardware = self.hardware
        self.emulators = [
            Emulator(f"{self._directory}/pf{n}", hardware.vfs, pf=hardware.pfs > 0) for n in range(hardware.pfs or 1)
        ]
        super()._start()

    def close(self) -> None:
        super().close()
        for emulator in self.emulators:
            emulator.end()

    _memory_backend = "memory-backend-memfd,share=on"
    """The emulator reads and writes the guest's memory."""

    def _memory(self) -> list[str]:
        if self.hardware.sockets == 2:
            return super()._memory()
        size = self.hardware.memory
        return ["-object", f"{self._memory_backend},id=node0,size={size}M", "-machine", "memory-backend=node0"]

    def _shares(self) -> dict[str, str]:
        return {**super()._shares(), "root": self.root, "project": REPOSITORY}

    def _orders(self) -> dict[str, str]:
        return {**super()._orders(), "firmware": "0", "project": REPOSITORY, "pfs": "emulated"}

    def _order(self) -> Iterable[int]:
        """QEMU's ACPI tables have the root bus that was named last first; a real machine's have the lowest first."""
        return reversed(range(self.hardware.pfs or 1))

    def _sriov_device(self, number: int) -> list[str]:
        if not self.hardware.pfs:
            return self._vfs_alone()
        return self._pf_with_vfs(number)

    def _vfs_alone(self) -> list[str]:
        """Each on a bus of its own: libqat 24.02 knows no others."""
        line = []
        for number, path in enumerate(self.emulators[0].sockets()):
            device = {"driver": "vfio-user-pci", "bus": f"port{number}", "socket": {"type": "unix", "path": path}}
            line += ["-device", f"pcie-root-port,id=port{number},chassis={number},slot={number}"]
            line += ["-device", json.dumps(device)]
        return line

    def _pf_with_vfs(self, number: int) -> list[str]:
        """A PF where it is on a real machine, its VFs on the same bus, eight functions a slot (ARI)."""
        socket_node = number * self.hardware.sockets // self.hardware.pfs
        numa = f",numa_node={socket_node}" if self.hardware.sockets == 2 else ""
        line = ["-device", f"pxb-pcie,id=root{number},bus_nr={BUSES[number] - 1},bus=pcie.0{numa}"]
        line += ["-device", f"pcie-root-port,id=port{number},bus=root{number},chassis={number},slot={number}"]
        for function, path in enumerate(self.emulators[number].sockets()):
            device = {
                "driver": "vfio-user-pci",
                "bus": f"port{number}",
                "addr": f"{function >> 3:x}.{function & 7}",
                "multifunction": not function & 7,
                "socket": {"type": "unix", "path": path},
            }
            line += ["-device", json.dumps(device)]
        return line
