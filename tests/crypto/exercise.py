"""Everything of the native module once, without pytest: what valgrind watches (sanitize.sh).

Usage: exercise.py [STANDIN], the stand-in built from standin.c; without it the part with QAT is left out.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from array import array

from qatprep import _native
from qatprep.crypto import keys, library
from qatprep.crypto.keys import KeyKind


def main() -> None:
    print(_native.cpuid(7), _native.missing())
    with contextlib.suppress(OSError):
        _native.xgetbv(9)
    for wrong in (b"", b"0\x82", bytes(300)):
        with contextlib.suppress(ValueError):
            _native.Key(bytearray(wrong))
    signers = library.openssls()
    with contextlib.suppress(Exception):
        signers += library.crypto_mbs()
    for kind in (KeyKind.RSA_2048, KeyKind.P_256):
        work = keys.make(kind, 11)
        for signer in signers:
            assert work.wrong(_native.sign(signer, work.jobs)) == []
            arrivals = [array("Q", [0] * 5), array("Q", [0, 1000])]
            for report in _native.run(signer, work.jobs, arrivals, poll_delay_ns=1000, check=True):
                assert report["failed"] == 0
        with contextlib.suppress(ValueError):
            _native.Jobs(work.native_key, [b"short"])
    qat(sys.argv[1] if len(sys.argv) > 1 else build())


def build() -> str:
    path = os.path.join(tempfile.mkdtemp(), "standin.so")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "standin.c")
    subprocess.run(["gcc", "-g", "-O1", "-shared", "-fPIC", source, "-o", path, "-lcrypto"], check=True)
    return path


def qat(standin: str) -> None:
    for behaviour in ("instances=2 retry=3 reorder=1 delay_us=100", "wrong=3 fail=4 refuse=5"):
        os.environ["QP_STANDIN"] = behaviour
        engine = _native.Qat(standin, standin)
        assert engine.start("SSL") == (0, "")
        engine.instances()
        work = keys.make(KeyKind.RSA_2048, 8)
        report = engine.run(work.jobs, [array("Q", [0] * 8)] * 2, poll_delay_ns=1000, depth=4)
        print(behaviour, [worker["completed"] for worker in report["workers"]], report["retries"])
        engine.stop()
    with contextlib.suppress(OSError):
        _native.Qat("libc.so.6", standin)


if __name__ == "__main__":
    main()
