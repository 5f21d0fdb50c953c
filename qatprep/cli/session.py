"""What a command is called with: streams, environment, and the host once it is chosen."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TextIO, cast

from qatprep.host.base import Host
from qatprep.text import in_ascii, json_text, printable

if TYPE_CHECKING:
    from qatprep.report.console import Color, Console


class OutputGone(Exception):
    """What we print cannot be written: whoever read it has gone, or the disk is full."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror)
        self.errno = error.errno


class _Stream:
    """A stream of this process, there even when its descriptor was closed. Talk that nobody can hear is not a
    failure."""

    def __init__(self, stream: TextIO | None, *, needed: bool) -> None:
        self._stream = stream or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        self._needed = needed

    def write(self, text: str) -> int:
        return int(self._try(lambda: self._stream.write(text)))

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except OSError as e:
            if self._needed:
                raise OutputGone(e) from e
            return 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Gate:
    """A stream for plain text: whatever reaches it, only what prints leaves it, lines and tabs apart."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write(printable(text, "\n\t"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class _Ascii:
    """A stream of ASCII alone: rich takes its ASCII marks for it, and what the host says is escaped."""

    encoding = "ascii"

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write(in_ascii(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


_NAMED = r"qatprep (?:device list|doctor|rollback)(?: --(?:all|check|list|only [\w-]+))*(?: [0-9TZ]+-[0-9]+)?"
"""Commands that fixes name without knowing which host they are about."""


def error_text(what: str, cause: str = "", fix: str = "") -> str:
    """What is wrong with the value, why, what to do. Lines beyond the first of each are indented below it."""
    lines = [f"error: {what}"]
    for label, text in (("cause", cause), ("fix", fix)):
        if text:
            lines.append(f"  {label + ':':6} " + text.replace("\n", "\n" + " " * 9))
    return "\n".join(lines)


class Session:
    """One call of qatprep. Tests hand in their own host and streams; nothing here is global."""

    def __init__(
        self,
        out: TextIO | None = None,
        err: TextIO | None = None,
        env: Mapping[str, str] = os.environ,
        given_host: Host | None = None,
    ) -> None:
        self._out = out or cast("TextIO", _Stream(sys.stdout, needed=True))
        self._err = err or cast("TextIO", _Stream(sys.stderr, needed=False))
        self.out = cast("TextIO", _Gate(self._out))
        """Data: what a program reading us wants."""
        self.err = cast("TextIO", _Gate(self._err))
        """Talk: progress, hints, warnings."""
        self.env = env
        self.given_host = given_host
        """A host that replaces what --root and --simulate would open."""
        self.color: Color = "auto"
        """When to use colours (--color)."""
        self.quiet = False
        """Whether only results and errors are printed (--quiet)."""
        self.root, self.simulate = "/", ""
        """The options that chose the host."""
        self.verbose = False
        """Whether every operation on the host is printed to stderr (qatprep -v)."""
        self.code: int | None = None
        """The exit status that is certain already, whatever becomes of the output."""

    def host(self, root: str = "/", simulate: str = "") -> Host:
        """The host the options name. InputError when there is none."""
        self.root, self.simulate = root, simulate
        host = self.given_host
        if host is None:
            from qatprep.cli.open_host import open_host

            host = open_host(root, simulate, self.env.get("QATPREP_STATE", ""))
        log = self.env.get("QATPREP_LOG", "")
        if log or self.verbose:
            from qatprep.host.trace import open_log, trace

            trace(host, open_log(log, self.say if self.verbose else None))
        return host

    def json(self, document: Mapping[str, Any]) -> None:
        """Print a document; keys stay in the order the reporter gave them."""
        self.out.write(json_text(document, ascii=self.ascii))

    def line(self, text: str = "") -> None:
        """One line of data."""
        self._write(self._out, self.out, text, 2)

    def say(self, text: str, hang: int = 2) -> None:
        """One line of talk; where it wraps, its further lines are `hang` columns in."""
        self._talk(printable(text, "\t"), hang)

    def _talk(self, text: str, hang: int) -> None:
        self._write(self._err, self.err, text, hang)
        self.err.flush()

    def _write(self, stream: TextIO, gate: TextIO, text: str, hang: int) -> None:
        """A line for people: wrapped on a terminal, whole elsewhere."""
        if stream.isatty():
            from qatprep.report.fold import fitted

            text = fitted(printable(text, "\n\t"), stream, self.env, hang)
        self._text(gate).write(text + "\n")

    def warn(self, texts: Iterable[str]) -> None:
        """Lines of talk about what is probably a mistake."""
        for text in texts:
            self.say(f"warning: {text}")

    def say_row(self, text: str) -> None:
        """One line of talk that begins with a label (report/rows.py)."""
        self.say(text, 16)

    def note(self, text: str) -> None:
        """One line of talk that --quiet leaves out."""
        if not self.quiet:
            self.say(text)

    def error(self, what: str, cause: str = "", fix: str = "") -> None:
        """The one form of an error, on stderr."""
        self._talk(error_text(what, cause, self.on_this_host(fix)), 9)

    def on_this_host(self, fix: str) -> str:
        """A sentence whose commands work on the host that this call was about."""
        if self.root == "/" and not self.simulate:
            return fix
        import re

        from qatprep.cli.open_host import same_host

        again = same_host(self.root, self.simulate)
        return re.sub(_NAMED, lambda found: found[0] + again, fix)

    def console(self) -> Console:
        """A rich console on stdout: not wrapped and without colours where that is not a terminal."""
        return self._console(self._out)

    def talk(self) -> Console:
        """A rich console on stderr; silent with --quiet."""
        return self._console(self._err, quiet=self.quiet)

    def _console(self, stream: TextIO, *, quiet: bool = False) -> Console:
        from qatprep.report.console import console

        return console(self._text(stream), self.env, self.color, quiet=quiet)

    @property
    def ascii(self) -> bool:
        """Whether the locale is C by name: LC_ALL, else LC_CTYPE, else LANG (setlocale(3)). Where none is set, as in
        a container, nobody asked for ASCII."""
        names = (self.env.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG"))
        return next((name for name in names if name), "") in ("C", "POSIX")

    def _text(self, stream: TextIO) -> TextIO:
        """The stream for what people read."""
        return cast("TextIO", _Ascii(stream)) if self.ascii else stream
