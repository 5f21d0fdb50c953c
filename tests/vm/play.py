"""Play a script of operations on a host and write down what it answers.

The same function plays on the simulated host and, started as a program inside a guest, on a real kernel; so this file
uses nothing but the standard library. An operation is a line of words, its answer a line of text:

    write PATH VALUE [SECONDS]    "ok", or the name of the errno; SECONDS bound it (ETIMEDOUT)
    read PATH [SECONDS]           the content as a string literal
    names PATH PATTERN ...        the names in a directory that match
    link PATH                     the target; numbers of IOMMU groups become N
    stat PATH                     kind, mode, owner
    chmod PATH MODE               "ok"
    section PATH NAME             the lines of one section of an INI file
    run WORD ...                  the exit status
    said TEXT                     how many lines of the kernel log have TEXT in them, since the start
    hold VF                       open a VF through VFIO and keep it open; release: let go of all
    sleep SECONDS

Values are Python string literals without the quotes. {PF0} is the directory of the first PF in sysfs, {VF0.3} that of
its fourth VF; {PF0:bdf} and {VF0.3:bdf} are their addresses, {VF0.3:node} is the VF's node below /dev/vfio.
"""

from __future__ import annotations

import errno
import fcntl
import fnmatch
import json
import os
import re
import shlex
import stat
import struct
import subprocess
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    class Host(Protocol):
        """What a player needs of a host. Errors are OSErrors."""

        def read(self, path: str, *, deadline: float | None = None) -> bytes: ...
        def write(self, path: str, data: bytes, *, deadline: float | None = None) -> None: ...
        def listdir(self, path: str) -> list[str]: ...
        def readlink(self, path: str) -> str: ...
        def stat(self, path: str) -> tuple[Any, ...]: ...
        def chmod(self, path: str, mode: int) -> None: ...
        def run(self, argv: list[str]) -> int: ...
        def log(self) -> list[str]: ...
        def hold(self, node: str, bdf: str) -> str: ...
        def release(self) -> str: ...
        def sleep(self, seconds: float) -> None: ...


DEVICES = "/sys/bus/pci/devices"
NAME = re.compile(r"\{(PF|VF)(\d)(?:\.(\d+))?(?::(bdf|node))?\}")


def vf_address(pf: str, number: int) -> str:
    """The address of a VF of a 4xxx (VF offset and stride 1): 6b:00.0 has 6b:00.1 to 6b:02.0."""
    bus, _, _ = pf.rpartition(":")
    return f"{bus}:{(number + 1) >> 3:02x}.{(number + 1) & 7}"


class Player:
    def __init__(self, host: Host, pfs: Sequence[str]) -> None:
        self.host = host
        self.pfs = pfs
        self.logged = len(host.log())

    def play(self, line: str) -> str:
        """The answer to one operation."""
        verb, *words = [self.expand(w) for w in shlex.split(line)]
        try:
            return str(getattr(self, f"do_{verb}")(*words))
        except OSError as e:
            return errno.errorcode.get(e.errno or 0, "?")

    def expand(self, word: str) -> str:
        def name(match: re.Match[str]) -> str:
            kind, pf, number, form = match.groups()
            bdf = self.pfs[int(pf)]
            if kind == "VF":
                bdf = vf_address(bdf, int(number))
            path = f"{DEVICES}/{bdf}"
            if form == "bdf":
                return bdf
            if form == "node":
                return self.node(path)
            return path

        return NAME.sub(name, word)

    def node(self, path: str) -> str:
        try:
            return "/dev/vfio/" + self.host.readlink(f"{path}/iommu_group").rpartition("/")[2]
        except OSError:
            return "/dev/vfio/none"

    # -- operations ---------------------------------------------------------------------------------------

    def do_write(self, path: str, value: str = "", seconds: str = "") -> str:
        data = value.encode().decode("unicode_escape").encode("latin-1")
        self.host.write(path, data, deadline=float(seconds) if seconds else None)
        return "ok"

    def do_read(self, path: str, seconds: str = "") -> str:
        return repr(self.host.read(path, deadline=float(seconds) if seconds else None).decode("latin-1"))

    def do_names(self, path: str, *patterns: str) -> str:
        names = self.host.listdir(path)
        return " ".join(sorted(n for n in names if any(fnmatch.fnmatchcase(n, p) for p in patterns)))

    def do_link(self, path: str) -> str:
        return re.sub(r"iommu_groups/\d+", "iommu_groups/N", self.host.readlink(path))

    def do_stat(self, path: str) -> str:
        kind, mode, uid, gid = self.host.stat(path)[:4]
        return f"{kind} {mode:04o} {uid}:{gid}"

    def do_chmod(self, path: str, mode: str) -> str:
        self.host.chmod(path, int(mode, 8))
        return "ok"

    def do_section(self, path: str, name: str) -> str:
        text = self.host.read(path).decode("latin-1")
        inside = re.search(rf"^\[{name}\]\n((?:[^\[].*\n)*)", text, re.MULTILINE)
        return inside.group(1).strip().replace("\n", ", ") if inside else "none"

    def do_run(self, *argv: str) -> int:
        return self.host.run(list(argv))

    def do_said(self, text: str) -> int:
        return sum(text in line for line in self.host.log()[self.logged :])

    def do_hold(self, vf: str) -> str:
        return self.host.hold(self.node(vf), vf.rpartition("/")[2])

    def do_release(self) -> str:
        return self.host.release()

    def do_sleep(self, seconds: str) -> str:
        self.host.sleep(float(seconds))
        return "ok"


