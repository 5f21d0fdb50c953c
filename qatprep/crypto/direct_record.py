"""The record of a direct proof: every step, register value and time, as JSON lines. For a report; no key material."""

from __future__ import annotations

import json
import os
from types import TracebackType
from typing import Any, Self, TextIO

from qatprep.errors import QatprepError
from qatprep.host import private
from qatprep.version import VERSION

SCHEMA = "qatprep.direct-record/1"


class Record:
    """A context manager around a file of our own, mode 0600. What is recorded is in it at once, also if we are killed.

    QatprepError when it cannot be written, or is not ours alone.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: TextIO

    def __enter__(self) -> Self:
        try:
            fd = private.open_file(os.path.abspath(self._path), os.O_WRONLY)  # no link, nobody else's file
            os.ftruncate(fd, 0)
        except OSError as e:
            raise QatprepError(f"cannot write {self._path!r}: {e.strerror}") from e
        self._file = open(fd, "w", encoding="utf-8", buffering=1)
        self._line(schema=SCHEMA, version=VERSION, kernel=os.uname().release)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def keep(self, bdf: str, entry: dict[str, Any]) -> None:
        """prover.Keep."""
        self._line(bdf=bdf, **entry)

    def _line(self, **values: Any) -> None:
        self._file.write(json.dumps(values) + "\n")
