"""Prove one VF of this machine in this process: python -m tests.direct.here BDF [N [WAY]] (in an emulator, a guest).

Prints the proof as JSON. With N, the process kills itself after so many lines of the trace; 0: it does not.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from qatprep.direct import pke
from qatprep.direct.prove import prove
from qatprep.direct.result import Entry

NUMBER = pow(pke.N // 7, pke.E, pke.N)
"""Its signature is small enough that the modulus can be added to it in 256 bytes."""


def main(bdf: str, die_at: str = "0", way: str = "") -> None:
    entries = 0

    def keep(_: Entry) -> None:
        nonlocal entries
        entries += 1
        if entries == int(die_at):
            os.kill(os.getpid(), signal.SIGKILL)

    print(json.dumps({**prove(bdf, NUMBER, keep=keep, way=way).as_dict(), "entries": entries}))


if __name__ == "__main__":
    main(*sys.argv[1:])