class Local:
    """The machine this runs on."""

    def __init__(self) -> None:
        self.held: list[int] = []

    def read(self, path: str, *, deadline: float | None = None) -> bytes:
        def work() -> bytes:
            fd = os.open(path, os.O_RDONLY)
            try:
                data = b""
                while chunk := os.read(fd, 1 << 16):
                    data += chunk
                return data
            finally:
                os.close(fd)

        return self.bounded(work, deadline)

    def write(self, path: str, data: bytes, *, deadline: float | None = None) -> None:
        def work() -> bytes:
            fd = os.open(path, os.O_WRONLY)
            try:
                os.write(fd, data)
                return b""
            finally:
                os.close(fd)

        self.bounded(work, deadline)

    def bounded(self, work: Callable[[], bytes], deadline: float | None) -> bytes:
        """In a child that is left behind when time runs out: what waits in the kernel cannot be stopped."""
        if deadline is None:
            return work()
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 0
            try:
                for fd in self.held:
                    os.close(fd)
                os.write(writer, work())
            except OSError as e:
                status = e.errno or errno.EIO
            os._exit(status)
        os.close(writer)
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                if code:
                    raise OSError(code, os.strerror(code))
                with os.fdopen(reader, "rb") as f:
                    return f.read()
            time.sleep(0.02)
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    def listdir(self, path: str) -> list[str]:
        return os.listdir(path)

    def readlink(self, path: str) -> str:
        return os.readlink(path)

    def stat(self, path: str) -> tuple[Any, ...]:
        s = os.stat(path)
        kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFCHR: "char"}
        return kinds.get(stat.S_IFMT(s.st_mode), "other"), stat.S_IMODE(s.st_mode), s.st_uid, s.st_gid

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(path, mode)

    def run(self, argv: list[str]) -> int:
        quiet = subprocess.DEVNULL
        return subprocess.run(argv, stdin=quiet, stdout=quiet, stderr=quiet, check=False).returncode

    def log(self) -> list[str]:
        return subprocess.run(["dmesg", "--notime"], capture_output=True, text=True, check=False).stdout.splitlines()

    def hold(self, node: str, bdf: str) -> str:
        """As libqat does: group, container, type1 IOMMU, device (linux/vfio.h)."""
        base = ord(";") << 8
        group = os.open(node, os.O_RDWR)
        self.held.append(group)
        container = os.open("/dev/vfio/vfio", os.O_RDWR)
        self.held.append(container)
        fcntl.ioctl(group, base + 104, struct.pack("i", container))
        fcntl.ioctl(container, base + 102, 1)
        self.held.append(fcntl.ioctl(group, base + 106, bytearray(bdf.encode() + b"\0"), True))
        return "ok"

    def release(self) -> str:
        while self.held:
            os.close(self.held.pop())
        return "ok"

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


# -- what a simulated host needs to know to start from here -----------------------------------------------------

# The build options that the model or qatprep looks at.
OPTIONS = re.compile(
    r"(# )?CONFIG_(PCI_IOV|VFIO|IOMMU|INTEL_IOMMU|CRYPTO_DEV_QAT|QAT|FW_LOADER|DEBUG_FS|MODULES)\w*[ =]"
)
PCI_FILES = ["class", "device", "driver", "driver_override", "iommu_group", "numa_node", "physfn", "qat", "qat_ras"]
PCI_FILES += ["revision", "sriov_*", "vendor", "virtfn*"]


