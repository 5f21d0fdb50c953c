"""TLS handshakes with a server, one after the other: who it is, what was agreed on, how long each took.

By Python's ssl (OpenSSL); the certificate is read by cryptography. A look at a server, not a load generator: at most
MOST connections, never two at once. Every step has a deadline of its own, whatever a server sends and how slowly.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from qatprep.errors import InputError, QatprepError
from qatprep.mesh.keys import KeyKind, kind_of
from qatprep.text import printable

MOST = 1000
DEADLINE = 10.0
"""Seconds for a connection, for a handshake, and for an answer."""
TICKET = 1.0
"""Seconds to wait for a session of TLS 1.3: the server sends it after the handshake."""
_LONGEST = 4096
"""Bytes of an answer that are looked at."""


@dataclass(frozen=True)
class Target:
    host: str
    port: int
    name: str
    """The name asked for (SNI), and held against the certificate."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Certificate:
    """What the server showed."""

    key: KeyKind
    names: tuple[str, ...]
    """DNS names and addresses it is for; its common name where it has none."""
    until: datetime


@dataclass(frozen=True)
class Handshake:
    seconds: float
    """From the first byte of TLS until both sides are done, without the TCP connection."""
    version: str
    """For example TLSv1.3."""
    cipher: str
    resumed: bool
    """Of an earlier session: no signature was made."""


@dataclass
class Series:
    target: Target
    verified: bool
    """The certificate was held against a CA that the user gave."""
    certificate: Certificate | None = None
    handshakes: list[Handshake] = field(default_factory=list)
    answer: str = ""
    """The status line of an HTTP answer, "" for none."""
    trouble: str = ""
    """Why the series ended before its time, in the words of the TLS library."""
    failed: int = 0
    """Which of the handshakes that was; in TLS 1.3 a server may refuse one that the client has completed."""

    def full(self) -> int:
        return sum(not handshake.resumed for handshake in self.handshakes)


def target(text: str, name: str = "") -> Target:
    """HOST:PORT, [v6]:PORT. InputError otherwise."""
    host, colon, port = text.removeprefix("https://").rstrip("/").rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    wrong = not colon or not host or not host.isascii() or any(c in "/@ []" or not c.isprintable() for c in host)
    if wrong or not port.isdigit() or len(port) > 5 or not 1 <= int(port) <= 65535:
        raise InputError(f"{text!r} is not HOST:PORT", "for example localhost:9000 or [::1]:9000")
    if not (name or host).isascii() or len(name or host) > 253:
        raise InputError(f"{name!r} is no server name", "a DNS name or an address, in ASCII")
    return Target(host, int(port), name or host)


