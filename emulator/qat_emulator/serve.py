"""qat-emulator serve: sockets for QEMU's vfio-user-pci, and the options to start it with."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence

from qat_emulator import control, vfio_user
from qat_emulator.errors import EmulatorError
from qat_emulator.faults import Faults
from qat_emulator.function import Function
from qat_emulator.mailbox import StandInPf
from qat_emulator.pf import Pf, PhysicalVf
from qat_emulator.record import Record
from qat_emulator.vf import Vf, engines

PF_BUS = 0x6B
"""The bus of a PF on a real machine; libqat 24.02 knows no others."""
OLDEST_QEMU = (10, 1)
PATH_LIMIT = 107
"""Bytes of a socket's path (unix(7))."""


def make(*, pf: bool, vfs: int, services: str, faults: Faults, record: Record, workers: int) -> dict[str, Function]:
    """Functions by the name of their socket: with a PF, the functions 0 to N of one bus; without, VFs alone."""
    pool = engines(workers)
    if not pf:
        stand_in = StandInPf(services)
        return {f"vf{n}": Vf(f"vf{n}", stand_in, pool, faults, record) for n in range(vfs)}
    owner = Pf("pf", vfs, faults, record)
    return {"pf": owner, **{f"vf{n}": PhysicalVf(f"vf{n}", owner, n, pool, faults, record) for n in range(vfs)}}


def qemu_options(folder: str, names: Sequence[str], bus: int = PF_BUS) -> list[str]:
    """What QEMU (10.1 or newer) is started with besides its machine."""
    options = ["-machine", "q35,memory-backend=ram", "-object", "memory-backend-memfd,id=ram,size=1G,share=on"]
    options += ["-device", "intel-iommu,caching-mode=on"]

    def device(name: str, bus: str, **more: object) -> list[str]:
        socket_of = {"type": "unix", "path": f"{folder}/{name}"}
        return ["-device", json.dumps({"driver": "vfio-user-pci", "bus": bus, **more, "socket": socket_of})]

    if "pf" in names:
        root, port = f"pxb{bus:x}", f"port{bus:x}"
        options += ["-device", f"pxb-pcie,id={root},bus_nr={bus - 1},bus=pcie.0"]
        options += ["-device", f"pcie-root-port,id={port},bus={root},chassis={bus},slot={bus}"]
        for number, name in enumerate(names):  # function N of the bus: slot N / 8, function N % 8
            address = f"{number // 8}.{number % 8}"
            options += device(name, port, addr=address, multifunction=number % 8 == 0)
        return options
    for number, name in enumerate(names):
        options += ["-device", f"pcie-root-port,id=port{number},chassis={100 + number},slot={100 + number}"]
        options += device(name, f"port{number}")
    return options


def counts(functions: dict[str, Function]) -> dict[str, object]:
    """What each function did: a VF its requests and answers, the PF its admin messages; resets of both."""
    done: dict[str, object] = {}
    for name, function in functions.items():
        did = function.counts.as_dict() if isinstance(function, Vf) else {}
        if isinstance(function, Pf):
            did["admin"] = dict(function.admin)
        done[name] = {**did, "resets": function.resets}
    return done


def serve(folder: str, *, pf: bool, vfs: int, services: str, faults: Faults, record: Record, workers: int) -> int:
    """Serve until SIGINT or SIGTERM. EmulatorError, OSError."""
    folder = os.path.abspath(folder)
    if len(os.fsencode(f"{folder}/{control.NAME}")) > PATH_LIMIT:
        raise EmulatorError(f"{folder} is too long for sockets in it", "take a shorter path, such as /tmp/qat")
    if not pf and not vfs:
        raise EmulatorError("nothing to serve", "--pf, or --vfs N with N above 0")
    os.makedirs(folder, exist_ok=True)
    stop = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)  # before any thread is there that could take them
    functions = make(pf=pf, vfs=vfs, services=services, faults=faults, record=record, workers=workers)

    def answer(words: list[str]) -> dict[str, object]:
        if words == ["counts"]:
            return counts(functions)
        if len(words) == 2 and words[0] == "fault":
            faults.set(words[1])
            for function in functions.values():
                if isinstance(function, Pf):
                    function.apply_faults()
            return {"fault": words[1]}
        raise ValueError(f"unknown order {' '.join(words)!r}: counts, or fault NAME[=N] or NAME=off")

    with contextlib.ExitStack() as stack:
        for name, function in functions.items():
            stack.enter_context(vfio_user.listen(function, f"{folder}/{name}"))
        stack.enter_context(control.listen(folder, answer))
        print(_shell(qemu_options(folder, list(functions))), flush=True)
        note_missing()
        signal.sigwait(stop)
        for name in (*functions, control.NAME):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, name))
    return 0


def note_missing() -> None:
    """Say so where the QEMU of this machine cannot use the sockets; another one may."""
    try:
        said = subprocess.run(["qemu-system-x86_64", "-version"], capture_output=True, text=True, check=False).stdout
        found = re.search(r"version (\d+)\.(\d+)", said)
        if found and tuple(map(int, found.groups())) >= OLDEST_QEMU:
            return
        here = f"QEMU {found[1]}.{found[2]}" if found else "a QEMU that does not say its version"
    except OSError:
        here = "no qemu-system-x86_64"
    print(
        f"qat-emulator: this machine has {here}; vfio-user-pci needs QEMU {OLDEST_QEMU[0]}.{OLDEST_QEMU[1]} or newer"
        " (Debian: trixie-backports, sid)",
        file=sys.stderr,
        flush=True,
    )


def _shell(options: Sequence[str]) -> str:
    """One option and its value a line, to be pasted into a shell."""
    pairs = [f"  {name} {value!r}" for name, value in zip(options[::2], options[1::2], strict=True)]
    return "qemu-system-x86_64 ... \\\n" + " \\\n".join(pairs)
