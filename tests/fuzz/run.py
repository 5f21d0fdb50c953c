"""Feeds targets with inputs that grow by what they reach: python -m tests.fuzz.run [TARGET ...] [--minutes N]

./dev fuzz calls it. Without names every target gets its turn, one process at a time. What an input found is told once
for each place it fell at, and kept in tests/fuzz/corpus/<target>, which the tests replay. Inputs that reach something
new stay in .cache/fuzz/<target> for the next time, and .cache/fuzz/turns counts. Status 1 when something was found.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator

from tests.fuzz.targets import BY_NAME, ROOT, TARGETS, Target

CACHE = ROOT / ".cache" / "fuzz"
INPUTS = 100_000
LONGEST = 16384
"""Bytes of an input."""
HANGS = 120
"""Seconds after which an input counts as one that hangs: many, for the machine may be busy."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("target", nargs="*", choices=[*BY_NAME, []], help=f"one of {', '.join(BY_NAME)}")
    parser.add_argument("--inputs", type=int, default=0, metavar="N", help=f"stop after N inputs ({INPUTS})")
    parser.add_argument("--minutes", type=float, default=0, metavar="N", help="stop after N minutes instead")
    parser.add_argument("--figures", action="store_true", help="print what all turns on this machine came to")
    given = parser.parse_args()
    if given.figures:
        print("\n".join(figures()))
        return 0
    inputs = given.inputs or (0 if given.minutes else INPUTS)
    found = [turn(name, inputs, given.minutes) for name in given.target or BY_NAME]
    return 1 if any(found) else 0


def turn(name: str, inputs: int, minutes: float) -> int:
    """One target in a process of its own; how many places it fell at."""
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    for seed in BY_NAME[name].seeds():
        (folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed[:LONGEST])
    words = CACHE / f"{name}.words"
    words.write_text(dictionary(BY_NAME[name]))
    options = [f"-runs={inputs}"] if inputs else []
    options += [f"-max_total_time={int(minutes * 60)}"] if minutes else []
    options += [f"-max_len={LONGEST}", f"-timeout={HANGS}", "-rss_limit_mb=4096", f"-dict={words}"]
    command = [sys.executable, "-m", "tests.fuzz.explore", name, *options, f"-artifact_prefix={folder}.", str(folder)]
    begin = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    counted = re.findall(r"^#(\d+)", done.stderr, re.MULTILINE)
    places = [json.loads(line) for line in done.stderr.splitlines() if line.startswith('{"place"')]
    for place in places:
        print(f"  {place['place']}: {place['error'][:200]}\n    {place['input']}")
    if done.returncode and not places:
        print("\n".join(done.stderr.splitlines()[-12:]))
    runs = max(map(int, counted), default=0)
    seconds = time.monotonic() - begin
    with (CACHE / "turns").open("a") as kept:
        kept.write(f"{name} {runs} {seconds:.0f} {len(places)}\n")
    print(f"{name:20} {runs:>9} inputs, {seconds:6.0f} s, {len(places)} places", flush=True)
    return len(places) or done.returncode


def figures() -> Iterator[str]:
    """The table of docs/reliability.md."""
    turns = [line.split() for line in (CACHE / "turns").read_text().splitlines()]
    yield "| target | reads | inputs | places found |"
    yield "| --- | --- | --- | --- |"
    for target in TARGETS:
        mine = [(int(inputs), int(places)) for name, inputs, _, places in turns if name == target.name]
        inputs, places = (sum(column) for column in zip(*mine, strict=True)) if mine else (0, 0)
        yield f"| `{target.name}` | {target.reads} | {inputs:,} | {places} |"


def dictionary(target: Target) -> str:
    """Words of the seeds, for the mutations: libFuzzer's form of one quoted word a line."""
    found: dict[bytes, None] = {}
    for seed in target.seeds():
        found.update(dict.fromkeys(re.findall(rb"[A-Za-z_][\w.-]{2,30}", seed)))
    return "".join(f'"{word.decode()}"\n' for word in list(found)[:600])


if __name__ == "__main__":
    sys.exit(main())
