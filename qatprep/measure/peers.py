"""What can sign on this node, each behind the same call, so that all can be measured side by side."""

from __future__ import annotations

import contextlib
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator

from qatprep.crypto import library
from qatprep.crypto.keys import KeyKind, Work, make
from qatprep.crypto.qat import QatSession, Trouble
from qatprep.crypto.signer import BUNDLED, Signer, WrongResults
from qatprep.errors import QatprepError
from qatprep.host.base import Host

QAT_POLL_DELAY = 0.0001
"""Seconds; for throughput, where Envoy's least of 1 ms would measure the delay."""


class Works:
    """One key of each kind for all peers of a run, so that all sign the same."""

    def __init__(self) -> None:
        self._works: dict[KeyKind, Work] = {}

    def __getitem__(self, kind: KeyKind) -> Work:
        if kind not in self._works:
            self._works[kind] = make(kind)
        return self._works[kind]


class Peer(ABC):
    """Something that signs."""

    name: str
    """A short one for tables: crypto_mb, OpenSSL, ..."""
    provider: str
    """cryptomb, openssl, boringssl, python, qatengine or qat."""
    detail: str
    """Version and place."""

    @abstractmethod
    def rate(self, kind: KeyKind, workers: int, seconds: float) -> float | None:
        """Right signatures a second with `workers` threads kept busy; None where it does not do this.

        QatprepError when results are wrong or it breaks.
        """


class NativePeer(Peer):
    """A library called from native threads."""

    def __init__(self, signer: Signer, works: Works, label: str = "") -> None:
        self.signer = signer
        self.works = works
        if signer.provider == "cryptomb":
            self.provider, self.name = "cryptomb", "crypto_mb"
        elif library.is_boringssl(signer):
            self.provider, self.name = "boringssl", "BoringSSL"
        else:
            self.provider, self.name = "openssl", "OpenSSL"
        self.name += label
        self.detail = signer.title

    def rate(self, kind: KeyKind, workers: int, seconds: float) -> float | None:
        work = self.works[kind]
        run = self.signer.run(work, workers=workers, seconds=seconds)
        result = run.measured
        if result.failed or work.wrong_among(run.results):
            raise WrongResults(f"{self.detail} gives WRONG {kind} signatures: {result.failed} of {result.completed}")
        return result.rate


class PythonPeer(Peer):
    """The Python package cryptography, which brings its own OpenSSL. One thread: the interpreter lets one run."""

    name = "cryptography"
    provider = "python"

    def __init__(self, works: Works) -> None:
        import cryptography
        from cryptography.hazmat.backends.openssl import backend

        self.works = works
        self.detail = f"cryptography {cryptography.__version__}, {backend.openssl_version_text()}"

    def rate(self, kind: KeyKind, workers: int, seconds: float) -> float | None:
        if workers != 1:
            return None
        work = self.works[kind]
        count, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < seconds:
            work.sign(count % len(work.messages))
            count += 1
        return count / spent


class QatPeer(Peer):
    name = "QAT"
    provider = "qat"

    def __init__(self, session: QatSession) -> None:
        self.session = session
        self.detail = f"libqat, {session.rsa_instances} instances"

    def rate(self, kind: KeyKind, workers: int, seconds: float) -> float | None:
        if not kind.is_rsa:
            return None
        try:
            run = self.session.run(kind, workers=workers, seconds=seconds, poll_delay=QAT_POLL_DELAY)
        except Trouble as e:
            raise QatprepError(f"QAT: {e}") from e
        if said := run.trouble:
            raise WrongResults(f"QAT: {said}")
        return run.measured.rate