def shortened(path: str, data: str) -> str:
    """Without what says nothing to the model, or says where the rig is."""
    lines = data.splitlines(True)
    if path.startswith("/boot/config-"):
        return "".join(line for line in lines if OPTIONS.match(line))
    if path.endswith("/modules.dep"):
        wanted = {word.rstrip(":") for line in lines if "qat" in line or "vfio" in line for word in line.split()}
        return "".join(line for line in lines if line.partition(":")[0] in wanted)
    if path == "/proc/cmdline":
        return " ".join(word for word in data.split() if not word.startswith("rig.")) + "\n"
    return data


def picture() -> dict[str, dict[str, Any]]:
    """This machine as far as the model of a kernel goes: path -> what is there."""
    release = os.uname().release
    shown: dict[str, dict[str, Any]] = {}

    def add(path: str, deep: bool = True) -> None:
        try:
            s = os.lstat(path)
        except OSError:
            return
        entry: dict[str, Any] = {"mode": stat.S_IMODE(s.st_mode), "uid": s.st_uid, "gid": s.st_gid}
        if stat.S_ISLNK(s.st_mode):
            entry["target"] = os.readlink(path)
        elif stat.S_ISDIR(s.st_mode):
            entry["dir"] = True
            if deep:
                for name in os.listdir(path):
                    add(f"{path}/{name}")
        elif stat.S_ISCHR(s.st_mode):
            entry["rdev"] = f"{os.major(s.st_rdev)}:{os.minor(s.st_rdev)}"
        else:
            try:
                with open(path, "rb", buffering=0) as f:
                    data = f.read(1 << 20).decode("latin-1")
                    entry["data"] = shortened(path, data)
            except OSError as e:
                if e.errno != errno.EACCES:
                    entry["error"] = e.errno
        shown[path] = entry

    for path in (
        "/proc/sys/kernel/osrelease",
        "/proc/cmdline",
        "/proc/modules",
        "/etc/group",
        "/dev/vfio",
        f"/boot/config-{release}",
        f"/lib/modules/{release}/modules.dep",
        f"/lib/modules/{release}/modules.builtin",
        "/sys/bus/pci/drivers_probe",
        "/sys/bus/pci/drivers/4xxx",
        "/sys/bus/pci/drivers/vfio-pci",
    ):
        add(path)
    for path in (
        "/dev",
        "/sys/bus/pci/drivers",
        "/sys/kernel/debug",
        "/sys/kernel/debug/pinctrl",
        "/sys/kernel/iommu_groups",
        "/sys/class/iommu",
    ):
        add(path, deep=False)
    for name in os.listdir("/lib/firmware"):
        if name.startswith("qat_"):
            # As a file, link or not, without what is in it: the model asks for no more than that it is there.
            s = os.stat(f"/lib/firmware/{name}")
            entry = {"mode": stat.S_IMODE(s.st_mode), "uid": s.st_uid, "gid": s.st_gid, "data": ""}
            shown[f"/lib/firmware/{name}"] = entry
    for name in os.listdir("/sys/kernel/debug"):
        if name.startswith("qat_"):
            add(f"/sys/kernel/debug/{name}/dev_cfg")
    for bdf in os.listdir(DEVICES):
        real = os.path.realpath(f"{DEVICES}/{bdf}")
        with open(f"{real}/device") as f:
            if f.read().strip() not in ("0x4940", "0x4941"):
                continue
        add(f"{DEVICES}/{bdf}")
        for name in os.listdir(real):
            if any(fnmatch.fnmatchcase(name, p) for p in PCI_FILES):
                add(f"{real}/{name}")
        group = os.path.realpath(f"{real}/iommu_group")
        for name in ("type", "devices"):
            add(f"{group}/{name}")
    for module in ("intel_qat", "qat_4xxx", "vfio", "vfio_pci", "vfio_pci_core", "vfio_iommu_type1"):
        for name in ("initstate", "parameters"):
            add(f"/sys/module/{module}/{name}")
    for name in os.listdir("/sys/class/iommu"):
        add(f"/sys/class/iommu/{name}")
    log = "".join(f"{line}\n" for line in Local().log() if "qat" in line or "4xxx" in line)
    shown["/.qatprep/dmesg"] = {"mode": 0o644, "uid": 0, "gid": 0, "data": log}
    return shown


def main() -> None:
    if len(sys.argv) == 1:
        json.dump(picture(), sys.stdout)
        return
    with open(sys.argv[1]) as f:
        script = json.load(f)
    player = Player(Local(), script["pfs"])
    acts = []
    for lines in script["acts"]:
        before = picture()
        player.logged = len(player.host.log())
        answers = []
        for line in lines:
            print(line, file=sys.stderr, flush=True)  # for whoever wonders where it hangs
            answers.append([line, player.play(line)])
        acts.append({"before": before, "answers": answers})
    json.dump(acts, sys.stdout)


if __name__ == "__main__":
    main()
