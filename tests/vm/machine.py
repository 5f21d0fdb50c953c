"""A guest: a kernel kit started in QEMU, and a line to the agent inside it.

with Guest(kit, Hardware(pfs=2)) as guest:
    print(guest.run("ls /sys/bus/pci/devices").out)
"""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import RigError
from .kernels import Kit

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))

# The buses on which a two-socket Sapphire Rapids shows its PFs.
BUSES = (0x6B, 0x70, 0x75, 0x7A, 0xE8, 0xED, 0xF2, 0xF7)

KERNEL_ARGUMENTS = (
    # What a slow emulated CPU spends its time on for nothing; cryptomgr.notests because the look-alike has no engines
    # that could answer the kernel's self-tests of the algorithms it registers.
    "console=ttyS0 quiet panic=-1 random.trust_cpu=on tsc=reliable no_timer_check nokaslr mitigations=off audit=0"
    " cryptomgr.notests"
)


@dataclass(frozen=True)
class Hardware:
    """What the guest's machine is made of."""

    pfs: int = 2
    """How many QAT PFs, 16 VFs each; 0 for none."""
    kind: Literal["qat", "soft", "nvme", "igb", "emulated"] = "qat"
    """qat: QEMU's SR-IOV devices dressed as QAT. soft: PFs made of software. nvme, igb: plain SR-IOV devices.
    emulated: PFs that qat-emulator answers for, under the unpatched driver (emulated.py)."""
    iommu: Literal["on", "off", "absent"] = "on"
    """off: the firmware offers one, the kernel was told not to use it. Soft PFs bring their own unless "off"."""
    domain: int = 0
    """PCI domain of soft PFs."""
    sockets: int = 1
    """2: two NUMA nodes, soft and emulated PFs shared out between them."""
    memory: int = 640
    """MiB."""
    vfs: int = 16
    """Most VFs of an emulated PF; without PFs, as many VFs alone, as a VM has them."""


@dataclass
class Result:
    """How a command ended in the guest."""

    status: int
    out: str
    err: str
    seconds: float


class GuestDied(RigError):
    """The guest ended, or does not answer, without having been asked to."""


