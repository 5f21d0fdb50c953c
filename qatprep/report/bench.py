"""The benchmarks' results, for people and for programs."""

from __future__ import annotations

import statistics
from typing import Any

from rich.text import Text

from qatprep.measure.aes import AesBench
from qatprep.measure.bench import QueueBench, RsaBench
from qatprep.report.console import Console
from qatprep.report.marks import mark
from qatprep.report.rows import columns
from qatprep.text import plural


def rsa_document(bench: RsaBench) -> dict[str, Any]:
    return {
        "schema": "qatprep.bench-rsa/1",
        "cpu": bench.cpu,
        "cpus": bench.cpus,
        "rounds": bench.rounds,
        "seconds": bench.seconds,
        "baseline": bench.baseline,
        "interrupted": bench.interrupted,
        "results": [
            {
                "key": row.key,
                "workers": row.workers,
                "peer": row.peer,
                "provider": row.provider,
                "detail": row.detail,
                "median": row.median,
                "ratio": bench.ratio(row),
                "rates": list(row.rates),
                "trouble": row.trouble,
            }
            for row in bench.rows
        ],
        "absent": list(bench.absent),
        "notes": list(bench.notes),
    }


def print_rsa(console: Console, bench: RsaBench) -> None:
    keys = list(dict.fromkeys(row.key for row in bench.rows))
    for workers in dict.fromkeys(row.workers for row in bench.rows):
        console.say(Text(f"signatures a second, {plural(workers, 'worker')}", "id"))
        peers = dict.fromkeys(row.peer for row in bench.rows if row.workers == workers)
        cells: list[list[Text | str]] = [[peer, *(_cell(bench, key, workers, peer) for key in keys)] for peer in peers]
        names = [key.upper() for key in keys]
        columns(console, ("", *names), cells, names)
    console.print(
        Text(
            f"Medians of {bench.rounds} rounds of {bench.seconds:g} s in which all took turns; ± is half the spread. "
            + (f"x is against {bench.baseline}. " if bench.baseline else "")
            + f"{bench.cpu}, {bench.cpus} CPUs.",
            "dim",
        )
    )
    for peer, detail in dict.fromkeys((row.peer, row.detail) for row in bench.rows):
        console.say(detail, Text(f"{peer}: ", "id"))
    _tell(console, bench.notes, bench.absent, bench.interrupted)
    for row in bench.rows:
        if row.trouble:
            console.print(Text(f"{row.peer}, {row.key}, {row.workers}: {row.trouble}", "fail"))


def _cell(bench: RsaBench, key: Any, workers: int, peer: str) -> Text:
    row = bench.find(key, workers, peer)
    if row is None:
        return Text("-", "dim")
    if row.median is None:
        return Text("failed" if row.trouble else "-", "fail" if row.trouble else "dim")
    ratio, spread = bench.ratio(row), row.spread
    cell = Text(f"{row.median:,.0f}")
    if spread is not None:
        cell.append(f" ±{spread:.0%}", "dim")
    if ratio is not None and peer != bench.baseline:
        cell.append(f"  {ratio:.2f}x", "ok" if ratio >= 1 else "warn")
    return cell


def _tell(console: Console, notes: tuple[str, ...], absent: tuple[str, ...], interrupted: bool) -> None:
    print_notes(console, notes)
    for what in absent:
        console.print(Text(f"not measured: {what}", "dim"))
    if interrupted:
        console.print(Text("interrupted: this is what was known by then", "warn"))


def aes_document(bench: AesBench) -> dict[str, Any]:
    return {
        "schema": "qatprep.bench-aes/1",
        "cpu": bench.cpu,
        "openssl": bench.openssl,
        "rounds": bench.rounds,
        "interrupted": bench.interrupted,
        "missing": list(bench.missing),
        "results": [
            {
                "cipher": cell.cipher,
                "size": cell.size,
                "vector": list(cell.vector),
                "plain": list(cell.plain),
                "speedup": cell.speedup,
            }
            for cell in bench.cells
        ],
        "notes": list(bench.notes),
    }


def print_notes(console: Console, notes: tuple[str, ...]) -> None:
    for note in notes:
        console.say(note, mark(console, "warn") + Text(" "))


def print_aes(console: Console, bench: AesBench) -> None:
    """Without its notes, which are said before it is measured."""
    ciphers = list(dict.fromkeys(cell.cipher for cell in bench.cells))
    sizes = list(dict.fromkeys(cell.size for cell in bench.cells))
    console.say(Text("speed-up of AES-GCM by vector AES (GB/s with and without)", "id"))
    lines: list[list[Text | str]] = []
    for size in sizes:
        row: list[Text | str] = [str(size)]
        for cipher in ciphers:
            cell = bench.find(cipher, size)
            if cell is None or cell.speedup is None:
                row.append(Text("-", "dim"))
                continue
            text = Text(f"{cell.speedup:.2f}x")
            text.append(f"  {_giga(cell.vector)} / {_giga(cell.plain)}", "dim")
            row.append(text)
        lines.append(row)
    header = ("bytes", *(cipher.upper() for cipher in ciphers))
    columns(console, header, lines, header)
    console.print(
        Text(f"Medians of {bench.rounds} interleaved rounds of 1 s. {bench.version}. {bench.cpu}, one core.", "dim")
    )
    _tell(console, (), (), bench.interrupted)


def _giga(values: tuple[float, ...]) -> str:
    return f"{statistics.median(values) / 1e9:.2f}" if values else "-"


def queue_document(bench: QueueBench) -> dict[str, Any]:
    return {
        "schema": "qatprep.bench-queue/1",
        "key": bench.key,
        "workers": bench.workers,
        "library": bench.library,
        "share": bench.share,
        "cpu_share": bench.cpu_share,
        "engine": [one.rate for one in bench.engine],
        "bare": [one.rate for one in bench.bare],
    }


def print_queue(console: Console, bench: QueueBench) -> None:
    workers = plural(bench.workers, "worker")
    rates = [statistics.median(one.rate for one in side) for side in (bench.engine, bench.bare)]
    console.print(
        f"{bench.key.upper()}, {workers}, {bench.library}: the queue kept full does {rates[0]:,.0f}/s, the bare loop "
        f"{rates[1]:,.0f}/s: {bench.share:.1%} (by CPU time {bench.cpu_share:.1%}; medians of {len(bench.engine)} "
        "rounds' ratios)"
    )
