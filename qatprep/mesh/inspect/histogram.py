"""CryptoMB's queue sizes: from Envoy's buckets, in whichever form, to how often how many signatures went together.

A queue holds one to eight (crypto_mb works on eight at once). What a bucket means changed in Envoy 1.38.0, whose
changelog has "Updated libcircllhist to 0.3.2, which changes how bucket bounds are interpreted": before, the bucket with
the bound 2 counts what is below 2, from then on also what is equal (run on 1.36, 1.37, 1.38, 1.39 and 1.40). Intel's
guide has the old meaning. Bounds between the sizes (1.5, 2.5 ...) and the `detailed` form mean the same on both sides.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

SIZES = range(1, 9)
CHANGED = (1, 38)
"""The first Envoy whose bounds are inclusive."""

Version = tuple[int, int]


class Form(StrEnum):
    EXACT = "detailed"
    """Bins of single values."""
    CUMULATIVE = "cumulative"
    DISJOINT = "disjoint"
    BUCKETS = "buckets"
    """Cumulative or disjoint, and the text does not say which."""
    SUMMARY = "summary"
    """Quantiles only: no sizes can be had from it."""
    COUNTERS = "counters"
    """One counter a size, as Envoy 1.20 had."""


@dataclass(frozen=True)
class Histogram:
    """One histogram as Envoy shows it."""

    name: str
    listener: str
    algorithm: str
    """rsa or ecdsa."""
    form: Form
    points: tuple[tuple[float, int], ...]
    """EXACT and COUNTERS: value and count. Else: upper bound and count, in ascending order."""
    total: int | None = None
    """All that was counted, where the form says so."""
    cluster: str = ""
    """The cluster whose TLS context it is, as a client; then `listener` is ""."""

    @property
    def where(self) -> str:
        """For people. Envoy before 1.21 has no scope in the name."""
        return f"cluster {self.cluster}" if self.cluster else self.listener or "this Envoy"


@dataclass(frozen=True)
class Group:
    """Queues of `low` to `high` signatures, `count` times."""

    low: int
    high: int
    count: int

    @property
    def label(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


@dataclass(frozen=True)
class Sizes:
    groups: tuple[Group, ...]
    exact: bool
    """Every size has a group of its own."""
    how: str
    """Which reading of the bounds was used, and why."""
    doubt: str = ""
    """What may be wrong with it, "" when nothing."""

    @property
    def total(self) -> int:
        return sum(group.count for group in self.groups)

    @property
    def full(self) -> float | None:
        """The share of batches with eight, None where eight is not a bucket of its own or nothing was counted."""
        last = self.groups[-1] if self.groups else None
        if last is None or last.low != 8 or not self.total:
            return None
        return last.count / self.total

    @property
    def single(self) -> float | None:
        """The share of batches with one."""
        first = self.groups[0] if self.groups else None
        if first is None or first.high != 1 or not self.total:
            return None
        return first.count / self.total

    @property
    def mean(self) -> float | None:
        """Signatures a batch, None where groups hide them."""
        if not self.exact or not self.total:
            return None
        return sum(group.low * group.count for group in self.groups) / self.total


@dataclass(frozen=True)
class Queue:
    """One listener's queue sizes, or why they cannot be had."""

    histogram: Histogram
    sizes: Sizes | None
    why: str = ""


def disjoint(points: tuple[tuple[float, int], ...], form: Form, total: int | None) -> list[tuple[float, float, int]]:
    """(above, bound, count) of each bucket, the last one open-ended where the total says that something is left."""
    buckets = []
    above, before = 0.0, 0
    for bound, count in points:
        buckets.append((above, bound, max(count - before, 0) if form is Form.CUMULATIVE else count))
        above, before = bound, count
    if total is not None:
        rest = total - (before if form is Form.CUMULATIVE else sum(count for _, count in points))
        if rest > 0:
            buckets.append((above, float("inf"), rest))
    return buckets


def tell_form(points: tuple[tuple[float, int], ...]) -> Form:
    """Whether buckets are cumulative or disjoint, where their counts can only be one of the two; else BUCKETS.

    Nothing is ever above 8, so a cumulative series repeats its last value from there on, and a disjoint one is 0 there.
    """
    counts = [count for _, count in points]
    if not any(counts):
        return Form.DISJOINT  # all zero: both say the same
    if any(later < earlier for earlier, later in itertools.pairwise(counts)):
        return Form.DISJOINT
    beyond = [count for bound, count in points if bound > 9]
    if beyond:
        return Form.CUMULATIVE if beyond[-1] else Form.DISJOINT
    return Form.BUCKETS


