"""qat-emulator run: a command on a machine that seems to have QAT VFs."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import TextIO

from qat_emulator import namespace, sysfs
from qat_emulator.errors import EmulatorError
from qat_emulator.faults import Faults
from qat_emulator.mailbox import StandInPf
from qat_emulator.record import Record
from qat_emulator.shared_memory import Vfio
from qat_emulator.vf import Vf, engines

LIBC, LIBQAT, LOADER = "libc.so.6", "libqat.so.4", "ld-linux-x86-64.so.2"
FETCH = "unpack a Debian with libqat: qat-emulator fetch trixie DIR"


def preload() -> str:
    """Where the library is that is preloaded. EmulatorError."""
    folder = os.path.dirname(os.path.abspath(__file__))
    for name in sorted(os.listdir(folder)):
        if name.startswith("_preload.") and name.endswith(".so"):
            return os.path.join(folder, name)
    raise EmulatorError(f"{folder} has no _preload library", "install qat-emulator with pip, with gcc, on x86-64 Linux")


def unpacked(tree: str) -> tuple[str, str]:
    """The root of an unpacked Debian, which is `tree` or (as fetch leaves it) tree/root, and its folder of libraries.
    EmulatorError."""
    try:
        os.listdir(tree)
    except OSError as problem:
        raise EmulatorError(f"{tree} cannot be read: {problem.strerror}", FETCH) from problem
    for root in (os.path.abspath(tree), os.path.abspath(f"{tree}/root")):
        for folder in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib64"):
            if os.path.exists(f"{root}/{folder}/{LIBC}"):
                return root, f"{root}/{folder}"
    raise EmulatorError(f"{tree} has no {LIBC}", FETCH)


def check_version(folder: str) -> None:
    """The machine's programs run on the tree's C library, which must not be older than theirs. EmulatorError."""
    try:
        said = subprocess.run([f"{folder}/{LOADER}", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as problem:
        raise EmulatorError(f"{folder}/{LOADER} does not run: {problem}", FETCH) from problem
    theirs, ours = (re.search(r"(\d+)\.(\d+)", text) for text in (said.partition("version")[2], platform.libc_ver()[1]))
    if theirs and ours and tuple(map(int, theirs.groups())) < tuple(map(int, ours.groups())):
        raise EmulatorError(
            f"{folder} has glibc {theirs[0]}, this machine {ours[0]}: its programs would not start",
            "take a newer suite, or no --tree and the machine's own libqat",
        )


def note_missing(folder: str) -> None:
    """Say so where the command will find no libqat; not every command needs it."""
    if not any(os.path.exists(f"{place}/{LIBQAT}") for place in (folder, "/usr/local/lib", "/usr/local/lib64")):
        print(f"qat-emulator: {folder} has no {LIBQAT}; {FETCH}, then --tree DIR", file=sys.stderr)


def own_libraries() -> str:
    """The folder this process's own C library is in: that of the machine."""
    with open("/proc/self/maps", encoding="utf-8") as f:
        for line in f:
            path = line.split(maxsplit=5)[-1].strip()
            if os.path.basename(path) == LIBC:
                return os.path.dirname(path)
    raise EmulatorError(f"this process has no {LIBC}", "use the machine's own Python")


def run(
    command: Sequence[str],
    *,
    services: str,
    vfs: int,
    faults: Faults,
    tree: str | None,
    record: Record,
    counts: TextIO | None,
    workers: int,
) -> int:
    """Run the command; its exit status. What the devices did is written to stderr, and as JSON to `counts`.
    EmulatorError."""
    library = preload()
    root, upper = unpacked(tree) if tree else ("", "")
    if upper:
        check_version(upper)
    note_missing(upper or own_libraries())
    namespace.enter()
    pf, pool = StandInPf(services), engines(workers)
    devices = [Vf(name, pf, pool, faults, record) for name in sysfs.names(vfs)]
    place = tempfile.mkdtemp(prefix="qat-emulator.")
    try:
        os.chmod(place, 0o711)
        os.symlink(library, f"{place}/preload.so")  # LD_PRELOAD takes no path with a space or a colon in it
        try:
            sysfs.build(devices)
        except OSError as problem:
            raise EmulatorError(
                f"{problem.filename} cannot be covered: {problem.strerror}", "run it outside the sandbox, or as root"
            ) from problem
        if upper:
            namespace.put_over(upper, own_libraries())
        vfio = Vfio(sysfs.VFIO, devices)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(f"{place}/vfio")
            os.chmod(f"{place}/vfio", 0o666)
            listener.listen(64)
            vfio.serve(listener)
            environment = {
                **os.environ,
                "LD_PRELOAD": " ".join(filter(None, (f"{place}/preload.so", os.environ.get("LD_PRELOAD")))),
                "QAT_EMULATOR_SOCKET": f"{place}/vfio",
                "QAT_EMULATOR_DEVICE": str(vfio.device),
            }
            if root:
                environment["PATH"] = f"{os.environ.get('PATH', os.defpath)}:{root}/usr/bin"
            status = _wait(command, environment)
        _tell(devices, counts)
        return status
    finally:
        shutil.rmtree(place, ignore_errors=True)
        pool.shutdown(wait=False, cancel_futures=True)


def _wait(command: Sequence[str], environment: dict[str, str]) -> int:
    try:
        child = subprocess.Popen(command, env=environment)
    except OSError as problem:
        raise EmulatorError(
            f"{command[0]} cannot be started: {problem.strerror}", "write the command after --"
        ) from None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the command decides what they mean
        signal.signal(number, lambda number, _: child.send_signal(number) if number != signal.SIGINT else None)
    status = child.wait()
    return 128 - status if status < 0 else status


def _tell(devices: Sequence[Vf], counts: TextIO | None) -> None:
    if counts:
        json.dump({vf.name: vf.counts.as_dict() for vf in devices}, counts, indent=2)
    for vf in devices:
        did = ", ".join(f"{count} {name}" for name, count in vf.counts.functions.items()) or "nothing"
        print(
            f"qat-emulator: {vf.name} took {vf.counts.requests} requests, gave {vf.counts.answers} answers: {did}",
            file=sys.stderr,
        )
