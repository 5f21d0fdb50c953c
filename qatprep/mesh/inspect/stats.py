"""Envoy's /stats in every form it has: text, JSON and Prometheus; summaries, buckets and bins; counters.

Forms were taken from Envoy 1.37 and 1.40 (tests/mesh/data). Names come dotted
(`listener.0.0.0.0_8443.cryptomb.rsa_queue_sizes`), joined (`...cryptomb_rsa_queue_sizes`, older builds) or as
Prometheus has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs

from qatprep.errors import InputError
from qatprep.mesh.inspect.histogram import Form, Histogram, minus, tell_form
from qatprep.mesh.inspect.jsonwalk import Document
from qatprep.mesh.inspect.source import Input
from qatprep.text import printable

FILTER = r"(cryptomb.(rsa|ecdsa)_queue_size|^listener\..*\.ssl\.|^server\.concurrency$)"
"""What is asked of an admin interface."""

_SCOPE = r"(?:listener[._](?P<listener>.*?)[._]|cluster[._](?P<cluster>.*?)[._])?"
_QUEUE = re.compile(_SCOPE + r"cryptomb[._](?P<algorithm>rsa|ecdsa)_queue_sizes?")
_COUNTER = re.compile(_SCOPE + r"cryptomb[._](?P<algorithm>rsa|ecdsa)_queue_size_(?P<size>[1-8])")
_SSL = re.compile(r"listener\.(?P<listener>.+?)\.ssl\.(?P<what>.+)")
_BUCKET = re.compile(r"B([0-9][0-9.e+]{0,20})\((\d{1,18}),(\d{1,18})\)")
_BIN = re.compile(r"([0-9.e+-]{1,24}),([0-9.e+-]{1,24}):(\d{1,18})")
_PROMETHEUS = re.compile(
    r"(?P<name>[A-Za-z_:][A-Za-z0-9_:]{0,300})(?:\{(?P<labels>[^}]{0,4000})\})?\s+(?P<value>\S{1,60})"
)
_LABEL = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"')
_MOST = 20_000
_Series = tuple[str, str, str]
"""Listener, cluster, algorithm."""


@dataclass
class Ssl:
    """TLS counters of one listener since it started."""

    handshakes: int = 0
    reused: int = 0
    errors: int = 0
    ciphers: dict[str, int] = field(default_factory=dict)
    sigalgs: dict[str, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)

    def minus(self, earlier: Ssl) -> Ssl:
        return Ssl(
            max(self.handshakes - earlier.handshakes, 0),
            max(self.reused - earlier.reused, 0),
            max(self.errors - earlier.errors, 0),
            _less(self.ciphers, earlier.ciphers),
            _less(self.sigalgs, earlier.sigalgs),
            _less(self.versions, earlier.versions),
        )

    def algorithms(self) -> dict[str, int]:
        """Full handshakes by what signed them, RSA or ECDSA, as far as signature algorithms and ciphers tell."""
        found = {"RSA": 0, "ECDSA": 0}
        for name, count in {**self.sigalgs, **({} if self.sigalgs else self.ciphers)}.items():
            kind = "RSA" if "rsa" in name.lower().replace("ecdsa", "") else "ECDSA" if "ecdsa" in name.lower() else ""
            if kind:
                found[kind] += count
        return {kind: count for kind, count in found.items() if count}


def _less(later: dict[str, int], earlier: dict[str, int]) -> dict[str, int]:
    return {name: value - earlier.get(name, 0) for name, value in later.items() if value > earlier.get(name, 0)}


@dataclass
class Stats:
    name: str
    histograms: list[Histogram] = field(default_factory=list)
    ssl: dict[str, Ssl] = field(default_factory=dict)
    """By the listener's address."""
    concurrency: int | None = None
    lines: int = 0
    """Statistics that were understood, of any kind."""

    def minus(self, earlier: Stats) -> Stats:
        """What happened between two readings."""
        before = {histogram.name: histogram for histogram in earlier.histograms}
        return Stats(
            self.name,
            [
                minus(h, before[h.name]) if h.name in before and before[h.name].form is h.form else h
                for h in self.histograms
            ],
            {name: value.minus(earlier.ssl.get(name, Ssl())) for name, value in self.ssl.items()},
            self.concurrency,
            self.lines,
        )


