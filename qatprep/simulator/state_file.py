"""A simulated host that is kept in a file between calls, as a real one keeps its state between them."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from typing import Any

from qatprep.errors import InputError, QatprepError
from qatprep.host import private
from qatprep.host.manifest import HEADER, TOTAL_LIMIT, dump, parse
from qatprep.host.tree import Tree
from qatprep.host.user_files import read_file
from qatprep.host.values import META
from qatprep.simulator.host import SimulatedHost
from qatprep.simulator.other_kernel import OSRELEASE

_NAME = "# the state of the simulated host "
_AFRESH = "name another file, or remove this one to start afresh"
_TEMPORARY = ".new-"
"""Between the name of the state and something unique: a state that is being written."""


class KeptHost(SimulatedHost):
    """A simulated host whose state is in `file`, written again at the durable points of a run.

    Those are the entries of its journal and its end: a process that is killed leaves the host as one killed just before
    or after its last entry would leave a real one. Outside of a run every change is written at once. Calls with the
    same file wait for one another. A disk that is full here is full on the host too. InputError when the file cannot
    be written, is larger than a host file may be, or holds the state of another simulated host.
    """

    def __init__(self, file: str, name: str, fresh: Callable[[], Tree], kernel: str, usual: str) -> None:
        """`fresh` gives the host as it is where there is no file yet, under `kernel`, "" for the `usual` one."""
        self._file = file
        self._changed = False
        self._name = name
        try:
            self._lock_fd = os.open(f"{file}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as e:
            raise InputError(
                f"QATPREP_STATE={file!r}: cannot be written: {e.strerror}", "name a file in a directory that is yours"
            ) from e
        fcntl.lockf(self._lock_fd, fcntl.LOCK_EX)  # until this process ends, however it ends
        self._sweep()
        kept = self._read()
        if kept is None:
            super().__init__(fresh(), kernel or usual)
        else:
            release = kept.find(OSRELEASE)
            recorded = release.content().decode("utf-8", "backslashreplace").strip() if release else usual
            try:
                super().__init__(kept, kernel or recorded)
            except (OSError, ValueError, LookupError) as e:
                raise InputError(
                    f"QATPREP_STATE={file!r}: no host that the simulation can go on with: {e}", _AFRESH
                ) from e

    def _sweep(self) -> None:
        """Remove what calls that were killed have left: we have the lock, so nobody is writing."""
        folder, name = os.path.split(self._file)
        for entry in os.listdir(folder or "."):
            if entry.startswith(name + _TEMPORARY):
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(folder, entry))

    def _read(self) -> Tree | None:
        if not os.path.lexists(self._file):
            return None
        try:
            text = read_file(self._file, TOTAL_LIMIT, "QATPREP_STATE").decode()
        except UnicodeDecodeError as e:
            raise InputError(f"QATPREP_STATE={self._file!r}: cannot be read: not UTF-8 text at byte {e.start}") from e
        head = text.partition("\n")[2].partition("\n")[0] if text.startswith(HEADER) else ""
        if head != _NAME + self._name:
            other = f"is that of {head.removeprefix(_NAME)!r}" if head.startswith(_NAME) else "is no such state"
            raise InputError(
                f"QATPREP_STATE={self._file!r}: not the state of the simulated host {self._name!r}: it {other}",
                _AFRESH,
            )
        return parse(text, self._file)

    def _change(self, op: str, *args: Any, **options: Any) -> None:
        try:
            super()._change(op, *args, **options)
        finally:
            self._changed = True
            if op == "append" or not self._locks:
                self._save()

    @contextlib.contextmanager
    def lock(self, path: str) -> Iterator[None]:
        try:
            with super().lock(path):
                yield
        finally:
            if self._changed:
                try:
                    self._save()
                except OSError as e:
                    raise QatprepError(f"QATPREP_STATE={self._file!r}: cannot be written: {e.strerror}") from e

    def _save(self) -> None:
        with self._guard:
            # The next call's clock starts where ours is now.
            started = self.tree.find(f"{META}/time")
            now = self.wallclock()
            self.tree.file(f"{META}/time", f"{now}\n".encode())
            text = dump(self.tree)
            if started is None:
                self.tree.remove(f"{META}/time")
            else:
                self.tree.add(f"{META}/time", started)
            # Unique: two calls in different PID namespaces may have one number.
            temporary = f"{self._file}{_TEMPORARY}{os.urandom(8).hex()}"
            try:
                with open(temporary, "x", encoding="utf-8", opener=private.make_file) as f:
                    f.write(text.replace("\n", f"\n{_NAME}{self._name}\n", 1))
                    f.flush()
                    os.fsync(f.fileno())
                os.replace(temporary, self._file)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
            private.sync_directory(os.path.dirname(self._file) or ".")
            self._changed = False
