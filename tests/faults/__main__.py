"""./dev faults [--minutes N] [--seed S] [--only TEXT]: faults of every kind, how many ran and how many held.

On a host of one PF and two VFs: each distinct fault, the undoing that fails, somebody else at work at each operation,
signals to real processes. Then an error and a kill at every operation of spr-2s, and as long as time remains any fault
of any command by a seed that is printed.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.faults import signals
from tests.faults.cases import Case, any_of, distinct, every_index, undoing_fails
from tests.faults.hold import hold
from tests.faults.journeys import JOURNEYS, SPR, Fell, without
from tests.faults.meanwhile import Meanwhile, meanwhile
from tests.faults.meanwhile import hold as meanwhile_holds

SMALL = "6.12"
SIGNALS = 60
"""Processes that get a signal."""
HOLDS: dict[type, Callable[[Any], str]] = {Case: hold, Meanwhile: meanwhile_holds, signals.Sent: signals.hold}
KERNELS = ("5.17", "6.1", "6.12", "7.2")


def parts(seed: int) -> Iterator[tuple[str, Iterable[Any]]]:
    """Everything that is counted, in order, each part with its name."""
    for journey in JOURNEYS:
        yield f"distinct: {journey.name}", distinct(journey, SMALL)
    for journey in JOURNEYS:
        if not journey.undoes:
            yield f"undoing fails: {journey.name}", undoing_fails(journey, SMALL)
    for journey in JOURNEYS:
        yield f"meanwhile: {journey.name}", meanwhile(journey, SMALL)
    yield f"signals: {SIGNALS} moments, seed {seed}", signals.sent(seed, SIGNALS)
    for kernel in KERNELS:
        yield f"every index: {SPR.name} on {kernel}", every_index(SPR, kernel)


def sampled(seed: int, until: float) -> Iterator[Case]:
    dice = random.Random(seed)
    while time.monotonic() < until:
        journey, kernel = dice.choice([*JOURNEYS, SPR]), dice.choice(KERNELS)
        if not without(kernel, journey):
            yield any_of(journey, kernel, dice)


def count(name: str, cases: Iterable[Any]) -> tuple[int, int]:
    """Run the cases of a part and print its line, and a line for each that fell."""
    begin = time.monotonic()
    ends: Counter[str] = Counter()
    falls: Counter[str] = Counter()
    for case in cases:
        try:
            ends[HOLDS[type(case)](case)] += 1
        except Fell as e:
            _tell(case, str(e), falls)
        except Exception as e:
            _tell(case, f"{type(e).__name__}: {e}", falls)
    fell = falls.total()
    ran = ends.total() + fell
    told = ", ".join(f"{number} {end}" for end, number in sorted(ends.items()))
    print(f"{name}: {ran} ran, {ran - fell} held ({told}) in {time.monotonic() - begin:.0f} s", flush=True)
    return ran, fell


def _tell(case: object, why: str, falls: Counter[str]) -> None:
    """Print one that fell, and of those that fell for the same reason no more than three."""
    kind = re.sub(r"\d+", "N", why.split(": ", 1)[0])
    falls[kind] += 1
    if falls[kind] <= 3:
        print(f"FELL  {case}: {why}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.0, help="sample for so long after the rest (default 0)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32), help="of the sample")
    parser.add_argument("--only", default="", help="only parts whose name contains this; 'sampled' is one")
    args = parser.parse_args()
    total = fell = 0
    for name, cases in parts(args.seed):
        if args.only in name:
            ran, bad = count(name, cases)
            total, fell = total + ran, fell + bad
    name = f"sampled: seed {args.seed}"
    if args.minutes and args.only in name:
        ran, bad = count(name, sampled(args.seed, time.monotonic() + 60 * args.minutes))
        total, fell = total + ran, fell + bad
    print(f"{total} faults ran, {total - fell} held, {fell} fell", flush=True)
    return 1 if fell else 0


if __name__ == "__main__":
    sys.exit(main())
