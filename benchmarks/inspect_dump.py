"""What `inspect config-dump` reads a large dump with: time and memory of four ways to look through the same JSON.

    python benchmarks/inspect_dump.py [MEGABYTES ...]

Each way is a stand-in for qatprep.mesh.inspect.jsonwalk.Document; all that config_dump.py does with it is the same, and
so is what they find. Rounds are interleaved, each run is a process of its own. Memory is the peak of the process less
that of one that reads the file alone. msgspec is no dependency of qatprep: without it that way is left out.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from common import Row, markdown

from qatprep.mesh.inspect import jsonwalk

RECORDED = Path(__file__).parents[1] / "tests" / "mesh" / "data" / "config_dump-1.40.json"
ROUNDS = 3


class Whole:
    """json.loads of everything: places are the objects themselves."""

    def __init__(self, name: str, data: bytes) -> None:
        self.size = len(data)
        self.top = json.loads(data)

    def kind(self, at: Any) -> str:
        return "{" if isinstance(at, dict) else "[" if isinstance(at, list) else ""

    def members(self, at: Any) -> Iterator[tuple[str, Any]]:
        yield from at.items()

    def elements(self, at: Any) -> Iterator[Any]:
        yield from at

    def get(self, at: Any, key: str) -> Any:
        return at.get(key) if isinstance(at, dict) else None

    def has(self, at: Any, word: bytes) -> bool:
        return True

    def load(self, at: Any) -> Any:
        return at

    def skip(self, at: Any) -> int:
        return self.size


class Msgspec:
    """msgspec with Raw for what is not asked for: places are pieces of the text that nobody has made into objects."""

    def __init__(self, name: str, data: bytes) -> None:
        msgspec = import_module("msgspec")
        self._decode = msgspec.json.decode
        self._raw = msgspec.Raw
        self.size = len(data)
        self.top = msgspec.Raw(data)

    def kind(self, at: Any) -> str:
        first = bytes(memoryview(at)[:1])
        return first.decode() if first in (b"{", b"[") else ""

    def members(self, at: Any) -> Iterator[tuple[str, Any]]:
        yield from self._decode(at, type=dict[str, self._raw]).items()  # type: ignore[name-defined]

    def elements(self, at: Any) -> Iterator[Any]:
        yield from self._decode(at, type=list[self._raw])  # type: ignore[name-defined]

    def get(self, at: Any, key: str) -> Any:
        return dict(self.members(at)).get(key) if self.kind(at) == "{" else None

    def has(self, at: Any, word: bytes) -> bool:
        return bytes(at).find(word) >= 0

    def load(self, at: Any) -> Any:
        return self._decode(at)

    def skip(self, at: Any) -> int:
        return self.size


class Walker(jsonwalk.Document):
    """Brackets counted by a regular expression; nothing that is passed over is made into objects."""

    _TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)

    def skip(self, at: int, depth: int = 0) -> int:
        if not self.kind(at) or at in self._ends:
            return super().skip(at)
        for match in self._TOKEN.finditer(self.data, at):
            token = match[0]
            if token in (b"{", b"["):
                depth += 1
            elif token in (b"}", b"]"):
                depth -= 1
                if depth == 0:
                    self._remember(at, match.end())
                    return match.end()
        raise self.fail(len(self.data), "a bracket is not closed")


OURS = "in parts"
WAYS = ("read", "walker", "json.loads", "msgspec", OURS)


def once(way: str, path: str) -> None:
    """Read the dump in one way; prints seconds, peak bytes, and what was found."""
    from qatprep.mesh.inspect import config_dump
    from qatprep.mesh.inspect.source import Input

    stand_ins: dict[str, Any] = {"walker": Walker, "json.loads": Whole, "msgspec": Msgspec}
    if way in stand_ins:
        vars(config_dump)["Document"] = stand_ins[way]
    data = Path(path).read_bytes()
    begin = time.perf_counter()
    found = config_dump.parse(Input("dump", data)) if way != "read" else None
    seconds = time.perf_counter() - begin
    status = Path("/proc/self/status").read_text()  # ru_maxrss would be that of who started this
    peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) << 10  # type: ignore[index]
    print(json.dumps([seconds, peak, "" if found is None else f"{len(found.chains)} {len(found.clusters)}"]))


def dump(size: int, path: Path) -> None:
    """The recorded dump with its listeners a hundred times, and its clusters as often as it takes for `size` bytes."""
    document = json.loads(RECORDED.read_bytes())
    lists = [(key, value) for part in document["configs"] for key, value in part.items() if isinstance(value, list)]
    for value in (value for key, value in lists if "listener" in key):
        value *= 25
    clusters = [{"version_info": "1", "cluster": cluster(number)} for number in range(9)]
    routes = [{"version_info": "1", "route_config": route(number)} for number in range(9)]
    number = size // len(json.dumps([[{"": clusters}, {"": routes}]], indent=1)) + 1
    document["configs"] += [
        {"@type": f"{ADMIN}ClustersConfigDump", "dynamic_active_clusters": clusters * number},
        {"@type": f"{ADMIN}RoutesConfigDump", "dynamic_route_configs": routes * number},
    ]
    path.write_text(json.dumps(document, indent=1))


ADMIN = "type.googleapis.com/envoy.admin.v3."


def cluster(number: int) -> dict[str, Any]:
    """As Istio has them; one of nine with a certificate for mutual TLS."""
    secret = {"name": "default", "sds_config": {"ads": {}, "resource_api_version": "V3"}}
    common = {"tls_certificate_sds_secret_configs": [secret], "alpn_protocols": ["istio-peer-exchange", "istio"]}
    tls = {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}
    socket = {"name": "tls", "typed_config": {**tls, "common_tls_context": common, "sni": "outbound_.80_._.x"}}
    thresholds = {"max_connections": 4294967295, "max_pending_requests": 4294967295, "track_remaining": True}
    return {
        "name": f"outbound|80||service-{number}.default.svc.cluster.local",
        "type": "EDS",
        "eds_cluster_config": {"eds_config": {"ads": {}}, "service_name": f"outbound|80||service-{number}"},
        "connect_timeout": "10s",
        "circuit_breakers": {"thresholds": [thresholds]},
        "metadata": {"filter_metadata": {"istio": {"services": [{"host": f"service-{number}", "name": "x"}]}}},
        **({} if number else {"transport_socket_matches": [{"name": "tlsMode-istio", "transport_socket": socket}]}),
    }


def route(number: int) -> dict[str, Any]:
    name = f"service-{number}"
    hosts = [name, f"{name}.default", f"{name}.default.svc", f"{name}.default.svc.cluster.local", "10.0.0.1"]
    action = {"cluster": f"outbound|80||service-{number}", "timeout": "0s", "max_grpc_timeout": "0s"}
    each = {"name": f"service-{number}:80", "domains": hosts, "routes": [{"match": {"prefix": "/"}, "route": action}]}
    return {"name": "80", "virtual_hosts": [each] * 4, "validate_clusters": False}


def measure(way: str, path: Path) -> tuple[float, int, str]:
    argv = [sys.executable, __file__, "--once", way, str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{way}: {done.stderr.strip().splitlines()[-1]}")
    seconds, peak, found = json.loads(done.stdout)
    return seconds, peak, found


def rows(sizes: Sequence[int] = (1, 52, 103)) -> Iterator[Row]:
    """Seconds of qatprep's way, "in parts", over those of each other; and its memory beyond the text."""
    from importlib.util import find_spec

    ways = [way for way in WAYS if way != "msgspec" or find_spec("msgspec")]
    with tempfile.TemporaryDirectory() as directory:
        for size in sizes:
            path = Path(directory) / f"{size}.json"
            dump(size << 20, path)
            runs: dict[str, list[tuple[float, int, str]]] = {way: [] for way in ways}
            for _ in range(ROUNDS):
                for way in ways:
                    runs[way].append(measure(way, path))
            if len({run[2] for way in ways if way != "read" for run in runs[way]}) != 1:
                raise SystemExit("they do not find the same")
            median = {way: statistics.median(run[0] for run in runs[way]) for way in ways}
            alone = statistics.median(run[1] for run in runs["read"])
            what = f"inspect config-dump, {path.stat().st_size >> 20} MiB"
            for way in ways[1:-1]:
                yield Row(what, median[OURS] / median[way], way)
            more = statistics.median(run[1] for run in runs[OURS]) - alone
            yield Row(f"{what}: memory beyond the text", more / (100 << 20), "100 MiB", 1.0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--once"]:
        once(sys.argv[2], sys.argv[3])
    else:
        print(markdown(rows([int(word) for word in sys.argv[1:]] or (1, 52, 103))))
