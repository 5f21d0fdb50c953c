"""qatprep beside what people use instead, in a guest with a real kernel (tests/vm): whole processes, interleaved.

    python benchmarks/peers.py [ROUNDS]

All of them as a Debian node has them: qatprep from its .deb, the newest packages of the others, all Python programs in
the same Python, and the indexes of the kernel's whole module tree.

Under emulation CPU work takes about twelve times as long as natively: the ratios mean something, the times do not.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from common import Row, markdown

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tests.vm import extras, kernels
from tests.vm.machine import Guest, Hardware
from tests.vm.packages import unpack
from tests.vm.rig import cache

HERE = os.path.dirname(os.path.abspath(__file__))
FLOOR = "shell loop"
AIMS = (
    # what, ours, theirs, at most
    ("bind 16 VFs", "qatprep device bind", "dpdk-devbind.py -b", 0.25),
    ("bind 128 VFs", "qatprep device bind", "dpdk-devbind.py -b", 0.25),
    ("bind 16 VFs", "qatprep device bind", "driverctl set-override, one call a VF", 1 / 3),
    ("bind 128 VFs", "qatprep device bind", "driverctl set-override, one call a VF", 0.1),
    ("bind 16 VFs", "qatprep: first to last write", FLOOR, 1.2),
    ("bind 128 VFs", "qatprep: first to last write", FLOOR, 1.2),
    ("list devices", "qatprep device list", "dpdk-devbind.py --status", 1 / 3),
    ("services changed", "4 PFs side by side", "4 PFs one after the other", 0.4),
    ("rollback", "CPU of rollback", "CPU of bootstrap", 1.0),
)


def node(kit: kernels.Kit, directory: str) -> None:
    """Put qatprep's .deb and its peers into a folder that lies over the guest's root."""
    shutil.copytree(extras.peers(cache(), kit), directory, dirs_exist_ok=True)
    with tempfile.TemporaryDirectory() as debs:
        subprocess.run([sys.executable, f"{HERE}/../packaging/deb.py", debs], check=True)
        for deb in os.listdir(debs):
            unpack(os.path.join(debs, deb), directory)
    # As the package's postinst does.
    subprocess.run(["/usr/bin/python3", "-m", "compileall", "-q", f"{directory}/usr/lib/qatprep"], check=True)


def measure(pfs: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Boot a guest with that many PFs and let the tools take turns in it."""
    kit = kernels.build(cache(), kernels.DEFAULT)
    with tempfile.TemporaryDirectory() as extra:
        node(kit, extra)
        with Guest(kit, Hardware(pfs=pfs, memory=1024), extra=extra) as guest:
            guest.check(f"cp /{extras.INDEX}/* /lib/modules/$(uname -r)/")
            guest.check("modprobe qat_4xxx; modprobe vfio-pci; groupadd --system qat")
            guest.check("for p in /sys/bus/pci/devices/*/qat; do echo 16 >${p%/qat}/sriov_numvfs; done")
            text = guest.check(f"/usr/bin/python3 {HERE}/peers_guest.py {rounds} {pfs}", timeout=3600)
    result: dict[str, dict[str, list[float]]] = json.loads(text)
    return result


def rows(rounds: int = 5) -> Iterator[Row]:
    """The ratios; each case's times go to stderr."""
    results = measure(1, rounds) | measure(8, rounds)
    medians = {what: {case: statistics.median(t) for case, t in cases.items()} for what, cases in results.items()}
    for what, cases in results.items():
        print(f"{what} (medians of {len(next(iter(cases.values())))}, in a guest without KVM)", file=sys.stderr)
        for case, times in cases.items():
            median, least, most = (1000 * t for t in (statistics.median(times), min(times), max(times)))
            print(f"  {case:40} {median:9.0f} ms   {least:.0f} .. {most:.0f}", file=sys.stderr)
    for what, ours, theirs, limit in AIMS:
        yield Row(f"{what}, in a guest: {ours}", medians[what][ours] / medians[what][theirs], theirs, limit)


if __name__ == "__main__":
    print(markdown(rows(*map(int, sys.argv[1:]))))
