"""Reading what somebody hands us: a file, a pipe, an HTTP address. Bounded in size and time; UTF-8 at the end."""

from __future__ import annotations

import codecs
import io
import os
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from qatprep.errors import InputError, QatprepError
from qatprep.text import printable

if TYPE_CHECKING:
    from urllib.request import BaseHandler

LIMIT = 256 << 20
"""Bytes. A config_dump of a large mesh has around a hundred million."""
LESS = "take less: /config_dump?resource=dynamic_listeners, /stats?filter=ssl"
STDIN = "standard input"
"""What the name of an Input is where "-" was given."""
DEADLINE = 30.0
"""Seconds for a whole answer of an admin interface."""
_CHUNK = 1 << 20
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Input:
    name: str
    """For messages: the path, the address, or "standard input"."""
    data: bytes
    """UTF-8, without a byte order mark."""
    query: str = ""
    """The query of the address it came from."""


def is_url(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def read(place: str, *, limit: int = LIMIT, hint: str = LESS) -> Input:
    """What is at `place`: a path, "-" for standard input, or an http(s) address. InputError when it cannot be had."""
    if is_url(place):
        return Input(place, _utf8(place, fetch(place, limit=limit)), urlsplit(place).query)
    name = STDIN if place == "-" else place
    with _open(place) as f:
        pieces: list[bytes] = []
        size = 0
        while piece := f.read(_CHUNK):
            size += len(piece)
            if size > limit:
                raise _too_large(name, limit, hint)
            pieces.append(piece)
    return Input(name, _utf8(name, b"".join(pieces)))


def lines(place: str, *, limit: int = LIMIT, longest: int = 1 << 16) -> Iterator[tuple[int, str]]:
    """Numbered lines of a log, cut at `longest` bytes; what is not UTF-8 or does not print is escaped.

    One line is in memory at a time.
    """
    name = STDIN if place == "-" else place
    stream: IO[bytes] = io.BytesIO(fetch(place, limit=limit)) if is_url(place) else _open(place)
    with stream as f:
        size = number = 0
        fresh = True
        utf16 = ""
        while line := f.readline(longest):
            size += len(line)
            if size > limit:
                raise _too_large(name, limit)
            if number == 0 and line[:2] in _UTF16:
                utf16 = "utf-16-le" if line[:2] == codecs.BOM_UTF16_LE else "utf-16-be"
            number += fresh
            begins, fresh = fresh, line.endswith((b"\n", b"\n\0"))
            if begins:
                yield number, _line(line, utf16)


def _line(line: bytes, utf16: str) -> str:
    if utf16:
        # readline() splits between the two bytes of a line's end: the odd NUL belongs to neither line.
        line = line.replace(b"\0", b"")
        return printable(line.decode("utf-8", "backslashreplace").rstrip("\r\n").lstrip("\ufeff"), "\t")
    return printable(line.decode("utf-8", "backslashreplace").rstrip("\r\n"), "\t")


def _open(place: str) -> IO[bytes]:
    if place == "-":
        if sys.stdin.isatty():
            raise InputError("nothing is piped in", "give a file or an address; -h says more")
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb") if _has_fd() else io.BytesIO(sys.stdin.read().encode())
    try:
        f = open(place, "rb")  # noqa: SIM115
    except OSError as e:
        raise InputError(
            f"cannot read {place!r}: {e.strerror}", "give a file, an address, or - for what is piped in"
        ) from e
    kind = os.fstat(f.fileno()).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind) or stat.S_ISCHR(kind)):
        f.close()
        raise InputError(f"{place!r} is not a file")
    return f


def _has_fd() -> bool:
    try:
        sys.stdin.fileno()
    except (OSError, ValueError):
        return False
    return True


def _too_large(name: str, limit: int, hint: str = "") -> InputError:
    return InputError(f"{name} has more than {limit >> 20} MiB", hint or LESS)


def _utf8(name: str, data: bytes) -> bytes:
    """The same in UTF-8 without a byte order mark: PowerShell's > writes UTF-16. InputError for what is neither."""
    if data[:2] in _UTF16:
        try:
            return data.decode("utf-16").encode()
        except UnicodeError as e:
            raise InputError(f"{name} is not UTF-16, though it begins like it") from e
    data = data.removeprefix(codecs.BOM_UTF8)
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(data), _CHUNK):
            decoder.decode(data[start : start + _CHUNK], start + _CHUNK >= len(data))
    except UnicodeDecodeError as e:
        raise InputError(f"{name} is not UTF-8 text (about byte {start + e.start})") from e
    return data


def fetch(url: str, *, limit: int = LIMIT, deadline: float = DEADLINE) -> bytes:
    """The body of an http(s) answer. QatprepError, with the server's words, when there is none."""
    import urllib.error
    import urllib.request

    split = urlsplit(url)
    if split.scheme not in ("http", "https") or not split.hostname:
        raise InputError(f"{url!r} is no http address", "for example http://127.0.0.1:15000")
    if split.username or split.password:
        raise InputError("credentials do not belong into an address")
    shown = urlunsplit((split.scheme, split.netloc, split.path, "", ""))
    # No proxies: an admin interface is on loopback or at the end of a port-forward. No redirects: it has none.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _no_redirects())
    end = time.monotonic() + deadline
    try:
        with opener.open(url, timeout=min(10.0, deadline)) as answer:
            pieces: list[bytes] = []
            size = 0
            while piece := answer.read(_CHUNK):
                size += len(piece)
                if size > limit:
                    raise _too_large(shown, limit)
                if time.monotonic() > end:
                    raise QatprepError(f"{shown}: no complete answer in {deadline:g} seconds")
                pieces.append(piece)
            return b"".join(pieces)
    except urllib.error.HTTPError as e:
        said = printable(e.read(200).decode("utf-8", "backslashreplace").strip())
        raise QatprepError(f"{shown} answers {e.code}: {said or e.reason}") from e
    except (OSError, ValueError) as e:
        reason = getattr(e, "reason", e)
        raise QatprepError(
            f"cannot read {shown}: {reason}", "kubectl port-forward -n NAMESPACE POD 15000, then http://127.0.0.1:15000"
        ) from e
    except Exception as e:  # http.client.HTTPException: an answer that is not HTTP
        raise QatprepError(f"{shown} does not speak HTTP: {type(e).__name__}") from e


def _no_redirects() -> type[BaseHandler]:
    import urllib.request

    class NoRedirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    return NoRedirects


def admin_url(base: str, path: str) -> str:
    """`path` on the server of `base`, whatever path that has."""
    split = urlsplit(base)
    return urlunsplit((split.scheme, split.netloc, "", "", "")) + path


def has_path(url: str) -> bool:
    """Whether the address names more than the server."""
    return urlsplit(url).path not in ("", "/")
