"""`qatprep` and `python -m qatprep`: the one place that turns whatever happens into words and an exit status."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING

from qatprep.exits import ExitCode

if TYPE_CHECKING:
    from qatprep.cli.session import Session

COMPILED = ("cryptography", "psutil")
"""Packages that the single file cannot bring along."""


def main(argv: list[str] | None = None, session: Session | None = None) -> int:
    """Run qatprep with these arguments, on this session's host and streams; never raises, never exits."""
    argv = sys.argv[1:] if argv is None else argv
    if argv == ["--version"] and not session and sys.stdout:
        from qatprep.version import VERSION

        try:
            sys.stdout.write(f"qatprep {VERSION}\n")
            sys.stdout.flush()
        except OSError as e:
            _silence()
            if e.errno != errno.EPIPE and sys.stderr:
                sys.stderr.write(f"error: cannot write the output: {e.strerror}\n")
            return ExitCode.ERROR
        return ExitCode.OK
    from qatprep.cli.session import OutputGone, Session
    from qatprep.errors import QatprepError

    session = session or Session()
    try:
        code = _call(argv, session)
        session.out.flush()
        return code
    except OutputGone as e:
        return _unheard(session, e.errno, str(e))
    except QatprepError as e:
        session.error(e.message, e.cause, e.hint)
        return e.code
    except KeyboardInterrupt:
        return _interrupted(session)
    except ModuleNotFoundError as e:
        if e.name not in COMPILED:
            return _bug(session, e)
        session.error(
            f"this Python lacks the package {e.name}",
            "the single file does not bring it along",
            f"install python3-{e.name}, or qatprep with pip",
        )
        return ExitCode.ERROR
    except OSError as e:
        if e.filename is None and e.errno in (errno.EPIPE, errno.ENOSPC):  # typer prints help by itself
            return _unheard(session, e.errno, str(e.strerror))
        return _bug(session, e)
    except Exception as e:
        return _bug(session, e)


def _unheard(session: Session, number: int | None, why: str) -> int:
    """The status of a command whose output could not be written; what it changed stands."""
    _silence()
    if number != errno.EPIPE:  # whoever has gone needs no telling
        session.error(f"cannot write the output: {why}")
    return ExitCode.ERROR if session.code is None else session.code


def _interrupted(session: Session) -> int:
    """Ctrl-C: of a command that had done its work, and was only telling so, what it changed stands."""
    late = session.code not in (None, ExitCode.INTERRUPTED)
    session.say("interrupted after the work was done; qatprep status says what there is" if late else "interrupted")
    return ExitCode.INTERRUPTED


def _silence() -> None:
    """Python would try to write the rest at exit."""
    with contextlib.suppress(OSError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _call(argv: list[str], session: Session) -> int:
    if argv[:1] == ["device"]:
        from qatprep.cli.shortcut import shortcut

        if run := shortcut(argv):
            return run(session)
    from typer.exceptions import Abort, TyperException

    from qatprep.cli.app import call

    try:
        return call(argv, session)
    except Abort:
        return _interrupted(session)
    except TyperException as e:
        if type(e).__name__ == "NoArgsIsHelpError":
            session.line(e.message.rstrip("\n"))
            return ExitCode.USAGE
        from qatprep.cli.command import usage_mistake

        what, fix = usage_mistake(e)
        session.error(what, fix=fix)
        return ExitCode.USAGE


def _bug(session: Session, error: Exception) -> int:
    import traceback

    if session.env.get("QATPREP_DEBUG"):
        session.say("".join(traceback.format_exception(error)).rstrip())
        return ExitCode.ERROR
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}"
    session.error(
        f"internal error in qatprep: {type(error).__name__}: {error} ({where}){notes}",
        fix="please report it, with what QATPREP_DEBUG=1 makes the same command print",
    )
    return ExitCode.ERROR


def console() -> None:
    """The entry point of the `qatprep` program."""
    import gc

    gc.set_threshold(100_000)  # a short life: collecting while modules load costs more than it ever frees
    try:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")  # a terminal without UTF-8 is no reason to fail
        code = main()
    except KeyboardInterrupt:  # before main could take it, or a second one while the first was reported
        code = ExitCode.INTERRUPTED
        with contextlib.suppress(OSError):
            os.write(2, b"interrupted\n")
    while code == ExitCode.INTERRUPTED:
        try:
            import signal

            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one, while Python ends, is not news
            break
        except KeyboardInterrupt:
            continue  # it came before this was said
    sys.exit(code)


if __name__ == "__main__":
    console()
