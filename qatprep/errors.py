"""Errors a user can do something about. Everything else that is raised is a bug in qatprep.

One class per exit status rather than per place: `main` turns any of them into a message and a code.
"""

from __future__ import annotations

from qatprep.exits import ExitCode


class QatprepError(Exception):
    """An operation failed. `message` says what, where and why (values quoted); `hint` what to do next."""

    code = ExitCode.ERROR

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(QatprepError):
    """A command line, configuration, capture or other input is wrong; nothing was done."""

    code = ExitCode.USAGE


class NeedsRoot(QatprepError):
    code = ExitCode.NEEDS_ROOT


class Locked(QatprepError):
    code = ExitCode.LOCKED
