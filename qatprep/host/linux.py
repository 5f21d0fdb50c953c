"""A real Linux machine, or any directory that looks like one.

With a root other than "/" every path, and every symbolic link met on the way, is resolved below that root.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat as stat_bits
import time
from collections.abc import Iterator, Sequence

from qatprep.errors import InputError, Locked
from qatprep.host import private
from qatprep.host.base import CpuidResult, FileStat, Host, RunResult, TooLarge, fail
from qatprep.host.child import POLL, Helpers, read, write_all
from qatprep.text import Foreign

_KINDS = {
    stat_bits.S_IFREG: "file",
    stat_bits.S_IFDIR: "dir",
    stat_bits.S_IFLNK: "link",
    stat_bits.S_IFCHR: "char",
}
_MAX_LINKS = 40
_LOG_SECONDS = 2.0
"""For the kernel log: a kernel that complains faster than we read would never let us come to its end."""


class LinuxHost(Host):
    """The machine below `root`. InputError when there is nothing there that looks like a host."""

    def __init__(self, root: str = "/") -> None:
        self.root = os.path.abspath(root)
        self.label = "this machine" if self.root == "/" else self.root
        if self.root != "/":
            if not os.path.isdir(self.root):
                raise InputError(f"--root {root!r} is not a directory")
            if not any(os.path.isdir(os.path.join(self.root, d)) for d in ("sys/bus", "sys/devices", "proc/sys")):
                raise InputError(
                    f"--root {root!r} does not look like a host: it has neither sys/ nor proc/ with anything in it",
                    "give the root of a mounted host (for example /host in a container) or a host file",
                )
        self._helpers = Helpers()
        self.writable = self.root == "/" or _sysfs_mounted_at(os.path.join(self.root, "sys"))

    # -- paths --------------------------------------------------------------------------------------------

    def _at(self, path: str, *, follow: bool = True) -> str:
        """Where `path` is on this machine. Links are followed by hand below a root, so that none leads out of it."""
        if self.root == "/":
            return path
        todo = [part for part in path.split("/")[::-1] if part and part != "."]
        done: list[str] = []
        links = 0
        while todo:
            name = todo.pop()
            if name == "..":
                if done:
                    done.pop()
                continue
            done.append(name)
            if not (follow or todo):
                continue
            here = os.path.join(self.root, *done)
            try:
                target = os.readlink(here)
            except OSError:
                continue
            links += 1
            if links > _MAX_LINKS:
                fail(errno.ELOOP, path)
            done = [] if target.startswith("/") else done[:-1]
            todo.extend(part for part in target.split("/")[::-1] if part and part != ".")
        return os.path.join(self.root, *done)

    @contextlib.contextmanager
    def _named(self, path: str) -> Iterator[None]:
        """Errors name the path as seen on the host."""
        try:
            yield
        except TooLarge:
            raise
        except OSError as e:
            fail(e.errno or errno.EIO, path)

    # -- reading ------------------------------------------------------------------------------------------

    def read(self, path: str, *, limit: int = 1 << 20, deadline: float | None = None) -> bytes:
        with self._named(path):
            real = self._at(path)
            try:
                if deadline is None:
                    return read(real, limit)
                return self._helpers.ask(b"r", real, limit=limit, deadline=deadline)
            except OSError as e:
                if e.errno == errno.EFBIG:
                    raise TooLarge(path, limit, os.stat(real).st_size) from None
                raise

    def read_all(self, paths: list[str], *, deadline: float) -> dict[str, bytes | OSError]:
        found: dict[str, bytes | OSError] = {}
        outcomes = self._helpers.read_all([self._at(path) for path in paths], deadline)
        for path, outcome in zip(paths, outcomes, strict=True):
            found[path] = OSError(outcome, os.strerror(outcome), path) if isinstance(outcome, int) else outcome
        return found

    def listdir(self, path: str) -> list[str]:
        with self._named(path):
            return sorted(os.listdir(self._at(path)))

    def readlink(self, path: str) -> str:
        with self._named(path):
            return os.readlink(self._at(path, follow=False))

    def realpath(self, path: str) -> str:
        with self._named(path):
            if self.root == "/":
                return os.path.realpath(path, strict=True)
            real = self._at(path)
            os.lstat(real)
            return real[len(self.root) :] or "/"

    def stat(self, path: str, *, follow: bool = True) -> FileStat:
        with self._named(path):
            real = self._at(path, follow=follow)
            s = os.stat(real) if follow else os.lstat(real)
        kind = _KINDS.get(stat_bits.S_IFMT(s.st_mode), "other")
        return FileStat(kind, stat_bits.S_IMODE(s.st_mode), s.st_uid, s.st_gid, s.st_size)  # type: ignore[arg-type]

    def kernel_log(self) -> Foreign:
        if self.root != "/" and not self.writable:
            fail(errno.ENOENT, "/dev/kmsg")
        out = []
        with self._named("/dev/kmsg"):
            fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            end = time.monotonic() + _LOG_SECONDS
            try:
                while time.monotonic() < end:
                    try:
                        record = os.read(fd, 8192)
                    except BlockingIOError:
                        break
                    except BrokenPipeError:
                        continue  # the record was overwritten while we read: Documentation/ABI/testing/dev-kmsg
                    fields, _, rest = record.decode("utf-8", "backslashreplace").partition(";")
                    priority = fields.split(",", 1)[0]
                    text = rest.split("\n", 1)[0]
                    out.append(f"<{priority}>{text}" if priority.isdigit() else text)
            finally:
                os.close(fd)
        return Foreign("\n".join(out))

    def machine(self) -> str:
        return os.uname().machine

    def cpuid(self, leaf: int, subleaf: int = 0) -> CpuidResult:
        try:
            from qatprep import _native  # type: ignore[attr-defined,unused-ignore]
        except ImportError:
            fail(errno.ENOTSUP, "cpuid")
        return CpuidResult(*_native.cpuid(leaf, subleaf))

    def xcr0(self) -> int:
        try:
            from qatprep import _native  # type: ignore[attr-defined,unused-ignore]
        except ImportError:
            fail(errno.ENOTSUP, "xgetbv")
        return int(_native.xgetbv(0))

    @property
    def euid(self) -> int:
        return os.geteuid()

    def now(self) -> float:
        return time.monotonic()

    def wallclock(self) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def boot_id(self) -> str:
        try:
            return self.read_text("/proc/sys/kernel/random/boot_id").text.strip()
        except OSError:
            return ""

    # -- changing -----------------------------------------------------------------------------------------

    def write(self, path: str, data: bytes, *, deadline: float | None = None) -> None:
        with self._named(path):
            real = self._at(path)
            if deadline is not None:
                self._helpers.ask(b"w", real, data, deadline=deadline)
                return
            fd = os.open(real, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, data)
            finally:
                os.close(fd)

    def write_in_turn(
        self, writes: Sequence[tuple[str, bytes]], *, deadline: float
    ) -> tuple[int, OSError] | tuple[int, None]:
        done, number = self._helpers.write_in_turn([(self._at(path), data) for path, data in writes], deadline)
        if not number:
            return done, None
        return done, OSError(number, os.strerror(number), writes[done][0])

    def replace(self, path: str, data: bytes, *, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        with self._named(path):
            real = self._at(path)
            temporary = f"{real}.qatprep.{os.getpid()}"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)  # of one that was killed: at boot we tend to have the same number again
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                try:
                    write_all(fd, data)
                    os.fchmod(fd, mode)
                    if os.geteuid() == 0:
                        os.fchown(fd, uid, gid)
                    os.fsync(fd)
                finally:
                    os.close(fd)
                os.rename(temporary, real)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
            private.sync_directory(os.path.dirname(real))

    def append(self, path: str, data: bytes) -> None:
        with self._named(path):
            real = self._at(path)
            fresh = not os.path.lexists(real)
            fd = private.open_file(real, os.O_WRONLY | os.O_APPEND)
            try:
                write_all(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
            if fresh:  # its name has to last as well
                private.sync_directory(os.path.dirname(real))
                private.sync_directory(os.path.dirname(os.path.dirname(real)))

    def mkdir(self, path: str, *, mode: int = 0o755) -> None:
        with self._named(path):
            private.make_directory(self._at(path), mode)

    def unlink(self, path: str) -> None:
        with self._named(path):
            os.unlink(self._at(path, follow=False))

    def rmdir(self, path: str) -> None:
        with self._named(path):
            os.rmdir(self._at(path, follow=False))

    def chmod(self, path: str, mode: int) -> None:
        with self._named(path):
            os.chmod(self._at(path), mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        with self._named(path):
            os.chown(self._at(path), uid, gid)

    def run(self, argv: list[str], *, deadline: float = 30.0) -> RunResult:
        from qatprep.host.programs import run

        return run(argv, self.root, deadline)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def settle(self, deadline: float = 10.0) -> bool:
        # /run/udev/queue exists while udevd has events in hand: systemd src/libsystemd/sd-device/device-util.c,
        # udev_queue_is_empty. Without udevd there is nothing to wait for.
        end = time.monotonic() + deadline
        while self.exists("/run/udev/queue"):
            if time.monotonic() > end:
                return False
            time.sleep(POLL)
        return True

    def held(self, path: str) -> bool:
        # Asked of the kernel's list: trying the lock would make a run that begins just now believe in another one.
        try:
            return private.lock_holder(os.stat(self._at(path), follow_symlinks=False)) is not None
        except OSError:
            return False

    def modified(self, path: str) -> float | None:
        try:
            return os.stat(self._at(path, follow=True)).st_mtime
        except OSError:
            return None

    def hardware_name(self, path: str) -> Foreign:
        if self.root != "/":
            return Foreign("")
        from qatprep.host.udev import hardware_name

        return hardware_name(path)

    @contextlib.contextmanager
    def lock(self, path: str) -> Iterator[None]:
        with self._named(path):
            real = self._at(path)
            private.make_directory(os.path.dirname(real), 0o755)
            try:
                fd = private.take_lock(real)
            except BlockingIOError:
                raise _locked(path, private.lock_holder(os.stat(real, follow_symlinks=False))) from None
        try:
            yield
        finally:
            os.close(fd)


def _locked(path: str, holder: int | None) -> Locked:
    """Name the process that holds the lock, as far as it can be seen."""
    who = f"process {holder}" if holder else "a process that cannot be seen from here (in another PID namespace)"
    try:
        import psutil

        process = psutil.Process(holder)
        started = time.strftime("%H:%M:%S", time.localtime(process.create_time()))
        who = f"{' '.join(process.cmdline())!r} (process {holder} of {process.username()}, started {started})"
    except Exception:  # it is gone, or may not be looked at, or there is no psutil: the single file brings none
        pass
    return Locked(
        f"another qatprep is changing this host: {who} holds {path}", "wait for it to end, then run this again"
    )


def _sysfs_mounted_at(path: str) -> bool:
    """Whether a real sysfs is mounted there: only then does a write reach a kernel (proc(5), mountinfo)."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as f:
            for line in f:
                fields = line.split()
                if fields[4] == path and "sysfs" in fields[fields.index("-") + 1 : fields.index("-") + 2]:
                    return True
    except OSError:
        return False
    return False