@dataclass
class Job:
    """A command that runs in the guest."""

    guest: Guest
    number: int
    text: str
    stream: Callable[[str, str], None] | None = None
    out: str = ""
    err: str = ""
    result: Result | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, timeout: float = 120.0) -> Result:
        """Its result. TimeoutError after `timeout` seconds, GuestDied when the guest ends before."""
        with self._changed:
            done = self._changed.wait_for(lambda: self.result is not None or self.guest.dead, timeout)
            if self.result is not None:
                return self.result
        if done:
            raise self.guest.died(f"while {self.text!r} ran")
        raise TimeoutError(
            f"{self.text!r} still ran in the guest after {timeout} s; so far it said:\n{self.out}{self.err}"
        )

    def wait_for(self, text: str, timeout: float = 60.0) -> None:
        """Until it has written `text`. TimeoutError after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: text in self.out or self.result or self.guest.dead, timeout):
                raise TimeoutError(f"{self.text!r} has not said {text!r} after {timeout} s, but:\n{self.out}{self.err}")
        if text not in self.out:
            raise AssertionError(f"{self.text!r} ended without saying {text!r}:\n{self.out}{self.err}")

    def kill(self, number: int = 9) -> None:
        """Send a signal to the command and all it started."""
        self.guest.send({"id": 0, "signal": number, "job": self.number})

    def receive(self, document: dict[str, Any]) -> None:
        with self._changed:
            for kind in ("out", "err"):
                if kind in document:
                    setattr(self, kind, getattr(self, kind) + document[kind])
                    if self.stream:
                        self.stream(kind, document[kind])
            if "exit" in document:
                self.result = Result(document["exit"], self.out, self.err, document["seconds"])
            self._changed.notify_all()

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class Guest:
    """One boot. Use it as a context manager: leaving it ends QEMU whatever happened."""

    def __init__(
        self,
        kit: Kit,
        hardware: Hardware | None = None,
        *,
        boot: Literal["bare", "udev", "systemd"] = "bare",
        extra: str = "",
        disk: str = "",
        arguments: str = "",
        python: str = sys.executable,
        qemu: str = "",
        seconds: float = 120.0,
    ) -> None:
        """`extra`: a folder that lies over the machine's root. `disk`: an ext4 image that keeps what the guest writes.
        `arguments`: for the kernel. `python`: the interpreter with qatprep. `qemu`: the program to start.
        `seconds`: in which it must have booted."""
        self.kit = kit
        self.hardware = hardware or Hardware()
        self.boot = boot
        self.extra = extra
        self.disk = disk
        self.arguments = arguments
        self.python = python
        self.qemu = qemu or os.environ.get("QATPREP_VM_QEMU", "qemu-system-x86_64")
        self.seconds = seconds
        self.dead = False
        self.booted = 0.0
        """Seconds from the start of QEMU to the agent's first word."""
        self._jobs: dict[int, Job] = {}
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._number = 0
        self._lock = threading.Lock()
        self._hello = threading.Event()

    @property
    def interpreter(self) -> str:
        """The guest's Python itself, without the environment it may be the Python of."""
        return os.path.realpath(self.python)

    # -- life ---------------------------------------------------------------------------------------------

    def __enter__(self) -> Guest:
        self._directory = tempfile.mkdtemp(prefix="qatprep-vm.")
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        began = time.monotonic()
        self._console = os.path.join(self._directory, "console")
        address = os.path.join(self._directory, "agent")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen(1)
            with open(os.path.join(self._directory, "qemu"), "wb") as log:
                self._qemu = subprocess.Popen(
                    self.command(address), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                )
            listener.settimeout(20)
            try:
                self._socket, _ = listener.accept()
            except TimeoutError:
                raise self.died("QEMU did not start") from None
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        while not self._hello.wait(0.2):
            if self.dead or self._qemu.poll() is not None:
                raise self.died("while it booted")
            if time.monotonic() - began > self.seconds:
                raise self.died(f"it had not booted after {self.seconds} s")
        self.booted = time.monotonic() - began
        self._install()

    def close(self) -> None:
        """End the guest and remove what it left on this machine."""
        qemu = getattr(self, "_qemu", None)
        if qemu is not None and qemu.poll() is None:
            qemu.kill()
            qemu.wait()
        self.dead = True
        if hasattr(self, "_socket"):
            self._socket.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def shut_down(self, timeout: float = 30.0) -> None:
        """Power off, with everything written to its disk."""
        with contextlib.suppress(OSError):
            self.send({"power": "off"})
        self._qemu.wait(timeout)

    def cut_power(self) -> None:
        """End it as a power failure would: what the guest has not written through to its disk is gone."""
        self._qemu.kill()
        self._qemu.wait()

    def died(self, when: str) -> GuestDied:
        """What is known about a guest that ended: the end of its console and what QEMU said."""
        self.dead = True
        parts = []
        for name in ("qemu", "console"):
            with contextlib.suppress(OSError), open(os.path.join(self._directory, name), errors="replace") as f:
                lines = f.read().strip().splitlines()[-25:]
                if lines:
                    parts.append(f"--- {name}\n" + "\n".join(lines))
        return GuestDied(f"the guest ended or does not answer: {when}\n" + "\n".join(parts))

    # -- talking to the agent -----------------------------------------------------------------------------

    def run(self, text: str, *, timeout: float = 120.0, env: dict[str, str] | None = None) -> Result:
        """Run a shell text and wait for it."""
        return self.start(text, env=env).wait(timeout)

    def check(self, text: str, *, timeout: float = 120.0) -> str:
        """Run a shell text that must succeed; what it wrote to stdout."""
        result = self.run(text, timeout=timeout)
        if result.status:
            raise AssertionError(f"{text!r} ended with status {result.status} in the guest:\n{result.out}{result.err}")
        return result.out

    def start(
        self, text: str, *, env: dict[str, str] | None = None, stream: Callable[[str, str], None] | None = None
    ) -> Job:
        """Start a shell text. `stream` is called with ("out" or "err", text) as it comes."""
        with self._lock:
            self._number += 1
            job = self._jobs[self._number] = Job(self, self._number, text, stream)
        self.send({"id": job.number, "run": text, "env": env or {}})
        return job

    qatprep_command = "/usr/local/bin/qatprep"

    def qatprep(self, arguments: str, *, timeout: float = 120.0) -> Result:
        """Run qatprep as its user would."""
        return self.run(f"{self.qatprep_command} {arguments}", timeout=timeout)

    def _install(self) -> None:
        """The command, as an installer would make it for the interpreter we run in."""
        lines = [f"#!{self.python}", "import sys", f"sys.path.append({REPOSITORY!r})"]
        lines += ["from qatprep.__main__ import console", "console()", ""]
        self.put(self.qatprep_command, "\n".join(lines), 0o755)

    def read(self, path: str) -> str:
        """The content of a file. OSError with the guest's errno."""
        answer = self._ask({"read": path})
        if answer["error"]:
            raise OSError(getattr(errno, answer["error"], errno.EIO), answer["error"], path)
        return str(answer["data"])

    def write(self, path: str, text: str) -> str:
        """Write a value to a file in one write; the name of the errno, "" when it was taken."""
        return str(self._ask({"write": path, "data": text})["error"])

    def put(self, path: str, content: bytes | str, mode: int = 0o644) -> None:
        """Make a file in the guest."""
        data = content.encode() if isinstance(content, str) else content
        answer = self._ask({"put": path, "data": base64.b64encode(data).decode(), "mode": mode})
        if answer["error"]:
            raise AssertionError(f"cannot make {path} in the guest: {answer['error']}")

    def _ask(self, order: dict[str, Any], timeout: float = 60.0) -> dict[str, Any]:
        with self._lock:
            self._number += 1
            number = self._number
            answers = self._answers[number] = queue.SimpleQueue()
        self.send({"id": number, **order})
        try:
            return answers.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"no answer from the guest to {order} after {timeout} s") from None

    def send(self, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode() + b"\n"
        try:
            with self._lock:
                self._socket.sendall(data)
        except OSError:
            raise self.died("its line is cut") from None

    def _lines(self) -> Iterator[bytes]:
        pending = b""
        with contextlib.suppress(OSError):
            while chunk := self._socket.recv(1 << 16):
                *whole, pending = (pending + chunk).split(b"\n")
                yield from whole

    def _listen(self) -> None:
        for line in self._lines():
            document = json.loads(line)
            number = document.get("id", 0)
            if "hello" in document:
                self._hello.set()
            elif number in self._jobs:
                self._jobs[number].receive(document)
            elif number in self._answers:
                self._answers.pop(number).put(document)
        self.dead = True
        for job in self._jobs.values():
            job.wake()

    # -- the machine --------------------------------------------------------------------------------------

    def command(self, agent: str) -> list[str]:
        """The QEMU command line; `agent` is the address of the socket the agent's port is connected to."""
        hardware = self.hardware
        accelerator, cpu = ("kvm", "host") if kvm_works() else ("tcg", "max")
        line = [self.qemu]
        line += ["-machine", f"q35,accel={accelerator},kernel-irqchip=split", "-cpu", cpu, "-m", str(hardware.memory)]
        line += ["-display", "none", "-nodefaults", "-no-reboot", "-serial", f"file:{self._console}"]
        line += ["-kernel", self.kit.path("vmlinux"), "-initrd", self.kit.path("initrd"), "-append", self._arguments()]
        # The IOMMU must be there before the devices that are to be behind it.
        if hardware.iommu != "absent" and hardware.kind != "soft":
            line += ["-device", "intel-iommu,intremap=on,caching-mode=on"]
        line += self._memory()
        line += ["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
        line += ["-chardev", f"socket,id=agent,path={agent}", "-device", "virtserialport,chardev=agent,name=rig.agent"]
        for tag, path in self._shares().items():
            line += ["-fsdev", f"local,id={tag},path={path},security_model=none,readonly=on,multidevs=remap"]
            line += ["-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
        if self.disk:
            # On a bus of its own naming: left to itself QEMU takes the last one, which may be a PF's.
            line += ["-drive", f"file={self.disk},format=raw,if=none,id=disk,cache=writeback"]
            line += ["-device", "virtio-blk-pci,drive=disk,bus=pcie.0"]
        for number in self._order():
            line += self._sriov_device(number)
        return line

    def _order(self) -> Iterable[int]:
        """In which order PFs are on the command line."""
        return range(self.hardware.pfs)

    def _memory(self) -> list[str]:
        """Two NUMA nodes, if there are to be two."""
        line = []
        if self.hardware.sockets == 2:
            half = self.hardware.memory // 2
            for node in (0, 1):
                line += ["-object", f"{self._memory_backend},id=node{node},size={half}M"]
                line += ["-numa", f"node,nodeid={node},memdev=node{node}"]
        return line

    _memory_backend = "memory-backend-ram"

    def _shares(self) -> dict[str, str]:
        """Folders of this machine that the guest sees, by mount tag."""
        shares = {"root": "/", "modules": os.path.realpath(self.kit.path("modules")), "kit": self.kit.directory}
        if self.extra:
            shares["extra"] = self.extra
        return shares

    def _sriov_device(self, number: int) -> list[str]:
        kind = self.hardware.kind
        port = f"pcie-root-port,id=port{number},chassis={number},slot={number}"
        if kind == "igb":
            return ["-device", port, "-device", f"igb,bus=port{number}"]
        if kind == "soft":
            return []
        nvme = (
            f"nvme,bus=port{number},addr=0,serial=rig{number},subsys=subsys{number},sriov_max_vfs=16"
            ",sriov_vq_flexible=32,sriov_vi_flexible=16,max_ioqpairs=34,msix_qsize=18"
        )
        devices = ["-device", f"nvme-subsys,id=subsys{number}", "-device", nvme]
        if kind == "nvme":
            return ["-device", port, *devices]
        # A root bus of its own for each, numbered so that the device behind the port is on the bus we want.
        root = f"pxb-pcie,id=root{number},bus_nr={BUSES[number] - 1},bus=pcie.0"
        return ["-device", root, "-device", f"{port},bus=root{number}", *devices]

    def _arguments(self) -> str:
        hardware = self.hardware
        iommu = "off" if hardware.iommu == "off" or hardware.kind == "soft" else "on"
        words = [KERNEL_ARGUMENTS, f"intel_iommu={iommu}", self.arguments]
        return " ".join([*words, *(f"rig.{k}={v}" for k, v in self._orders().items())])

    def _orders(self) -> dict[str, str]:
        """What guest/init is to do."""
        hardware = self.hardware
        rig = {
            "boot": self.boot,
            "python": self.interpreter,
            "agent": os.path.join(HERE, "guest", "agent.py"),
        }
        if self.extra:
            rig["extra"] = "1"
        if self.disk:
            rig["disk"] = "1"
        if hardware.pfs and hardware.kind == "qat":
            rig["pfs"] = "skin"
        if hardware.pfs and hardware.kind == "soft":
            rig["pfs"] = "soft"
            rig["soft"] = f"pfs={hardware.pfs},domain={hardware.domain},sockets={int(hardware.sockets == 2)}"
        return rig


def kvm_works() -> bool:
    """Whether KVM runs stock kernels here. /dev/kvm alone says little: nested and paravirtual ones abort or hang."""
    modules = ("/sys/module/kvm_intel", "/sys/module/kvm_amd")
    return any(os.path.isdir(m) for m in modules) and os.access("/dev/kvm", os.R_OK | os.W_OK)