@dataclass(frozen=True)
class Rate:
    """What lies between two readings."""

    seconds: float
    workers: int
    """0 where the statistics do not say."""
    signs: float
    """RSA signatures a second and CPU of this node, 0 when not given."""


def parse(source: Input) -> Stats:
    """Read a /stats answer. InputError when it is none."""
    start = source.data[:4096].lstrip()
    stats = Stats(source.name)
    if not start:
        raise InputError(f"{source.name} is empty", "no statistic matched the filter, or nothing was piped in")
    if start.startswith((b"usage: /stats", b"unsupported prometheus histogram")):
        raise InputError(
            f"{source.name} is an error message of Envoy's: {start[:80].decode('utf-8', 'replace').splitlines()[0]!r}",
            "ask for /stats?histogram_buckets=detailed",
        )
    if start.startswith((b"<", b"<!DOCTYPE")):
        raise InputError(f"{source.name} is a web page, not statistics", "ask for /stats?histogram_buckets=detailed")
    said = parse_qs(source.query).get("histogram_buckets", [""])[0]
    if start.startswith(b"{") and b'"stats"' in source.data[:65536]:
        _json(source, stats, said)
    else:
        _text(source, stats, said)
    if not stats.lines:
        raise InputError(
            f"{source.name} has no statistics of Envoy's",
            "curl 'http://127.0.0.1:15000/stats?histogram_buckets=detailed'",
        )
    return stats


# -- text and Prometheus ----------------------------------------------------------------------------------------------


def _lines(data: bytes) -> Iterator[str]:
    begin = 0
    while begin < len(data):
        end = data.find(b"\n", begin)
        end = len(data) if end < 0 else end
        text = data[begin : min(end, begin + 65536)].decode("utf-8", "replace").rstrip("\r")
        yield printable(text)
        begin = end + 1


def _text(source: Input, stats: Stats, said: str) -> None:
    prometheus = _Prometheus()
    detailed = ""
    for line in _lines(source.data):
        if line.startswith(("#", "\x00")) or not line.strip():
            continue
        if line.startswith("  ") and detailed:
            key, _, rest = line.strip().partition("=")
            if key == "totals":
                points = tuple((float(m[1]), int(m[3])) for m in _BIN.finditer(rest) if _number(m[1]) is not None)
                _add(stats, detailed, Form.EXACT, points)
            continue
        detailed = ""
        name, colon, rest = line.rpartition(": ") if ": " in line else line.partition(":")
        if "{" in line or not colon:
            stats.lines += prometheus.take(line, stats)
            continue
        name = name.strip()
        # A histogram's value has no ": " in it, a name may (the secret kubernetes://x has no space).
        if _QUEUE.search(name) and not _COUNTER.search(name):
            stats.lines += 1
            detailed = _histogram_line(stats, name, rest, said)
        else:
            stats.lines += _counter(stats, name, rest.strip())
    prometheus.finish(stats)


def _histogram_line(stats: Stats, name: str, rest: str, said: str) -> str:
    """Take a histogram's line; its name when the bins follow on the next lines."""
    buckets = [(m[1], int(m[3])) for m in _BUCKET.finditer(rest)]
    if buckets:
        points = tuple((float(bound), count) for bound, count in buckets if _number(bound) is not None)
        _add(stats, name, _form(said, points), points)
    elif rest.strip().startswith("P0("):
        _add(stats, name, Form.SUMMARY, ())
    elif "No recorded values" in rest:
        _add(stats, name, Form.EXACT, ())
    else:
        return name
    return ""


