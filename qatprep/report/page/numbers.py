"""Measurements that a user hands in, as bars: what `bench rsa`, `bench aes` and `tune` print with --output json."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from qatprep import json_input
from qatprep.errors import InputError
from qatprep.host.user_files import read_file
from qatprep.schema_check import errors
from qatprep.text import gated, plural

_LIMIT = 4 << 20
"""Bytes of one file."""
_HINT = "make one with `qatprep bench rsa --output json > FILE` or `qatprep tune --save FILE`"


class Bar(NamedTuple):
    label: str
    value: float
    text: str
    accelerated: bool
    """Whether it is of QAT, CryptoMB or vector AES: drawn in the other colour."""


class Chart(NamedTuple):
    title: str
    about: str
    """Where and how it was measured."""
    bars: tuple[Bar, ...]
    advice: str = ""


def charts(paths: list[str]) -> tuple[Chart, ...]:
    """Every chart of these files. InputError for a file that is none of these documents."""
    return tuple(chart for path in paths for chart in _read(path))


def _read(path: str) -> list[Chart]:
    data = read_file(path, _LIMIT, "the measurement")
    try:
        document = gated(json_input.loads(data))
    except ValueError as e:
        raise InputError(f"{path!r} is not JSON: {e}", _HINT) from e
    schema = document.get("schema") if isinstance(document, dict) else None
    make = _KINDS.get(schema) if isinstance(schema, str) else None
    if make is None:
        raise InputError(f"{path!r} has the schema {str(schema)[:60]!r}, which is not a measurement", _HINT)
    name = str(schema).removeprefix("qatprep.").partition("/")[0]
    wrong, _ = errors(name, document)
    if wrong:
        raise InputError(f"{path!r} is not a {schema} document: {wrong[0].text}", _HINT)
    return list(make(document))


def _rsa(document: Mapping[str, Any]) -> Iterator[Chart]:
    about = f"{document['cpu']}; medians of {plural(document['rounds'], 'round')} of {document['seconds']:g} s"
    rows = [row for row in document["results"] if row["median"] is not None]
    for key, workers in dict.fromkeys((row["key"], row["workers"]) for row in rows):
        bars = [
            Bar(row["peer"], row["median"], f"{row['median']:,.0f}", row["provider"] in ("qat", "cryptomb"))
            for row in rows
            if (row["key"], row["workers"]) == (key, workers)
        ]
        yield Chart(f"{key.upper()} signatures per second, {plural(workers, 'worker')}", about, _sorted(bars))


def _aes(document: Mapping[str, Any]) -> Iterator[Chart]:
    about = f"{document['cpu']}, {document['openssl']}; 1 is without vector AES"
    rows = [row for row in document["results"] if row["speedup"] is not None]
    for cipher in dict.fromkeys(row["cipher"] for row in rows):
        mine = [row for row in rows if row["cipher"] == cipher]
        bars = [Bar(f"{row['size']:,} bytes", row["speedup"], f"{row['speedup']:.2f}x", True) for row in mine]
        yield Chart(f"{cipher.upper()}: speed-up by vector AES", about, tuple(bars))


def _tune(document: Mapping[str, Any]) -> Iterator[Chart]:
    chosen = document["recommendation"]
    at = chosen["at_rate"]
    points = [p for p in document["points"] if p["offered"] == at and p["latency_ms"] is not None]
    name = "do not accelerate" if chosen["provider"] == "none" else chosen["provider"]
    delay = f" with a poll delay of {chosen['poll_delay_ms']} ms" if chosen["poll_delay_ms"] else ""
    advice = f"Advice of tune: {name}{delay}. {chosen['reason']}"
    load = f"{document['key'].upper()}, {at:,.0f} operations per second" if at else document["key"].upper()
    about = f"{document['cpu']}; {load}, {plural(document['workers'], 'worker')}"
    cpu = [Bar(_setting(p), p["cpu_us_per_operation"], f"{p['cpu_us_per_operation']:.0f}", _fast(p)) for p in points]
    p99 = [Bar(_setting(p), p["latency_ms"]["p99"], f"{p['latency_ms']['p99']:.2f}", _fast(p)) for p in points]
    yield Chart("CPU time per operation, microseconds", about, tuple(cpu), advice)
    yield Chart("p99 latency, milliseconds", about, tuple(p99))


def _setting(point: Mapping[str, Any]) -> str:
    if point["provider"] == "sync":
        return "no provider"
    late = "" if point["keeps_up"] else ", does not keep up"
    return f"{point['provider']}, {point['poll_delay_ms']} ms{late}"


def _fast(point: Mapping[str, Any]) -> bool:
    return bool(point["provider"] != "sync")


def _sorted(bars: list[Bar]) -> tuple[Bar, ...]:
    return tuple(sorted(bars, key=lambda bar: -bar.value))


_KINDS: dict[str, Callable[[Mapping[str, Any]], Iterator[Chart]]] = {
    "qatprep.bench-rsa/1": _rsa,
    "qatprep.bench-aes/1": _aes,
    "qatprep.tune/1": _tune,
}
