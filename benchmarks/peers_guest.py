"""Runs in the guest: each round binds the same VFs once with every tool, as whole processes, and times it.

Arguments: rounds, PFs. Writes one JSON document: {"what": {"case": [seconds, ...]}}.
"""

from __future__ import annotations

import glob
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable

DEVICES = "/sys/bus/pci/devices"
QATPREP = "/usr/bin/qatprep"
PYTHON = ("/usr/bin/python3", "-I")
PATH = "/usr/lib/qatprep"
SHELL_LOOP = (
    "for b in {vfs}; do echo vfio-pci >/sys/bus/pci/devices/$b/driver_override; "
    "echo $b >/sys/bus/pci/drivers/vfio-pci/bind; done"
)
IN_PROCESS = f"""
import sys, time
sys.path.insert(0, "{PATH}")
from qatprep.__main__ import main
from qatprep.host.linux import LinuxHost
inside = []
def timed(real):
    def write(*args, **more):
        begin = time.perf_counter()
        try:
            return real(*args, **more)
        finally:
            inside.append((begin, time.perf_counter()))
    return write
LinuxHost.write, LinuxHost.write_in_turn = timed(LinuxHost.write), timed(LinuxHost.write_in_turn)
sys.stdout = open("/dev/null", "w")
main(sys.argv[1:])
print(sum(end - begin for begin, end in inside), inside[-1][1] - inside[0][0], file=sys.stderr)
"""
IN_SEQUENCE = f"""
import sys, threading
sys.path.insert(0, "{PATH}")
from qatprep.engine import run
class OneByOne(threading.Thread):
    def start(self):
        super().start()
        self.join()
class threading:
    Thread, Lock, Event = OneByOne, threading.Lock, threading.Event
run.threading = threading
from qatprep.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def put(path: str, text: str) -> str:
    """Write a value; the name of the error, "" when it was taken."""
    try:
        with open(path, "wb", buffering=0) as f:
            f.write(text.encode())
    except OSError as e:
        return str(e)
    return ""


def functions() -> tuple[list[str], list[str]]:
    """The PFs, and all their VFs in order."""
    pfs = sorted(os.path.basename(os.path.dirname(p)) for p in glob.glob(f"{DEVICES}/*/qat"))
    vfs = []
    for pf in pfs:
        links = sorted(glob.glob(f"{DEVICES}/{pf}/virtfn*"), key=lambda p: int(p.rsplit("virtfn", 1)[1]))
        vfs += [os.path.basename(os.readlink(link)) for link in links]
    return pfs, vfs


def unbind(vfs: list[str]) -> None:
    for vf in vfs:
        if os.path.exists(f"{DEVICES}/{vf}/driver"):
            put(f"{DEVICES}/{vf}/driver/unbind", vf)
        put(f"{DEVICES}/{vf}/driver_override", "\n")


def bound(vfs: list[str]) -> int:
    links = (os.path.join(DEVICES, vf, "driver") for vf in vfs)
    return sum(os.path.basename(os.path.realpath(link)) == "vfio-pci" for link in links)


def timed(argv: list[str]) -> tuple[float, str]:
    """Seconds of a whole process, and what it said on stderr."""
    begin = time.perf_counter()
    quiet = subprocess.DEVNULL
    done = subprocess.run(argv, stdin=quiet, stdout=quiet, stderr=subprocess.PIPE, check=False)
    return time.perf_counter() - begin, done.stderr.decode(errors="replace")


def binding(vfs: list[str], rounds: int) -> dict[str, list[float]]:
    """Every tool binds all VFs, `rounds` times, in turn."""
    words = " ".join(vfs)
    overrides = "; ".join(f"driverctl --nosave set-override {vf} vfio-pci" for vf in vfs)
    cases: dict[str, list[str]] = {
        "qatprep device bind": [QATPREP, "device", "bind", *vfs, "--yes"],
        "qatprep device bind --group qat": [QATPREP, "device", "bind", *vfs, "--group", "qat", "--yes"],
        "dpdk-devbind.py -b": ["dpdk-devbind.py", "-b", "vfio-pci", *vfs],
        "driverctl set-override, one call a VF": ["/bin/bash", "-c", overrides],
        "qat_init of qatlib": ["/usr/sbin/qat_init"],
        "shell loop": ["/bin/bash", "-c", SHELL_LOOP.format(vfs=words)],
    }
    times: dict[str, list[float]] = {
        name: [] for name in [*cases, "qatprep: in its writes", "qatprep: first to last write"]
    }
    for number in range(rounds + 1):
        for name, argv in cases.items():
            unbind(vfs)
            seconds, said = timed(argv)
            if bound(vfs) != len(vfs):
                raise SystemExit(f"{name} bound {bound(vfs)} of {len(vfs)} VFs: {said[-500:]}")
            if number:  # the first round warms caches
                times[name].append(seconds)
        unbind(vfs)
        _, said = timed([*PYTHON, "-c", IN_PROCESS, "device", "bind", *vfs, "--yes"])
        try:
            inside, span = (float(word) for word in said.split()[-2:])
        except ValueError:
            raise SystemExit(f"qatprep in a process of ours: {said}") from None
        if number:
            times["qatprep: in its writes"].append(inside)
            times["qatprep: first to last write"].append(span)
    return times


def alternating(cases: dict[str, Callable[[], list[str]]], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, prepare in cases.items():
            seconds, _ = timed(prepare())
            if number:
                times[name].append(seconds)
    return times


def listing(rounds: int) -> dict[str, list[float]]:
    return alternating(
        {
            "qatprep device list": lambda: [QATPREP, "device", "list"],
            "dpdk-devbind.py --status": lambda: ["dpdk-devbind.py", "--status"],
            "python3 -I -c pass": lambda: [*PYTHON, "-c", "pass"],
        },
        rounds,
    )


def lanes(pfs: list[str], rounds: int) -> dict[str, list[float]]:
    """Services of four PFs changed, so that VFs go and come: side by side, and one PF after the other."""
    turns = ["sym;asym", "asym;dc"]

    def arguments(start: list[str]) -> list[str]:
        turns.reverse()
        words = ["bootstrap", "--yes", "--no-smoke", "--set", f"devices.services={turns[0]}", "--set", "persist=false"]
        return [*start, *words, *(w for pf in pfs for w in ("-d", pf))]

    return alternating(
        {
            "4 PFs side by side": lambda: arguments([QATPREP]),
            "4 PFs one after the other": lambda: arguments([*PYTHON, "-c", IN_SEQUENCE]),
        },
        rounds,
    )


def rollback(rounds: int) -> dict[str, list[float]]:
    """CPU seconds of a bootstrap that gives every PF its VFs, and of its rollback; those in the kernel apart too."""
    names = ("CPU of bootstrap", "CPU of rollback")
    times: dict[str, list[float]] = {f"{name}{part}": [] for name in names for part in ("", ", in the kernel")}
    verbs = ([QATPREP, "bootstrap", "--yes", "--no-smoke", "--set", "persist=false"], [QATPREP, "rollback", "--yes"])
    for path in glob.glob(f"{DEVICES}/*/sriov_numvfs"):
        put(path, "0")
    for number in range(rounds + 1):
        for name, argv in zip(names, verbs, strict=True):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            _, said = timed(argv)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if len(functions()[1]) != (16 * len(functions()[0]) if "bootstrap" in argv else 0):
                raise SystemExit(f"{' '.join(argv)}: {said[-500:]}")
            if number:
                times[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
                times[f"{name}, in the kernel"].append(after.ru_stime - before.ru_stime)
    return times


def main() -> None:
    rounds, count = int(sys.argv[1]), int(sys.argv[2])
    pfs, vfs = functions()
    if len(vfs) != 16 * count:
        raise SystemExit(f"{len(vfs)} VFs instead of {16 * count}")
    result = {f"bind {len(vfs)} VFs": binding(vfs, rounds)}
    if count == 1:
        result["list devices"] = listing(rounds)
    elif count >= 4:
        result["services changed"] = lanes(pfs[:4], max(rounds // 2, 2))
        result["rollback"] = rollback(max(rounds // 2, 2))
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
