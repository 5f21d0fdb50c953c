"""Everything of the native module once, without pytest: what valgrind watches (sanitize.sh).

Needs gcc and libssl-dev for the stand-ins.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from array import array

from qatprep import _native, instruction_sets
from qatprep.crypto import keys
from qatprep.crypto.keys import KeyKind


def main() -> None:
    paths = instruction_sets.gate(instruction_sets.WHEEL)
    print(_native.cpuid(7), _native.missing(paths))
    with contextlib.suppress(OSError):
        _native.xgetbv(9)
    for wrong in (b"", b"0\x82", bytes(300)):
        with contextlib.suppress(ValueError):
            _native.Key(bytearray(wrong))
    directory = tempfile.mkdtemp()
    signers = [_native.ssl_open("libcrypto.so.3"), _native.mb_open(build("standin_mb.c", directory), ())]
    with contextlib.suppress(OSError):
        signers.append(_native.mb_bundled(paths))
    for kind in (KeyKind.RSA_2048, KeyKind.P_256):
        work = keys.make(kind, 11)
        for signer in signers:
            assert work.wrong(_native.sign(signer, work.jobs)) == []
            arrivals = [array("Q", [0] * 5), array("Q", [0, 1000])]
            for report in _native.run(signer, work.jobs, arrivals, poll_delay_ns=1000, check=True):
                assert report["failed"] == 0
            _native.run(signer, work.jobs, [array("Q", [0] * 40)], poll_delay_ns=1000, queues=5)
        with contextlib.suppress(ValueError):
            _native.Jobs(work.native_key, [b"short"])
    qat(build("standin.c", directory))


def build(name: str, directory: str) -> str:
    path = os.path.join(directory, f"{name}.so")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
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