def _form(said: str, points: tuple[tuple[float, int], ...]) -> Form:
    if said in ("cumulative", "disjoint"):
        return Form(said)
    return tell_form(points)


def _add(
    stats: Stats,
    name: str,
    form: Form,
    points: tuple[tuple[float, int], ...],
    total: int | None = None,
    listener: str = "",
    cluster: str = "",
) -> None:
    match = _QUEUE.search(name)
    if match is None or len(stats.histograms) >= _MOST:
        return
    cluster = cluster or match["cluster"] or ""
    listener = "" if cluster else listener or match["listener"] or ""
    algorithm = match["algorithm"]
    stats.histograms.append(
        Histogram(_series(listener, cluster, algorithm), listener, algorithm, form, points, total, cluster)
    )


def _series(listener: str, cluster: str, algorithm: str) -> str:
    """What tells one series from another, in one reading and between two."""
    return f"cluster {cluster} {algorithm}" if cluster else f"{listener} {algorithm}"


def _counter(stats: Stats, name: str, text: str) -> bool:
    if not text.isdigit() or len(text) > 18:
        return bool(re.fullmatch(r"[\w.:/-]{1,400}", name) and re.fullmatch(r"[-\w.\"() ,%]{1,400}", text))
    value = int(text)
    if name == "server.concurrency":
        stats.concurrency = value
    queue = _COUNTER.search(name)
    if queue is not None:
        scope = (queue["listener"] or "", queue["cluster"] or "", queue["algorithm"])
        _size_counter(stats, scope, int(queue["size"]), value)
    ssl = _SSL.fullmatch(name)
    if ssl is not None and len(stats.ssl) < _MOST:
        _ssl(stats.ssl.setdefault(ssl["listener"], Ssl()), ssl["what"], value)
    return True


def _size_counter(stats: Stats, scope: _Series, size: int, value: int) -> None:
    listener, cluster, algorithm = scope
    name = _series(listener, cluster, algorithm)
    for index, known in enumerate(stats.histograms):
        if known.name == name and known.form is Form.COUNTERS:
            stats.histograms[index] = replace(known, points=(*known.points, (float(size), value)))
            return
    points = ((float(size), value),)
    stats.histograms.append(Histogram(name, listener, algorithm, Form.COUNTERS, points, cluster=cluster))


def _ssl(ssl: Ssl, what: str, value: int) -> None:
    if what == "handshake":
        ssl.handshakes = value
    elif what == "session_reused":
        ssl.reused = value
    elif what == "connection_error":
        ssl.errors = value
    else:
        for prefix, counts in (("ciphers.", ssl.ciphers), ("sigalgs.", ssl.sigalgs), ("versions.", ssl.versions)):
            if what.startswith(prefix) and len(counts) < 100:
                counts[what.removeprefix(prefix)[:80]] = value


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


