"""Which library signs: the crypto_mb linked in or one of the system, whichever is faster here for this kind of key.

How a crypto_mb was compiled decides more than its version (docs/engines.md), so they are measured, not ranked.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qatprep.crypto import native
from qatprep.crypto.keys import Work
from qatprep.errors import InputError, QatprepError
from qatprep.measure.load import measured

if TYPE_CHECKING:
    from qatprep._native import Signer

BUNDLED = "bundled"
SYSTEM_MB = ("libcrypto_mb.so.13", "libcrypto_mb.so.12", "libcrypto_mb.so.11")
"""Sonames with the calls used here: Debian libcrypto-mb11 and libcrypto-mb12 (.so.13), Fedora, openSUSE."""
OPENSSL = ("libcrypto.so.3", "libcrypto.so.1.1")
BORINGSSL = ("/usr/lib/x86_64-linux-gnu/android/libcrypto.so.0",)
"""Debian's android-libboringssl: a BoringSSL to call, which Envoy only has inside itself."""
ROUNDS = 3
ROUND_SECONDS = 0.03
MARGIN = 1.03
"""How much faster a system library must be to be taken instead of the one that is known to work."""


@dataclass(frozen=True)
class Choice:
    signer: Signer
    rates: dict[str, float]
    """Signatures a second on one core, by library, when there was something to choose; else empty."""

    @property
    def reason(self) -> str:
        if not self.rates:
            return "the only one here"
        others = ", ".join(f"{name} {rate:.0f}/s" for name, rate in self.rates.items())
        return f"fastest here: {others}"


def describe(signer: Signer) -> str:
    """Name, version and where it came from."""
    where = "linked in" if signer.library == BUNDLED else signer.library
    return f"{signer.version} ({where})"


def crypto_mbs(wanted: str = "") -> list[Signer]:
    """Every crypto_mb that can be used here, or only the `wanted` one ("bundled" or a path).

    QatprepError when CPU or OS lack what it needs, or none is there; InputError when the wanted one cannot be loaded.
    """
    native.require()
    from qatprep import _native

    if missing := _native.missing():
        raise QatprepError(f"crypto_mb cannot run here: {missing} missing", "see: qatprep doctor --profile cryptomb")
    if wanted and wanted != BUNDLED:
        try:
            return [_native.mb_open(wanted)]
        except OSError as e:
            raise InputError(f"--library {wanted!r}: {e.strerror}") from e
    found = []
    with contextlib.suppress(OSError):
        found.append(_native.mb_bundled())
    if not wanted:
        wheel = os.path.join(sys.prefix, "lib", "libcrypto_mb.so")  # the PyPI wheel ipp-crypto
        for name in (*SYSTEM_MB, *([wheel] if os.path.exists(wheel) else [])):
            with contextlib.suppress(OSError):
                found.append(_native.mb_open(name))
    if not found:
        raise QatprepError("there is no crypto_mb here: none is linked in and the system has no libcrypto_mb.so")
    return found


def openssls() -> list[Signer]:
    """Every libcrypto of the system that can be called, BoringSSL last."""
    native.require()
    from qatprep import _native

    found = []
    for name in (*OPENSSL, *BORINGSSL):
        with contextlib.suppress(OSError):
            found.append(_native.ssl_open(name))
    return found


def is_boringssl(signer: Signer) -> bool:
    return "BoringSSL" in signer.version


def foresee(work: Work, signer: Signer) -> None:
    """Make ECDSA results foreseeable: an engine that takes its nonces from the jobs signs each job always the same.

    Its first signatures are verified independently; from then on every result is compared with them. RuntimeError
    when the first are wrong already.
    """
    from qatprep import _native

    if work.kind.is_rsa or signer.provider != "cryptomb" or work.foreseen:
        return
    results = _native.sign(signer, work.jobs)
    if wrong := work.wrong(results):
        raise RuntimeError(f"{describe(signer)}: {len(wrong)} of {len(results)} ECDSA signatures are wrong")
    work.jobs.expect([result for result in results if result is not None])
    work.foreseen = True


def rates(
    signers: Sequence[Signer],
    work: Work,
    *,
    rounds: int = ROUNDS,
    seconds: float = ROUND_SECONDS,
) -> list[list[float]]:
    """Signatures a second of each on one thread, one value a round, the signers taking turns within each round."""
    from qatprep import _native

    values: list[list[float]] = [[] for _ in signers]
    for signer in signers:
        foresee(work, signer)
    for _ in range(rounds):
        for number, signer in enumerate(signers):
            report = _native.run(signer, work.jobs, duration_ns=int(seconds * 1e9))
            values[number].append(measured(report).rate)
    return values


def choose(work: Work, wanted: str = "") -> Choice:
    """The crypto_mb to use for this kind of key. Errors: see crypto_mbs."""
    signers = crypto_mbs(wanted)
    if len(signers) == 1:
        return Choice(signers[0], {})
    medians = [statistics.median(values) for values in rates(signers, work)]
    best = max(range(len(signers)), key=lambda n: medians[n])
    if signers[0].library == BUNDLED and medians[best] < medians[0] * MARGIN:
        best = 0
    return Choice(signers[best], {describe(s): rate for s, rate in zip(signers, medians, strict=True)})
