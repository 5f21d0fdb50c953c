"""From measured points to a recommendation. Pure: the same points give the same advice.

Two things are weighed. CPU: a queue of eight costs the same time whether one lane is used or all, so that crypto_mb
saves CPU only when its queues are full enough, and costs more than plain signing when they are not. Latency: a queue
waits for its timer at low load, where signing at once takes a fraction of a millisecond; under high load plain signing
cannot keep up, and its latency is the backlog's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qatprep.crypto.load import Measured

LATE = 1.05
SLACK = 0.05
"""How much longer than the load its work may take, as a factor and in seconds: beyond that there was a backlog."""
COMFORT = 0.7
"""Without a target load the advice is for this share of what plain signing can do: from about there on a worker that
has other work, too, wants help; far above it every delay does the same, because queues fill before any timer fires."""
SAVING = 0.15
"""Share of CPU time that acceleration must save to be worth another moving part, where plain signing keeps up too."""
WORTH = 0.10
"""Share of all workers' time that it must free to be worth a longer latency: saving half of next to nothing is not."""
NEARLY = 1.10
"""Settings within this factor of the least CPU time count as equal; among them the lower latency wins."""
BUSY = 0.75
"""Use of its capacity beyond which plain signing leaves a worker little room for anything else."""


@dataclass(frozen=True)
class Setting:
    provider: str
    """sync, cryptomb or qat."""
    poll_delay_ms: int
    """0 for sync."""

    @property
    def label(self) -> str:
        return "no provider" if self.provider == "sync" else f"{self.provider} {self.poll_delay_ms} ms"

    @property
    def order(self) -> tuple[int, int]:
        return ("sync", "cryptomb", "qat").index(self.provider), self.poll_delay_ms


@dataclass(frozen=True)
class Point:
    setting: Setting
    offered: float
    """Operations a second, over all workers."""
    seconds: float
    """How long the load was."""
    result: Measured

    @property
    def keeps_up(self) -> bool:
        """Whether all results were there when the load ended, or as soon after as the setting's timer allows."""
        allowed = self.seconds * LATE + SLACK + self.setting.poll_delay_ms / 1000
        return self.result.completed > 0 and self.result.unfinished == 0 and self.result.seconds <= allowed

    @property
    def p99(self) -> float:
        return self.result.latency.p99 if self.result.latency else float("inf")

    @property
    def p50(self) -> float:
        return self.result.latency.p50 if self.result.latency else float("inf")

    @property
    def cpu(self) -> float:
        """CPU seconds an operation."""
        return self.result.cpu_per_operation


@dataclass(frozen=True)
class Goal:
    rate: float = 0.0
    """Operations a second the node must stand; 0 for not given."""
    p99: float = 0.0
    """Seconds; 0 for not given."""


@dataclass(frozen=True)
class BreakEven:
    """The load from which a setting takes less CPU time than plain signing, or plain signing cannot keep up."""

    setting: Setting
    rate: float | None
    """Operations a second; None when that happens at none of the measured loads."""


@dataclass(frozen=True)
class Advice:
    provider: str
    """none, cryptomb or qat."""
    poll_delay_ms: int | None
    at: float
    """The load the advice is for, operations a second; 0 without any."""
    reason: str
    break_even: tuple[BreakEven, ...]
    warnings: tuple[str, ...] = ()


def advise(points: Sequence[Point], capacities: Mapping[str, float], goal: Goal) -> Advice:
    """What to do at the goal's load, or, without one, at the load from which plain signing gets tight."""
    breaks = tuple(_break_even(points, setting) for setting in _settings(points) if setting.provider != "sync")
    load = _load(points, goal.rate or COMFORT * capacities.get("sync", 0.0))
    if load is None:
        return Advice("none", None, 0.0, "nothing was measured", breaks, ("no point of the sweep is complete",))
    here = [point for point in points if point.offered == load]
    warnings = _warnings(points, capacities, goal, load)
    sync = next((p for p in here if p.setting.provider == "sync"), None)
    able = [p for p in here if p.setting.provider != "sync" and _good(p, goal)]
    what = f"at {load:.0f} operations/s"
    if not [p for p in here if p.setting.provider != "sync"]:
        return Advice("none", None, load, f"there is no accelerator to compare with {what}", breaks, warnings)
    if not able:
        return Advice("none", None, load, _nothing_works(here, sync, goal, what), breaks, warnings)
    best = _best(able)
    if sync is None or not _good(sync, goal):
        return _accelerate(best, load, f"{what} {_shortfall(sync, goal)}; {_price(best)}", breaks, warnings)
    saving = 1 - best.cpu / sync.cpu if sync.cpu else 0.0
    use = load / capacities["sync"] if capacities.get("sync") else 0.0
    freed = use * saving
    if saving >= SAVING and (freed >= WORTH or best.p99 <= sync.p99):
        reason = (
            f"{what} {best.setting.label} takes {saving:.0%} less CPU time than signing without a provider "
            f"({_us(best.cpu)} instead of {_us(sync.cpu)} an operation); {_price(best)}, "
            f"without a provider {_ms(sync.p99)}"
        )
        return _accelerate(best, load, reason, breaks, warnings)
    if saving >= SAVING:
        cpu = f"the best setting ({best.setting.label}) would free only {freed:.0%} of the workers' time"
    elif saving > 0:
        cpu = f"the best setting ({best.setting.label}) saves only {saving:.0%} of CPU time"
    else:
        cpu = f"the best setting ({best.setting.label}) takes {-saving:.0%} more CPU time: its queues stay too empty"
    reason = (
        f"{what} signing without a provider keeps up, using {use:.0%} of what it can do, with a p99 of "
        f"{_ms(sync.p99)}; {cpu} and has a p99 of {_ms(best.p99)}"
    )
    if use > BUSY:
        warnings += (f"signing alone would take {use:.0%} of the workers' time: little is left for anything else",)
    return Advice("none", None, load, reason, breaks, warnings)


