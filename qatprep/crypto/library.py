"""Which library signs: the crypto_mb linked in or one of the system, whichever is faster here for this kind of key.

How a crypto_mb was compiled decides more than its version (docs/engines.md), so they are measured, not ranked. Before
that each must sign with every kind of key and be right: a library that signs wrongly is refused.
"""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from qatprep.crypto import native, selftest
from qatprep.crypto.keys import Work
from qatprep.crypto.signer import BUNDLED, Signer, WrongResults
from qatprep.errors import InputError, QatprepError
from qatprep.instruction_sets import WHEEL, CodePath, gate, paths_of

SYSTEM_MB = ("libcrypto_mb.so.13", "libcrypto_mb.so.12", "libcrypto_mb.so.11")
"""Sonames with the calls used here: Debian libcrypto-mb11 and libcrypto-mb12 (.so.13), Fedora, openSUSE."""
OPENSSL = ("libcrypto.so.3", "libcrypto.so.1.1")
BORINGSSL = ("/usr/lib/x86_64-linux-gnu/android/libcrypto.so.0",)
"""Debian's android-libboringssl: a BoringSSL to call, which Envoy only has inside itself."""
PYPI_MB = os.path.join(sys.prefix, "lib", "libcrypto_mb.so")
"""Of the PyPI wheel ipp-crypto, where that is installed."""
ROUNDS = 3
ROUND_SECONDS = 0.03
MARGIN = 1.03
"""How much faster a system library must be to be taken instead of the one that is known to work."""


@dataclass(frozen=True)
class Choice:
    signer: Signer
    rates: dict[str, float]
    """Signatures a second on one core, by library, when there was something to choose; else empty."""
    refused: tuple[str, ...] = field(default=())
    """What is wrong with the libraries that failed their self-test."""

    @property
    def reason(self) -> str:
        if not self.rates:
            return "the only one here"
        others = ", ".join(f"{name} {rate:.0f}/s" for name, rate in self.rates.items())
        return f"fastest here: {others}"


def paths(library: str) -> tuple[CodePath, ...]:
    """The code paths of a crypto_mb by its name, before it is loaded. Without a number: what all versions have."""
    if library in (BUNDLED, PYPI_MB):
        return WHEEL
    number = re.search(r"\.so\.(\d+)", os.path.realpath(library) if os.path.exists(library) else library)
    interface = int(number[1]) if number else 0
    return paths_of(max(interface, 11))


def missing(library: str = BUNDLED) -> str:
    """What that crypto_mb executes and this CPU or its OS does not have, separated by ", "; "" when it may run."""
    from qatprep import _native

    if os.uname().machine != "x86_64":
        return "x86-64"
    return _native.missing(gate(paths(library)))[1]


def crypto_mbs(wanted: str = "") -> list[Signer]:
    """Every crypto_mb that can be used here, or only the `wanted` one ("bundled" or a path).

    QatprepError when CPU or OS lack what it needs, or none is there; InputError when the wanted one cannot be loaded.
    """
    native.require()
    if lacking := missing(wanted or BUNDLED):
        raise QatprepError(f"crypto_mb cannot run here: {lacking} missing", "see: qatprep doctor --profile cryptomb")
    if wanted and wanted != BUNDLED:
        native.require_trusted(wanted)
        try:
            return [_crypto_mb(wanted)]
        except OSError as e:
            raise InputError(f"--library {wanted!r}: {e.strerror}") from e
    names = [BUNDLED]
    if not wanted:
        names += [*SYSTEM_MB, *([PYPI_MB] if os.path.exists(PYPI_MB) else [])]
    found = []
    for name in names:
        if name != BUNDLED:
            native.require_trusted(name)
        with contextlib.suppress(OSError):
            found.append(_crypto_mb(name))
    if not found:
        raise QatprepError("there is no crypto_mb here: none is linked in and the system has no libcrypto_mb.so")
    return found


def _crypto_mb(library: str) -> Signer:
    return Signer("cryptomb", library, gate(paths(library)))


def openssls() -> list[Signer]:
    """Every libcrypto of the system that can be called, BoringSSL last."""
    native.require()
    found = []
    for name in (*OPENSSL, *BORINGSSL):
        with contextlib.suppress(OSError):
            found.append(Signer("openssl", name))
    return found


def is_boringssl(signer: Signer) -> bool:
    return "BoringSSL" in signer.version


def rates(
    signers: Sequence[Signer],
    work: Work,
    *,
    rounds: int = ROUNDS,
    seconds: float = ROUND_SECONDS,
) -> list[list[float]]:
    """Signatures a second of each on one thread, one value a round, the signers taking turns within each round."""
    values: list[list[float]] = [[] for _ in signers]
    for _ in range(rounds):
        for number, signer in enumerate(signers):
            values[number].append(signer.run(work, seconds=seconds).measured.rate)
    return values


def choose(work: Work, wanted: str = "") -> Choice:
    """The crypto_mb to use for this kind of key. Errors: see crypto_mbs; WrongResults when all sign wrongly."""
    found = crypto_mbs(wanted)
    wrong = {signer: selftest.wrong(signer, work.kind) for signer in found}
    refused = tuple(said for said in wrong.values() if said)
    signers = [signer for signer in found if not wrong[signer]]
    close(signer for signer in found if wrong[signer])
    if not signers:
        raise WrongResults("; ".join(refused), "use another crypto_mb: --library PATH, or another version of qatprep")
    if len(signers) == 1:
        return Choice(signers[0], {}, refused)
    medians = [statistics.median(values) for values in rates(signers, work)]
    best = max(range(len(signers)), key=lambda n: medians[n])
    if signers[0].library == BUNDLED and medians[best] < medians[0] * MARGIN:
        best = 0
    close(signer for number, signer in enumerate(signers) if number != best)
    return Choice(signers[best], {s.title: rate for s, rate in zip(signers, medians, strict=True)}, refused)


def close(signers: Iterable[Signer]) -> None:
    for signer in signers:
        signer.close()
