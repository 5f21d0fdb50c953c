#!/bin/sh
# smoke on CPUs that lack what crypto_mb needs, emulated: nothing may raise an illegal instruction.
# Needs qemu-x86_64 (Debian: qemu-user). Usage: tests/crypto/lesser_cpus.sh [PYTHON]; takes a minute or two.
# QEMU's emulator has no AVX-512 at all, so that even its Ice Lake is a CPU that says it has none.
set -eu
cd "$(dirname "$0")/../.."
python=${1:-python3}
program=$("$python" -c 'import sys; print(sys.executable)')
failed=0
# Nehalem: no AVX, no XSAVE. Haswell: AVX2. Skylake-Server: AVX-512 in the model. Denverton: an Atom. max: all QEMU has.
for cpu in Nehalem Westmere,-xsave Haswell Skylake-Server Denverton EPYC Icelake-Server max; do
    status=0
    said=$(qemu-x86_64 -cpu "$cpu" "$program" -m qatprep smoke 2>&1) || status=$?
    lacks=$(qemu-x86_64 -cpu "$cpu" "$program" -c 'from qatprep.crypto import library; print(library.missing())' 2>/dev/null) ||
        status=$?
    if [ "$status" -ne 0 ] || ! printf '%s' "$said" | grep -q 'lacks'; then
        failed=1
        echo "$cpu: FAILED with $status"
        printf '%s\n' "$said" | tail -5
    else
        echo "$cpu: ok, lacks $lacks"
    fi
done
exit "$failed"