def _accelerate(
    best: Point, load: float, reason: str, breaks: tuple[BreakEven, ...], warnings: tuple[str, ...]
) -> Advice:
    return Advice(best.setting.provider, best.setting.poll_delay_ms, load, reason, breaks, warnings)


def _settings(points: Sequence[Point]) -> list[Setting]:
    return sorted({point.setting for point in points}, key=lambda setting: setting.order)


def _load(points: Sequence[Point], wanted: float) -> float | None:
    """The measured load nearest to the wanted one, among those at which both sides were measured."""
    with_sync = {p.offered for p in points if p.setting.provider == "sync"}
    both = with_sync & {p.offered for p in points if p.setting.provider != "sync"}
    return min(both or with_sync, key=lambda load: (abs(load - wanted), load), default=None)


def _good(point: Point, goal: Goal) -> bool:
    return point.keeps_up and (not goal.p99 or point.p99 <= goal.p99)


def _best(points: Sequence[Point]) -> Point:
    """Least CPU time; among nearly equal ones the lowest p99, then the shorter delay."""
    least = min(point.cpu for point in points)
    near = [point for point in points if point.cpu <= least * NEARLY]
    return min(near, key=lambda point: (round(point.p99, 4), point.setting.order))


def _break_even(points: Sequence[Point], setting: Setting) -> BreakEven:
    """The lowest measured load from which on, at every higher one, the setting is the better one."""
    sync = {p.offered: p for p in points if p.setting.provider == "sync"}
    ours = {p.offered: p for p in points if p.setting == setting}
    found = None
    for load in sorted(set(sync) & set(ours), reverse=True):
        mine, other = ours[load], sync[load]
        if not mine.keeps_up:
            continue
        if other.keeps_up and mine.cpu >= other.cpu:
            break
        found = load
    return BreakEven(setting, found)


def _warnings(points: Sequence[Point], capacities: Mapping[str, float], goal: Goal, load: float) -> tuple[str, ...]:
    said = []
    if goal.rate and abs(load - goal.rate) > 0.02 * goal.rate:
        said.append(f"the advice is for {load:.0f} operations/s, the nearest measured load to {goal.rate:.0f}")
    sync = capacities.get("sync", 0.0)
    for provider, capacity in capacities.items():
        if provider != "sync" and capacity < sync:
            said.append(f"{provider} can do {capacity:.0f}/s at most here, less than signing without it ({sync:.0f}/s)")
    return tuple(said)


def _shortfall(sync: Point | None, goal: Goal) -> str:
    if sync is None:
        return "nothing else was measured"
    if not sync.keeps_up:
        return "signing without a provider cannot keep up"
    return f"signing without a provider has a p99 of {_ms(sync.p99)}, above the {_ms(goal.p99)} asked for"


def _nothing_works(here: Sequence[Point], sync: Point | None, goal: Goal, what: str) -> str:
    if sync is not None and _good(sync, goal):
        return (
            f"{what} signing without a provider does what is asked for (p99 {_ms(sync.p99)}), "
            "and no setting of a provider does"
        )
    if not any(point.keeps_up for point in here):
        return f"{what} nothing keeps up: more workers or nodes are needed"
    low = min(here, key=lambda point: point.p99)
    return f"{what} no setting stays below a p99 of {_ms(goal.p99)}; the lowest is {_ms(low.p99)} ({low.setting.label})"


def _price(point: Point) -> str:
    full = f", {point.result.full_batches:.0%} in full queues" if point.setting.provider == "cryptomb" else ""
    return f"its p50 is {_ms(point.p50)}, its p99 {_ms(point.p99)}{full}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} us"