def context(ca: str) -> ssl.SSLContext:
    """A client's, TLS 1.2 and 1.3. Without a CA the certificate is read and not verified. InputError for a bad file."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.set_alpn_protocols(["http/1.1"])
    if not ca:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
        return made
    try:
        made.load_verify_locations(ca)
    except (OSError, ValueError) as e:
        raise InputError(f"cannot take CA certificates from {ca!r}: {getattr(e, 'reason', '') or e}") from e
    return made


def run(
    where: Target, *, ca: str = "", count: int = 1, resume: bool = False, each: Callable[[int], None] | None = None
) -> Series:
    """`count` handshakes; `resume`: each but the first offers the session of the one before.

    The first connection asks for / by HTTP/1.1. The first handshake that fails ends the series. QatprepError when
    nothing listens there.
    """
    if not 1 <= count <= MOST:
        raise InputError(f"--count {count} is out of range", f"1 to {MOST}: for load take h2load (docs/engines.md)")
    own = context(ca)
    series = Series(where, bool(ca))
    session: ssl.SSLSession | None = None
    for number in range(count):
        raw = _connect(where)
        try:
            with own.wrap_socket(
                raw, server_hostname=where.name, session=session, do_handshake_on_connect=False
            ) as tls:
                session = _one(tls, series, first=number == 0, keep=resume) or session
        except ssl.SSLCertVerificationError as e:
            series.trouble = f"certificate verify failed: {printable(e.verify_message)}"
        except (ssl.SSLError, OSError, ValueError) as e:
            series.trouble = printable(getattr(e, "reason", None) or getattr(e, "strerror", None) or str(e))
        if series.trouble:
            series.failed = number + 1
            break
        if each:
            each(number + 1)
    return series


def _connect(where: Target) -> socket.socket:
    try:
        made = socket.create_connection((where.host, where.port), DEADLINE)
    except (OSError, UnicodeError) as e:
        raise QatprepError(
            f"cannot connect to {where}: {getattr(e, 'strerror', None) or e}",
            "kubectl port-forward -n NAMESPACE POD 9000:8443, then localhost:9000",
        ) from e
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else a resumed handshake may wait 40 ms for an ACK
    return made


def _one(tls: ssl.SSLSocket, series: Series, *, first: bool, keep: bool) -> ssl.SSLSession | None:
    """One handshake, put into the series; the session it leads to where that is wanted."""
    tls.setblocking(False)
    begin = time.monotonic()
    _until(tls, tls.do_handshake, begin + DEADLINE, "the handshake")
    seconds = time.monotonic() - begin
    cipher = tls.cipher()
    resumed = bool(tls.session_reused)
    series.handshakes.append(Handshake(seconds, tls.version() or "", cipher[0] if cipher else "", resumed))
    if first:
        series.certificate = _certificate(tls.getpeercert(binary_form=True))
        series.answer = _ask(tls, series.target.name)
    elif keep and tls.version() == "TLSv1.3":
        _wait_for_ticket(tls)
    return tls.session if keep else None


def _until(tls: ssl.SSLSocket, step: Callable[[], object], end: float, what: str) -> object:
    """Do it on a socket that does not block, until it is done. TimeoutError at `end`."""
    while True:
        try:
            return step()
        except ssl.SSLWantReadError:
            event = select.POLLIN
        except ssl.SSLWantWriteError:
            event = select.POLLOUT
        poll = select.poll()
        poll.register(tls, event)
        if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
            raise TimeoutError(0, f"the server did not finish {what} in time")


def _ask(tls: ssl.SSLSocket, name: str) -> str:
    """The status line for GET /. A server that refuses the client's certificate in TLS 1.3 says so only here."""
    end = time.monotonic() + DEADLINE
    request = f"GET / HTTP/1.1\r\nHost: {name}\r\nUser-Agent: qatprep\r\nConnection: close\r\n\r\n".encode()
    try:
        _until(tls, lambda: tls.send(request), end, "taking a request")
        data = b""
        while len(data) < _LONGEST and b"\n" not in data:
            more = _until(tls, lambda: tls.recv(_LONGEST), end, "an answer")
            if not isinstance(more, bytes) or not more:
                break
            data += more
    except (TimeoutError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return ""  # it speaks something else than HTTP
    line = data.split(b"\n", 1)[0].strip()[:120].decode("latin-1")
    return printable(line) if line.startswith("HTTP/") else ""


def _wait_for_ticket(tls: ssl.SSLSocket) -> None:
    """Read until a session has come; a server need not send one."""
    end = time.monotonic() + TICKET
    try:
        while not (tls.session and tls.session.has_ticket):
            _until(tls, lambda: tls.recv(1), end, "its session")
    except OSError:
        return


def _certificate(data: bytes | None) -> Certificate | None:
    from cryptography import x509

    if not data:
        return None
    try:
        found = x509.load_der_x509_certificate(data)
        key = kind_of(found.public_key())
        until = found.not_valid_after_utc
        names = [printable(str(a.value))[:253] for a in found.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
        try:
            alternative = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            said = (*alternative.get_values_for_type(x509.DNSName), *alternative.get_values_for_type(x509.IPAddress))
            names = [printable(str(name))[:253] for name in said] or names
        except x509.ExtensionNotFound:
            pass
    except Exception:
        # Whatever a hostile certificate makes cryptography raise: it says nothing about the key.
        return None
    return Certificate(key, tuple(names[:20]), until.astimezone(UTC))
