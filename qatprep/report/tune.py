"""What tune found, for people and for programs. The document is what `qatprep render --tune` reads."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from qatprep.crypto.load import envoy_histogram
from qatprep.measure.advise import Advice, Point, Setting
from qatprep.measure.tune import Tuning
from qatprep.report.console import Console
from qatprep.report.rows import columns
from qatprep.text import plural


def tune_document(tuning: Tuning) -> dict[str, Any]:
    advice = tuning.advice
    return {
        "schema": "qatprep.tune/1",
        "cpu": tuning.cpu,
        "cpus": tuning.cpus,
        "key": tuning.key,
        "workers": tuning.workers,
        "certificates": tuning.certificates,
        "tick_ms": tuning.tick_ms,
        "seconds": tuning.seconds,
        "goal": {"rate": tuning.goal.rate or None, "p99_ms": tuning.goal.p99 * 1000 or None},
        "interrupted": tuning.interrupted,
        "recommendation": {
            "provider": advice.provider,
            "poll_delay_ms": advice.poll_delay_ms,
            "at_rate": advice.at or None,
            "reason": advice.reason,
            "warnings": list(advice.warnings),
        },
        "break_even": [
            {"provider": b.setting.provider, "poll_delay_ms": b.setting.poll_delay_ms, "rate": b.rate}
            for b in advice.break_even
        ],
        "engines": [
            {"provider": engine.provider, "library": engine.detail, "capacity": engine.capacity}
            for engine in tuning.engines
        ],
        "absent": list(tuning.absent),
        "failed": list(tuning.failed),
        "points": [_point(point) for point in tuning.points],
    }


def _point(point: Point) -> dict[str, Any]:
    result, latency = point.result, point.result.latency
    return {
        "provider": point.setting.provider,
        "poll_delay_ms": point.setting.poll_delay_ms or None,
        "offered": point.offered,
        "keeps_up": point.keeps_up,
        "completed": result.completed,
        "unfinished": result.unfinished,
        "latency_ms": {name: getattr(latency, name) * 1000 for name in ("mean", "p50", "p90", "p99", "worst")}
        if latency
        else None,
        "cpu_us_per_operation": point.cpu * 1e6,
        "full_batches": result.full_batches if point.setting.provider == "cryptomb" else None,
        "queue_sizes": envoy_histogram(result.sizes) if point.setting.provider == "cryptomb" else "",
    }


def print_tune(console: Console, tuning: Tuning, *, every: bool = False) -> None:
    """The recommendation, the points at its load (or `every` point), and where acceleration begins to pay."""
    for engine in tuning.engines:
        name = "no provider" if engine.provider == "sync" else engine.provider
        console.say(f"{engine.detail}, at most {engine.capacity:,.0f}/s", Text(f"{name}: ", "id"))
    for what in tuning.failed:
        console.print(Text(f"failed, not compared: {what}", "fail"))
    for what in tuning.absent:
        console.print(Text(f"not compared: {what}", "dim"))
    loads = sorted({point.offered for point in tuning.points})
    for load in loads if every else [load for load in loads if load == tuning.advice.at]:
        _print_points(console, [p for p in tuning.points if p.offered == load], load, tuning)
    if not every and len(loads) > 1:
        console.print(Text(f"{len(loads)} loads were measured: --all shows them, --chart draws them", "dim"))
    if any(engine.provider == "cryptomb" for engine in tuning.engines):
        console.print(Text(_timer(tuning), "dim"))
    _breaks(console, tuning.advice, loads)
    _recommend(console, tuning)


def _timer(tuning: Tuning) -> str:
    hz, contexts = round(1000 / tuning.tick_ms), tuning.certificates
    return (
        f"CryptoMB waits by Envoy's event loop: whole milliseconds, checked each tick of {tuning.tick_ms:.3g} ms "
        f"(HZ={hz}); {plural(contexts, 'certificate')}, a queue each on every worker"
    )


def _print_points(console: Console, points: list[Point], load: float, tuning: Tuning) -> None:
    workers = plural(tuning.workers, "worker")
    console.say(Text(f"{tuning.key.upper()}, {load:,.0f} operations/s, {workers}", "id"))
    lines = []
    for point in points:
        chosen = (tuning.advice.provider, tuning.advice.poll_delay_ms) == (
            point.setting.provider if point.setting.provider != "sync" else "none",
            point.setting.poll_delay_ms or None,
        )
        full = f"{point.result.full_batches:.0%}" if point.setting.provider == "cryptomb" else ""
        style = "ok" if chosen and load == tuning.advice.at else "" if point.keeps_up else "dim"
        cells = (
            point.setting.label,
            f"{point.p50 * 1000:.2f}",
            f"{point.p99 * 1000:.2f}",
            f"{point.cpu * 1e6:.0f}",
            full,
            "" if point.keeps_up else "does not keep up",
        )
        lines.append([Text(cell, style) for cell in cells])
    numbers = ("p50 ms", "p99 ms", "CPU us/op", "in full queues")
    columns(console, ("", *numbers, ""), lines, numbers)


def _breaks(console: Console, advice: Advice, loads: list[float]) -> None:
    for found in advice.break_even:
        console.print(Text(f"{found.setting.label}: {_break(found.setting, found.rate, loads)}", "dim"))


def _break(setting: Setting, rate: float | None, loads: list[float]) -> str:
    if rate is None:
        return "does not pay at any measured load"
    if loads and rate == loads[0]:
        return f"takes less CPU than no provider at every measured load (from {rate:,.0f}/s)"
    return f"takes less CPU than no provider from about {rate:,.0f}/s on"


def _recommend(console: Console, tuning: Tuning) -> None:
    advice = tuning.advice
    if advice.provider == "none":
        console.print(Text.assemble(("do not accelerate", "warn"), f": {advice.reason}"))
    else:
        what = f"{advice.provider} with a poll delay of {advice.poll_delay_ms} ms"
        console.print(Text.assemble((what, "ok"), f": {advice.reason}"))
    for warning in advice.warnings:
        console.print(Text(warning, "warn"))
    if tuning.interrupted:
        console.print(Text("interrupted: this is what was known by then", "warn"))
