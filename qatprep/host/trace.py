"""What was done to a host, as it is done: each read, write and program with its path, size, errno and duration.

For `qatprep -v` and QATPREP_LOG. Values are logged only of sysfs attributes that a capture keeps as well; what else a
file holds may be anybody's secret.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from qatprep.errors import InputError
from qatprep.hardware import PCI_DEVICES
from qatprep.host.base import Host, RunResult
from qatprep.host.record import ATTRIBUTES

OPERATIONS = (
    "read", "read_all", "listdir", "readlink", "realpath", "stat", "kernel_log", "cpuid", "xcr0", "write",
    "write_in_turn", "replace", "append", "mkdir", "unlink", "rmdir", "chmod", "chown", "run", "settle",
)  # fmt: skip
_SHOWN = 80
"""Bytes of a value that are logged."""


def open_log(path: str, talk: Callable[[str], object] | None) -> logging.Logger:
    """A logger that appends to `path` ("" for none) and gives each line to `talk`. InputError for an unusable file."""
    logger = logging.Logger("qatprep")
    if path:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as e:
            raise InputError(f"cannot write the log QATPREP_LOG={path!r}: {e.strerror}") from e
        to_file = logging.StreamHandler(os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace"))
        to_file.setFormatter(logging.Formatter("%(asctime)s %(process)d %(message)s"))
        logger.addHandler(to_file)
    if talk is not None:
        logger.addHandler(_Talk(talk))
    return logger


class _Talk(logging.Handler):
    def __init__(self, talk: Callable[[str], object]) -> None:
        super().__init__()
        self._talk = talk

    def emit(self, record: logging.LogRecord) -> None:
        self._talk(record.getMessage())


def trace(host: Host, logger: logging.Logger) -> Host:
    """The same host, its operations logged. What one operation is built on is not logged next to it."""
    inside = threading.local()

    def wrap(name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def traced(*args: Any, **kwargs: Any) -> Any:
            if getattr(inside, "it", False):
                return operation(*args, **kwargs)
            inside.it = True
            begin = time.perf_counter()
            try:
                result = operation(*args, **kwargs)
            except OSError as e:
                logger.info("%s", _line(name, args, _errno(e), begin))
                raise
            finally:
                inside.it = False
            logger.info("%s", _line(name, args, _outcome(name, args, result), begin))
            for path, value in result.items() if name == "read_all" else ():
                outcome = _errno(value) if isinstance(value, OSError) else _outcome("read", (path,), value)
                logger.info("%s", f"read {path} {outcome}")
            return result

        return traced

    for name in OPERATIONS:
        setattr(host, name, wrap(name, getattr(host, name)))
    return host


def _line(name: str, args: tuple[Any, ...], outcome: str, begin: float) -> str:
    milliseconds = (time.perf_counter() - begin) * 1000
    return " ".join(part for part in (name, _subject(name, args), outcome, f"{milliseconds:.1f} ms") if part)


def _subject(name: str, args: tuple[Any, ...]) -> str:
    if not args:
        return ""
    first = args[0]
    if name == "run":
        return " ".join(map(repr, first))
    if name == "read_all":
        return f"{len(first)} attributes ({', '.join(first[:1])} ...)"
    if name == "write_in_turn":
        return ", ".join(f"{path}{_value(path, data)}" for path, data in first)
    if name in ("write", "append", "replace"):
        return f"{first}{_value(first, args[1])} {len(args[1])} bytes"
    if name in ("chmod", "mkdir"):
        return f"{first} {args[1]:04o}" if len(args) > 1 else str(first)
    if name == "chown":
        return f"{first} {args[1]}:{args[2]}"
    return str(first)


def _outcome(name: str, args: tuple[Any, ...], result: Any) -> str:
    if name == "read":
        return f"{len(result)} bytes{_value(args[0], result)}"
    if name == "listdir":
        return f"{len(result)} names"
    if name in ("readlink", "realpath"):
        return f"-> {result}"
    if name == "read_all":
        failed = sum(isinstance(value, OSError) for value in result.values())
        return f"{failed} failed" if failed else ""
    if name == "write_in_turn":
        done, error = result
        return f"{done} done" + (f", then {_errno(error)}" if error else "")
    if isinstance(result, RunResult):
        return f"status {result.rc}"
    return ""


def _errno(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error))


def _value(path: str, data: bytes) -> str:
    """= 'value' for an attribute whose values are harmless, else nothing."""
    attribute = path.startswith(f"{PCI_DEVICES}/") and path.removeprefix(f"{PCI_DEVICES}/").partition("/")[2]
    if (attribute and (attribute in ATTRIBUTES or attribute == "driver/unbind")) or path.endswith(("/bind", "/unbind")):
        return f" = {data[:_SHOWN].decode('utf-8', 'backslashreplace').strip()!r}"
    return ""
