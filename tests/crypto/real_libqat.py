"""One unpacked Debian: its libqat through qatprep's code, its crypto_mb beside the one linked in (real_libqat.sh)."""

from __future__ import annotations

import glob
import os
import sys
import time

from qatprep.crypto import library, qat_verdict, selftest
from qatprep.crypto.keys import KeyKind, make
from qatprep.crypto.qat import Libraries, QatSession, Trouble
from qatprep.host.linux import LinuxHost


def main(root: str) -> int:
    libraries = os.path.join(root, "usr/lib/x86_64-linux-gnu")
    (python,) = glob.glob(os.path.join(root, "usr/bin/python3.[0-9]*[0-9]"))
    places = (libraries, os.path.join(root, "usr/lib64"))
    loader = next(
        f"{place}/ld-linux-x86-64.so.2" for place in places if os.path.exists(f"{place}/ld-linux-x86-64.so.2")
    )
    command = ["env", f"PYTHONHOME={root}/usr", loader, "--library-path", libraries, python, "-P"]
    node = qat_verdict.look(LinuxHost("/"))
    start = time.monotonic()
    code = "started"
    try:
        with QatSession(Libraries(f"{libraries}/libqat.so.4", f"{libraries}/libusdm.so.0"), command) as session:
            print(f"{root}: libqat started, {session.rsa_instances} instances with RSA: {session.instances}")
    except Trouble as trouble:
        verdict = qat_verdict.judge(node, trouble)
        code = verdict.code
        print(f"{root}: {trouble.stage}, status {trouble.status}: {verdict.code}: {verdict.summary}")
        for line in trouble.output:
            print(f"    libqat: {line}")
    seconds = time.monotonic() - start
    print(f"    after {seconds:.2f} s")
    return int(crypto_mb(libraries) or seconds > 60 or (not node.pfs and not node.vfs and code != "no-device"))


def crypto_mb(libraries: str) -> bool:
    """Sign with each kind of key and print the rates; True when anything is wrong."""
    if missing := library.missing():
        print(f"    crypto_mb not tried: {missing} missing")
        return False
    paths = sorted(glob.glob(os.path.join(libraries, "libcrypto_mb.so.[0-9][0-9]")))
    wrong = not paths
    for path in paths:
        signers = [*library.crypto_mbs(path), *library.crypto_mbs("bundled")]
        for kind in KeyKind:
            work = make(kind, 17)
            for signer in signers:
                wrong |= bool(selftest.wrong(signer, kind) or work.wrong(signer.sign(work)))
            system, bundled = (sorted(values)[1] for values in library.rates(signers, work, seconds=0.1))
            name = f"{os.path.basename(path)} {signers[0].version}"
            print(f"    {name} {kind}: {system:,.0f}/s, linked in {bundled:,.0f}/s")
            wrong |= signers[0].run(work, seconds=0.05, check=True).measured.failed > 0
        library.close(signers)
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
