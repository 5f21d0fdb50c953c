"""Errors a user can do something about. Everything else that is raised is a bug in qatprep.

One class per exit status rather than per place: `main` turns any of them into a message and a code.
"""

from __future__ import annotations

import errno

from qatprep.exits import ExitCode


class QatprepError(Exception):
    """An operation failed. `message` says what and where, with the value; `cause` why where that takes a line of its
    own; `hint` what to do next."""

    code = ExitCode.ERROR

    def __init__(self, message: str, hint: str = "", cause: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.cause = cause


class InputError(QatprepError):
    """A command line, configuration, capture or other input is wrong; nothing was done."""

    code = ExitCode.USAGE


class Unconfirmed(InputError):
    """What has a cost that nobody confirmed, and nobody can be asked; nothing was done."""


class NeedsRoot(QatprepError):
    code = ExitCode.NEEDS_ROOT


class Locked(QatprepError):
    code = ExitCode.LOCKED


WRITE_HINTS = {
    errno.ENOSPC: "make room there, then run this again",
    errno.EDQUOT: "make room there, then run this again",
    errno.EROFS: "mount something writable there, then run this again",
}
"""What to do when a file cannot be written, by errno."""
