"""Bootstrap of simulated hosts: at most linear in the number of PFs. The kernel's own times are not waited for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from common import interleaved

from qatprep.cli.open_host import open_host
from qatprep.config import NodeConfig
from qatprep.engine.bootstrap import bootstrap

HOSTS = {"spr-2s": 8, "spr-8s": 32}
"""Name of the simulated host -> PFs."""


def case(name: str) -> Callable[[], float]:
    def run() -> float:
        host = open_host("/", name)
        begin = time.perf_counter()
        result = bootstrap(host, NodeConfig(smoke=False))
        seconds = time.perf_counter() - begin
        if result.status != "applied":
            raise SystemExit(f"{name}: {result.status}")
        return seconds

    return run


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    medians = interleaved({name: case(name) for name in HOSTS}, rounds)
    print(f"bootstrap of simulated hosts, medians of {rounds} interleaved rounds")
    for name, seconds in medians.items():
        print(f"{name}: {seconds * 1000:8.1f} ms for {HOSTS[name]} PFs, {seconds / HOSTS[name] * 1000:6.2f} ms a PF")
    small, large = HOSTS
    ratio = medians[large] / medians[small]
    print(f"{large} / {small}: {ratio:.2f} times as long for {HOSTS[large] / HOSTS[small]:.0f} times the PFs")


if __name__ == "__main__":
    main()
