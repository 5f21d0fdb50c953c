"""What the CryptoMB engine's queue costs against the bare crypto_mb loop, by CPU time."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from common import Row, markdown

from qatprep.crypto.keys import KeyKind
from qatprep.measure import bench

AIM = 1 / 0.97


def rows(rounds: int = 15) -> Iterator[Row]:
    share = bench.queue(KeyKind.RSA_2048, 1, rounds=rounds, seconds=0.1).cpu_share
    yield Row("CPU time of a signature in the CryptoMB engine", 1 / share, "the bare crypto_mb loop", AIM)


if __name__ == "__main__":
    print(markdown(rows(*map(int, sys.argv[1:]))))