class EnginePeer(Peer):
    """qatengine under `openssl speed`, eight asynchronous jobs: below that its multi-buffer queue never fills."""

    name = "qatengine"
    provider = "qatengine"
    JOBS = 8
    FASTER = 1.2
    """How much faster than the same openssl without it the engine must be to count as having done anything."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.detail = f"openssl speed -engine qatengine -async_jobs {self.JOBS}"
        self._plain: dict[tuple[KeyKind, int], float] = {}

    @staticmethod
    def installed(host: Host) -> bool:
        found = host.run(["openssl", "engine", "qatengine"], deadline=20.0)
        return found.rc == 0 and "qatengine" in found.stdout

    def rate(self, kind: KeyKind, workers: int, seconds: float) -> float | None:
        """Without a device or crypto_mb behind it the engine signs with OpenSSL and says so at most in passing:
        its rate counts only when it is more than OpenSSL's alone."""
        rate, complaint = self._speed(kind, workers, seconds, ["-engine", "qatengine", "-async_jobs", str(self.JOBS)])
        if (kind, workers) not in self._plain:
            self._plain[kind, workers] = self._speed(kind, workers, seconds, [])[0]
        plain = self._plain[kind, workers]
        if rate < self.FASTER * plain:
            why = f" ({complaint})" if complaint else ""
            raise QatprepError(
                f"qatengine has fallen back to OpenSSL{why}: {rate:.0f}/s with it, {plain:.0f}/s without it"
            )
        return rate

    def _speed(self, kind: KeyKind, workers: int, seconds: float, options: list[str]) -> tuple[float, str]:
        """Signatures a second, and the first line that looks like a complaint."""
        whole = max(1, round(seconds))  # openssl speed counts in seconds
        argv = ["openssl", "speed", *options, "-mr", "-seconds", str(whole)]
        argv += [*(["-multi", str(workers)] if workers > 1 else []), speed_name(kind)]
        done = self.host.run(argv, deadline=60.0 + 8 * whole)
        rate = speed_rate(done.stdout.text)
        if done.rc or rate is None:
            raise QatprepError(f"{' '.join(argv)}: ended with {done.rc}: {done.stderr.text.strip()[-200:]}")
        complaint = re.search(
            r"^.*(?:[Cc]annot|[Ff]ail|not available|OpenSSL_SW|No device).*$", done.stderr.text, re.MULTILINE
        )
        return rate, complaint[0].strip() if complaint else ""


def speed_name(kind: KeyKind) -> str:
    """What `openssl speed` calls it."""
    return f"rsa{kind.bits}" if kind.is_rsa else "ecdsap256"


def speed_rate(text: str) -> float | None:
    """Signatures a second in the output of `openssl speed -mr`: the third field of +F2 (RSA) or +F4 (ECDSA).

    The fields are number, bits, signatures a second, verifications a second (OpenSSL 3, apps/speed.c).
    """
    found = re.search(r"^\+F[24]:\d+:\d+:([0-9.e+-]+):", text, re.MULTILINE)
    return float(found[1]) if found else None


@contextlib.contextmanager
def all_peers(host: Host, works: Works, wanted: str = "") -> Iterator[tuple[list[Peer], list[str]]]:
    """Everything on this node that signs, and why what is missing is missing. `wanted` names one crypto_mb."""
    peers: list[Peer] = []
    absent: list[str] = []
    try:
        mbs = library.crypto_mbs(wanted)
        peers += [NativePeer(s, works, _label(s) if len(mbs) > 1 else "") for s in mbs]
    except QatprepError as e:
        if wanted:
            raise
        absent.append(e.message)
    ssls = library.openssls()
    peers += [NativePeer(signer, works) for signer in ssls]
    signers = [peer.signer for peer in peers if isinstance(peer, NativePeer)]
    if not any(library.is_boringssl(signer) for signer in ssls):
        absent.append("BoringSSL, which Envoy signs with, is not here as a library (Debian: android-libboringssl)")
    peers.append(PythonPeer(works))
    if EnginePeer.installed(host):
        peers.append(EnginePeer(host))
    else:
        absent.append("qatengine is not installed")
    with contextlib.ExitStack() as stack:
        qat = _qat(host, stack)
        if isinstance(qat, Peer):
            peers.append(qat)
        else:
            absent.append(f"QAT: {qat}")
        stack.callback(library.close, signers)
        yield peers, absent


def _label(signer: Signer) -> str:
    return " linked in" if signer.library == BUNDLED else f" {signer.library.rpartition('/')[2]}"


def _qat(host: Host, stack: contextlib.ExitStack) -> Peer | str:
    from qatprep.crypto import qat_verdict

    node = qat_verdict.look(host)
    try:
        session = stack.enter_context(QatSession())
    except Trouble as trouble:
        return qat_verdict.judge(node, trouble).summary
    if not session.rsa_instances:
        return qat_verdict.no_rsa(node, len(session.instances)).summary
    return QatPeer(session)