class _Prometheus:
    """Lines of the Prometheus form, put together once all are seen."""

    def __init__(self) -> None:
        self.buckets: dict[_Series, dict[float, int]] = {}
        self.totals: dict[_Series, int] = {}
        self.summaries: set[_Series] = set()

    def take(self, line: str, stats: Stats) -> bool:
        match = _PROMETHEUS.match(line)
        value = _number(match["value"]) if match else None
        if match is None or value is None or value != value or abs(value) > 1e18:
            return False
        labels = dict(_LABEL.findall(match["labels"] or ""))
        listener = labels.get("envoy_listener_address") or labels.get("listener_address") or ""
        name = match["name"]
        cluster = labels.get("envoy_cluster_name") or labels.get("cluster_name") or ""
        if not cluster and "_cluster_cryptomb_" in name:
            cluster = "without a name"
        queue = re.fullmatch(r".*cryptomb_(rsa|ecdsa)_queue_sizes(_bucket|_count|_sum)?", name)
        if queue is not None:
            key = ("" if cluster else listener, cluster, queue[1])
            if queue[2] == "_bucket" and (bound := _number(labels.get("le", ""))) is not None:
                if len(self.buckets) < _MOST:
                    self.buckets.setdefault(key, {})[bound] = int(value)
            elif queue[2] == "_count":
                self.totals[key] = int(value)
            elif "quantile" in labels:
                self.summaries.add(key)
        elif name == "envoy_server_concurrency":
            stats.concurrency = int(value)
        elif name.startswith("envoy_listener_ssl_") and listener and len(stats.ssl) < _MOST:
            what = name.removeprefix("envoy_listener_ssl_")
            for plural, label in (
                ("ciphers", "envoy_ssl_cipher"),
                ("sigalgs", "envoy_ssl_sigalg"),
                ("versions", "envoy_ssl_version"),
            ):
                if what == plural and label in labels:
                    what = f"{plural}.{labels[label]}"
            _ssl(stats.ssl.setdefault(listener, Ssl()), what, int(value))
        return True

    def finish(self, stats: Stats) -> None:
        for (listener, cluster, algorithm), bounds in self.buckets.items():
            points = tuple(sorted((bound, count) for bound, count in bounds.items() if bound != float("inf")))
            total = bounds.get(float("inf"), self.totals.get((listener, cluster, algorithm)))
            _add(stats, f"cryptomb_{algorithm}_queue_sizes", Form.CUMULATIVE, points, total, listener, cluster)
        for listener, cluster, algorithm in sorted(self.summaries - set(self.buckets)):
            _add(stats, f"cryptomb_{algorithm}_queue_sizes", Form.SUMMARY, (), None, listener, cluster)


# -- JSON -------------------------------------------------------------------------------------------------------------


def _json(source: Input, stats: Stats, said: str) -> None:
    document = Document(source.name, source.data)
    for key, value in document.members(document.top):
        if key != "stats" or document.kind(value) != "[":
            continue
        for at in document.elements(value):
            entry = document.load(at)
            if isinstance(entry, dict):
                stats.lines += 1
                _json_entry(entry, stats, said)
    end = document.skip(document.top)
    if source.data[end : end + 4096].strip():
        raise document.fail(end, "something follows the statistics")


def _json_entry(entry: dict[str, Any], stats: Stats, said: str) -> None:
    name, value = entry.get("name"), entry.get("value")
    name = printable(name[:400]) if isinstance(name, str) else None
    if isinstance(name, str) and isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**18:
        _counter(stats, name, str(value))
    found = entry.get("histograms")
    if isinstance(found, list):  # cumulative or disjoint
        for item in found:
            if isinstance(item, dict):
                _json_buckets(item, stats, said)
    elif isinstance(found, dict):
        for item in found.get("details") or []:
            if isinstance(item, dict) and isinstance(item.get("name"), str):
                _add(stats, item["name"], Form.EXACT, _points(item.get("totals"), "lower_bound", "count"))
        for item in found.get("computed_quantiles") or []:
            if isinstance(item, dict) and isinstance(item.get("name"), str):
                _add(stats, item["name"], Form.SUMMARY, ())


def _json_buckets(item: dict[str, Any], stats: Stats, said: str) -> None:
    if not isinstance(item.get("name"), str):
        return
    if "totals" in item:
        _add(stats, item["name"], Form.EXACT, _points(item["totals"], "lower_bound", "count"))
        return
    points = _points(item.get("buckets"), "upper_bound", "cumulative")
    _add(stats, item["name"], _form(said, points), points)


def _points(value: Any, bound: str, count: str) -> tuple[tuple[float, int], ...]:
    points = []
    for item in value if isinstance(value, list) else []:
        if (
            isinstance(item, dict)
            and isinstance(item.get(bound), int | float)
            and isinstance(item.get(count), int | float)
        ):
            points.append((float(item[bound]), int(item[count])))
    return tuple(sorted(points))
