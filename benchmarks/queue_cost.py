"""What the CryptoMB engine's queue costs against the bare crypto_mb loop, by CPU time.

Aim: at least 97 % of the bare loop's signatures for each second of CPU.
"""

from __future__ import annotations

import sys

from qatprep.crypto.keys import KeyKind
from qatprep.measure import bench

AIM = 0.97


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    share = bench.queue(KeyKind.RSA_2048, 1, rounds=rounds, seconds=0.1).cpu_share
    print(f"{share:.1%} of the bare loop, {rounds} interleaved rounds; aim {AIM:.0%}")
    return int(share < AIM)


if __name__ == "__main__":
    sys.exit(main())