def sizes(histogram: Histogram, version: Version | None, form: Form | None = None) -> Sizes:
    """The queue sizes of a histogram. ValueError, saying what to do, when they cannot be had from it.

    `form` says what the buckets are where the text does not.
    """
    kind = form if histogram.form is Form.BUCKETS and form is not None else histogram.form
    if kind in (Form.EXACT, Form.COUNTERS):
        return _exact(histogram)
    if kind is Form.SUMMARY:
        raise ValueError("quantiles say nothing of sizes: ask for /stats?histogram_buckets=detailed")
    if kind is Form.BUCKETS:
        raise ValueError(
            "cumulative and disjoint buckets look alike here: say which by --buckets, or ask for "
            "/stats?histogram_buckets=detailed"
        )
    buckets = disjoint(histogram.points, kind, histogram.total)
    open_end = histogram.total is None
    bounds = [bound for bound, _ in histogram.points]
    integers = [bound for bound in bounds if bound == int(bound) and 1 <= bound <= 9]
    if not integers:
        return _grouped(
            buckets, open_end=open_end, inclusive=True, how="bounds between the sizes: the same for every Envoy"
        )
    if version is not None:
        inclusive = version >= CHANGED
        bound = "at most the bound" if inclusive else "less than the bound"
        return _grouped(
            buckets,
            open_end=open_end,
            inclusive=inclusive,
            how=f"Envoy {version[0]}.{version[1]}: a bucket counts {bound}",
        )
    proof = _proof(buckets)
    if proof is not None:
        inclusive, why = proof
        bound = "at most" if inclusive else "less than"
        return _grouped(
            buckets, open_end=open_end, inclusive=inclusive, how=f"{why}: a bucket counts {bound} its bound"
        )
    read = _grouped(
        buckets,
        open_end=open_end,
        inclusive=True,
        how="taken for Envoy 1.38 or later: a bucket counts at most its bound",
    )
    if all(count == 0 for _, _, count in buckets):
        return read
    return Sizes(
        read.groups,
        read.exact,
        read.how,
        "before Envoy 1.38 every size would be one less: give --envoy-version, or ask for histogram_buckets=detailed",
    )


def _exact(histogram: Histogram) -> Sizes:
    counts = dict.fromkeys(SIZES, 0)
    for value, count in histogram.points:
        # A bin is 1/10 wide at this scale, and queue sizes are whole: its lower bound is the size.
        size = round(value)
        counts[min(max(size, 1), 8)] += count
    how = "exact bins" if histogram.form is Form.EXACT else "a counter for each size"
    return Sizes(tuple(Group(size, size, counts[size]) for size in SIZES), True, how)


def _proof(buckets: list[tuple[float, float, int]]) -> tuple[bool, str] | None:
    """What the counts prove of the bounds' meaning, knowing that a queue has one to eight."""
    for above, bound, count in buckets:
        if count and bound == 1:
            return True, "a queue cannot be below 1"
        if count and (above >= 8):
            return False, "a queue cannot be above 8"
    return None


def _grouped(buckets: list[tuple[float, float, int]], *, open_end: bool, inclusive: bool, how: str) -> Sizes:
    groups: list[Group] = []
    for above, bound, count in buckets:
        inside = [s for s in SIZES if (above < s <= bound if inclusive else above <= s < bound)]
        if inside:
            groups.append(Group(inside[0], inside[-1], count))
        elif count and groups:
            # Envoy counted what no queue can be: keep it with the nearest, so that no batch is lost.
            last = groups[-1]
            groups[-1] = Group(last.low, last.high, last.count + count)
    highest = groups[-1].high if groups else 0
    doubt = ""
    if highest < 8 and open_end:
        # Text and JSON have no bucket above the last bound: what was there is not known.
        doubt = f"sizes above {highest} are above the last bucket, and not shown in this form"
    elif highest < 8:
        groups.append(Group(highest + 1, 8, 0))
    exact = not doubt and all(group.low == group.high for group in groups)
    return Sizes(tuple(groups), exact, how, doubt)


def minus(later: Histogram, earlier: Histogram) -> Histogram:
    """What was counted between two readings of one histogram."""
    before = dict(earlier.points)
    points = tuple((bound, max(count - before.get(bound, 0), 0)) for bound, count in later.points)
    total = None if later.total is None else max(later.total - (earlier.total or 0), 0)
    return replace(later, points=points, total=total)


def queues(histograms: Iterable[Histogram], version: Version | None, form: Form | None) -> list[Queue]:
    """The sizes of each histogram; `version` and `form` where Envoy does not say them."""
    found = []
    for histogram in histograms:
        try:
            found.append(Queue(histogram, sizes(histogram, version, form)))
        except ValueError as e:
            found.append(Queue(histogram, None, str(e)))
    return found
