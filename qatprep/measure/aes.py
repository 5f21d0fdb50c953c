"""AES-GCM with and without vector AES on this CPU: Intel's Table 3, measured with the node's own `openssl speed`.

Intel's guide compared two builds of BoringSSL with `bssl speed`; here one OpenSSL runs twice, the second time with
the VAES and VPCLMULQDQ bits of CPUID masked, so that it takes its path of 128-bit AES-NI.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qatprep.errors import QatprepError
from qatprep.host.base import Host
from qatprep.measure.bench import Progress, cpu_model

CIPHERS = ("aes-128-gcm", "aes-256-gcm")
SIZES = (16, 256, 1350, 8192, 16384)
"""Bytes: Intel's. 1350 is a packet, 16384 the largest TLS record."""

MASK = "OPENSSL_ia32cap=:~0x60000000000"
"""Bits 41 and 42 of its second word are CPUID.(7,0):ECX[9] VAES and ECX[10] VPCLMULQDQ (OPENSSL_ia32cap(3))."""

NEEDED = (("VAES", 9), ("VPCLMULQDQ", 10))


@dataclass(frozen=True)
class AesCell:
    cipher: str
    size: int
    vector: tuple[float, ...]
    """Bytes a second with vector AES, one value a round."""
    plain: tuple[float, ...]

    @property
    def speedup(self) -> float | None:
        """Median of the rounds' ratios."""
        ratios = [v / p for v, p in zip(self.vector, self.plain, strict=False) if p]
        return statistics.median(ratios) if ratios else None


@dataclass(frozen=True)
class AesBench:
    cpu: str
    openssl: str
    rounds: int
    cells: tuple[AesCell, ...]
    missing: tuple[str, ...]
    """What this CPU lacks of vector AES: without it both columns are the same code."""
    interrupted: bool

    @property
    def version(self) -> str:
        """OpenSSL's version and date, without that of its library."""
        return self.openssl.partition(" (")[0]

    @property
    def notes(self) -> tuple[str, ...]:
        """Why both columns are the same code, where they are."""
        return same_code(self.openssl, self.missing)

    def find(self, cipher: str, size: int) -> AesCell | None:
        return next((c for c in self.cells if (c.cipher, c.size) == (cipher, size)), None)


def same_code(openssl: str, missing: Sequence[str]) -> tuple[str, ...]:
    """Why both columns would be the same code, where they would: what `openssl version` says, and `missing_bits`."""
    if missing:
        return (f"this CPU has no vector AES ({', '.join(missing)} missing): both columns are the same code",)
    version = re.match(r"OpenSSL (\d+)\.(\d+)", openssl)
    if version and (int(version[1]), int(version[2])) < (3, 1):
        name = openssl.partition(" (")[0]
        return (f"{name} has no AES-GCM for vector AES, which came with OpenSSL 3.1: both columns are the same code",)
    return ()


def missing_bits(host: Host) -> tuple[str, ...]:
    """Names of the vector AES bits that cpuid does not have; all of them off x86-64."""
    try:
        ecx = host.cpuid(7).ecx if host.cpuid(0).eax >= 7 else 0
    except OSError:
        ecx = 0
    return tuple(name for name, bit in NEEDED if not ecx >> bit & 1)


def aes(
    host: Host,
    *,
    openssl: str = "openssl",
    rounds: int = 3,
    ciphers: Sequence[str] = CIPHERS,
    sizes: Sequence[int] = SIZES,
    progress: Progress = lambda done, of, what: None,
    first: Callable[[tuple[str, ...]], None] = lambda notes: None,
) -> AesBench:
    """One second a cell, a round and a path. QatprepError without a usable `openssl`. Ctrl-C gives what is known.

    `first` gets, before anything is measured, the reason why there would be nothing to compare.
    """
    version = host.run([openssl, "version"], deadline=20.0)
    if version.rc:
        raise QatprepError(f"{openssl!r} is needed and cannot be run", "install the package openssl")
    missing = missing_bits(host)
    first(same_code(version.stdout.text.strip(), missing))
    values: dict[tuple[str, int, bool], list[float]] = {}
    steps = [(c, s, vector) for _ in range(rounds) for c in ciphers for s in sizes for vector in (True, False)]
    interrupted = False
    try:
        for number, (cipher, size, vector) in enumerate(steps):
            progress(number, len(steps), f"{cipher}, {size} bytes, {'with' if vector else 'without'} vector AES")
            values.setdefault((cipher, size, vector), []).append(_speed(host, openssl, cipher, size, vector))
        progress(len(steps), len(steps), "")
    except KeyboardInterrupt:
        interrupted = True
    cells = tuple(
        AesCell(c, s, tuple(values.get((c, s, True), ())), tuple(values.get((c, s, False), ())))
        for c in ciphers
        for s in sizes
        if (c, s, True) in values
    )
    return AesBench(cpu_model(host), version.stdout.text.strip(), rounds, cells, missing, interrupted)


def _speed(host: Host, openssl: str, cipher: str, size: int, vector: bool) -> float:
    argv = [openssl, "speed", "-mr", "-seconds", "1", "-bytes", str(size), "-evp", cipher]
    if not vector:
        argv = ["env", MASK, *argv]
    done = host.run(argv, deadline=30.0)

    rate = speed_bytes(done.stdout.text)
    if done.rc or rate is None:
        raise QatprepError(f"{' '.join(argv)}: ended with {done.rc} and no result")
    return rate


def speed_bytes(text: str) -> float | None:
    """Bytes a second in the output of `openssl speed -mr -evp`: +F:number:cipher:rate (OpenSSL, apps/speed.c)."""
    found = re.search(r"^\+F:\d+:[^:]+:([0-9.]+)$", text, re.MULTILINE)
    return float(found[1]) if found else None
