"""A simulated host that is kept in a file between calls, as a real one keeps its state between them."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from typing import Any

from qatprep.errors import InputError
from qatprep.host import private
from qatprep.host.capture import META
from qatprep.host.manifest import HEADER, dump, parse
from qatprep.host.tree import Tree
from qatprep.simulator.host import SimulatedHost
from qatprep.simulator.other_kernel import OSRELEASE

_NAME = "# the state of the simulated host "


class KeptHost(SimulatedHost):
    """A simulated host whose state is in `file`, written again at the durable points of a run.

    Those are the entries of its journal and its end: a process that is killed leaves the host as one killed just before
    or after its last entry would leave a real one. Outside of a run every change is written at once. Calls with the
    same file wait for one another. InputError when the file cannot be written, or holds the state of another simulated
    host.
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
        kept = self._read()
        if kept is None:
            super().__init__(fresh(), kernel or usual)
        else:
            release = kept.find(OSRELEASE)
            super().__init__(kept, kernel or (release.content().decode().strip() if release else usual))

    def _read(self) -> Tree | None:
        try:
            with open(self._file, encoding="utf-8") as f:
                text = f.read()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as e:
            raise InputError(f"QATPREP_STATE={self._file!r}: cannot be read: {e}") from e
        head = text.split("\n", 2)[1] if text.startswith(HEADER) else ""
        if head != _NAME + self._name:
            other = f"is that of {head.removeprefix(_NAME)!r}" if head.startswith(_NAME) else "is no such state"
            raise InputError(
                f"QATPREP_STATE={self._file!r}: not the state of the simulated host {self._name!r}: it {other}",
                "name another file, or remove this one to start afresh",
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
                self._save()

    def _save(self) -> None:
        with self._guard:
            self._changed = False
            # The next call's clock starts where ours is now.
            started = self.tree.find(f"{META}/time")
            now = self.wallclock()
            self.tree.file(f"{META}/time", f"{now}\n".encode())
            text = dump(self.tree)
            if started is None:
                self.tree.remove(f"{META}/time")
            else:
                self.tree.add(f"{META}/time", started)
            temporary = f"{self._file}.{os.getpid()}"
            with open(temporary, "w", encoding="utf-8", opener=private.make_file) as f:
                f.write(text.replace("\n", f"\n{_NAME}{self._name}\n", 1))
            os.replace(temporary, self._file)
