"""Poll delays in the three dialects they are written in.

Envoy's YAML takes protobuf's JSON form only: `0.005s`; `5ms` and `5` are rejected (run on Envoy 1.40). Istio's mesh
config goes through legacy jsonpb, which takes Go durations such as `5ms`; and Istio hands Envoy only the nanoseconds
below a second (pilot: durationpb.New(time.Duration(x.GetPollDelay().Nanos))), so that `1s` arrives as 0 and is refused.
"""

from __future__ import annotations

import re
from decimal import Decimal

from qatprep.errors import InputError

US = 1_000
MS = 1_000_000
S = 1_000_000_000

_UNITS = {"us": US, "µs": US, "ms": MS, "s": S}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(us|µs|ms|s)")

LEAST = MS
"""Envoy's rule since May 2022: poll_delay {required: true, gte: {nanos: 1000000}} (qat.proto, cryptomb.proto)."""


def parse(text: str) -> int:
    """Nanoseconds of "5ms", "0.005s", "500us". InputError, quoting it, for anything else."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        unit = ": a number needs its unit" if text.strip().replace(".", "").isdigit() else ""
        raise InputError(f"{text!r} is not a duration{unit}", "write for example 5ms or 0.005s")
    return int(Decimal(match[1]) * _UNITS[match[2]])


def check(nanoseconds: int) -> None:
    """InputError for what Envoy refuses (below 1 ms) or would silently shorten (it cuts to whole milliseconds)."""
    if nanoseconds < LEAST:
        raise InputError(
            f"a poll delay of {spell(nanoseconds)} is too short: Envoy takes 1 ms or more",
            "5ms is a good start for qat",
        )
    if nanoseconds % MS:
        raise InputError(
            f"a poll delay of {spell(nanoseconds)} has a fraction of a millisecond, which Envoy cuts off",
            f"write {nanoseconds // MS}ms or {nanoseconds // MS + 1}ms",
        )


def for_envoy(nanoseconds: int) -> str:
    """protobuf's JSON form, as Envoy wants it: 0.005s."""
    check(nanoseconds)
    seconds, rest = divmod(nanoseconds, S)
    return f"{seconds}.{rest // MS:03d}s" if rest else f"{seconds}s"


def for_istio(nanoseconds: int) -> str:
    """Go's form, as people write it for Istio: 5ms. InputError from a second on, which Istio turns into 0."""
    check(nanoseconds)
    if nanoseconds >= S:
        raise InputError(
            f"a poll delay of {spell(nanoseconds)} does not reach Envoy through Istio: "
            "it passes on only what is below a second",
            "choose less than 1s",
        )
    return f"{nanoseconds // MS}ms"


def spell(nanoseconds: int) -> str:
    """As short as people say it."""
    for unit, size in (("s", S), ("ms", MS), ("us", US)):
        if nanoseconds and nanoseconds % size == 0:
            return f"{nanoseconds // size}{unit}"
    return f"{nanoseconds}ns"
