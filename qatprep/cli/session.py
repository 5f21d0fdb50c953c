"""What a command is called with: streams, environment, and the host once it is chosen."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TextIO, cast

from qatprep.host.base import Host

if TYPE_CHECKING:
    from qatprep.report.console import Console


class OutputGone(Exception):
    """What we print cannot be written: whoever read it has gone, or the disk is full."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror)
        self.errno = error.errno


class _Stream:
    """A stream of this process, there even when its descriptor was closed. Talk that nobody can hear is no failure."""

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


class Session:
    """One call of qatprep. Tests hand in their own host and streams; nothing here is global."""

    def __init__(
        self,
        out: TextIO | None = None,
        err: TextIO | None = None,
        env: Mapping[str, str] = os.environ,
        given_host: Host | None = None,
    ) -> None:
        self.out = out or cast("TextIO", _Stream(sys.stdout, needed=True))
        """Data: what a program reading us wants."""
        self.err = err or cast("TextIO", _Stream(sys.stderr, needed=False))
        """Talk: progress, hints, warnings."""
        self.env = env
        self.given_host = given_host
        """A host that stands in for what --root and --simulate would open."""
        self.verbose = False
        """Whether every operation on the host is told on stderr (qatprep -v)."""
        self.code: int | None = None
        """The exit status that is certain already, whatever becomes of the output."""

    def host(self, root: str = "/", simulate: str = "") -> Host:
        """The host the options name. InputError when there is none."""
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
        import json

        self.out.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")

    def line(self, text: str = "") -> None:
        """One line of data."""
        self.out.write(text + "\n")

    def say(self, text: str) -> None:
        """One line of talk."""
        self.err.write(text + "\n")
        self.err.flush()

    def console(self) -> Console:
        """A rich console on stdout: plain when that is no terminal, 100 columns when its width is not known."""
        return self._console(self.out)

    def talk(self) -> Console:
        """A rich console on stderr."""
        return self._console(self.err)

    def _console(self, stream: TextIO) -> Console:
        from qatprep.report.console import console

        return console(stream, self.env)
