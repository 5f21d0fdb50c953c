"""What each verb costs by the number of PFs, each with 16 VFs: CPU time, reads and programs started.

    python benchmarks/growth.py [ROUNDS [FILE.svg]]

Simulated hosts on 6.12, one process a run, sizes and verbs interleaved. CPU time is that of the verb alone: the host is
built before, and modules are imported by a run on another host (start-up is in startup.py). The simulated kernel's
share is in it. doctor, status and metrics run on a host that is set up, plan and bootstrap on one that is not, rollback
on one that bootstrap has set up. On a real host each verb starts one more process, which makes the reads of devices.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from common import Row, markdown

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
if TYPE_CHECKING:
    from qatprep.cli.session import Session
    from qatprep.simulator.host import SimulatedHost

SIZES = (1, 2, 8, 32)
READS = ("read", "read_all", "listdir", "readlink", "realpath", "stat")
VERBS = {
    "doctor": ["doctor"],
    "status": ["status"],
    "metrics": ["metrics"],
    "plan": ["plan"],
    "bootstrap": ["bootstrap", "--yes", "--no-smoke"],
    "rollback": ["rollback", "--yes"],
}
PREPARED = ("doctor", "status", "metrics")
AIM = 1.25
"""How much more a PF may cost between 8 and 32 PFs than between 1 and 8."""

Cost = tuple[float, int, int]
"""CPU seconds, reads, programs."""


def once(verb: str, pfs: int) -> Cost:
    """Run a verb on a new host in this process."""
    from qatprep.__main__ import main as call

    # Counting costs time, so a run either counts or is timed.
    words = ["-v", *VERBS[verb]] if "--count" in sys.argv else VERBS[verb]
    for size in (1, pfs):  # the first imports
        log = StringIO()
        node = host(size, prepared=verb in PREPARED)
        if verb == "rollback":
            call(VERBS["bootstrap"], quiet(node))
        session = quiet(node, log)
        begin = time.process_time()
        status = call(words, session)
        seconds = time.process_time() - begin
        if status not in (0, 3):
            raise SystemExit(f"{verb} on {size} PFs ended with status {status}: {log.getvalue()[-2000:]}")
    done = Counter(line.split(" ", 1)[0] for line in log.getvalue().splitlines())
    return seconds, sum(done[name] for name in READS), done["run"]


def quiet(node: SimulatedHost, log: StringIO | None = None) -> Session:
    """A call on a host that prints nothing, and talks to `log`."""
    from qatprep.cli.session import Session

    return Session(cast("TextIO", StringIO()), cast("TextIO", log or StringIO()), {}, node)


def host(pfs: int, *, prepared: bool) -> SimulatedHost:
    """A host of that many PFs, just started, or set up."""
    from fixtures import acts, hardware

    made = acts.started(acts.prepare(hardware.server(hardware.SPR_8S[:pfs])))
    return acts.set_up(made) if prepared else made


def child(verb: str, pfs: int, *more: str) -> Cost:
    argv = [sys.executable, __file__, "--once", verb, str(pfs), *more]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    seconds, reads, programs = json.loads(done.stdout)
    return seconds, reads, programs


def measure(rounds: int) -> dict[str, dict[int, Cost]]:
    """Verb -> PFs -> median CPU seconds, reads, programs."""
    runs: dict[tuple[str, int], list[float]] = {(verb, pfs): [] for verb in VERBS for pfs in SIZES}
    for _ in range(rounds):
        for key, seconds in runs.items():
            seconds.append(child(*key)[0])
    counts = {key: child(*key, "--count") for key in runs}
    return {verb: {n: (statistics.median(runs[verb, n]), *counts[verb, n][1:]) for n in SIZES} for verb in VERBS}


def growth(costs: dict[int, Cost]) -> float:
    """Cost of one more PF between the two largest sizes, over that between the smallest and the second largest."""
    small, middle, large = SIZES[0], SIZES[-2], SIZES[-1]
    later = (costs[large][0] - costs[middle][0]) / (large - middle)
    earlier = (costs[middle][0] - costs[small][0]) / (middle - small)
    return later / earlier


def table(measured: dict[str, dict[int, Cost]]) -> str:
    """Markdown: milliseconds of CPU, reads and programs of each verb at each size."""
    head = ["CPU ms / reads / programs", *(f"{n} PF{'s' * (n > 1)}, {16 * n} VFs" for n in SIZES)]
    lines = [head, ["---", *["---:"] * len(SIZES)]]
    for verb, costs in measured.items():
        lines.append([verb, *(f"{1000 * s:.0f} / {reads} / {programs}" for s, reads, programs in costs.values())])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


STYLE = """
  .page { fill: #ffffff; } text { fill: #1f2328; } .soft { fill: #57606a; } .grid { stroke: #d0d7de; }
  .line { fill: none; stroke-width: 2; } .c0 { stroke: #0b5cad; } .c1 { stroke: #8a5b00; } .c2 { stroke: #1a7f37; }
  .c3 { stroke: #8250df; } .c4 { stroke: #c01c28; } .c5 { stroke: #0b6a82; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #111418; } text { fill: #e6edf3; } .soft { fill: #9da7b1; } .grid { stroke: #343a41; }
    .c0 { stroke: #7cb8f5; } .c1 { stroke: #e3b341; } .c2 { stroke: #56d364; }
    .c3 { stroke: #d2a8ff; } .c4 { stroke: #ff8880; } .c5 { stroke: #76d5e8; }
  }
"""
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 380, 64, 120, 40, 48


def picture(measured: dict[str, dict[int, Cost]]) -> str:
    """A line for each verb: milliseconds of CPU by PFs. Both axes begin at 0, so that what is linear is straight."""
    most = max(1000 * s for costs in measured.values() for s, *_ in costs.values())
    step = next(d for d in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if most / d <= 6)
    top = step * -(-most // step)

    def x(pfs: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * pfs / SIZES[-1], 1)

    def y(ms: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * ms / top, 1)

    def at(value: float) -> str:
        return f"{value:g}"

    svg = Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img")
    svg.set("font-family", "system-ui, 'Liberation Sans', sans-serif")
    svg.set("font-size", "13")
    SubElement(svg, "title").text = "CPU time of each verb by the number of PFs"
    SubElement(svg, "style").text = STYLE
    SubElement(svg, "rect", {"class": "page", "width": at(WIDTH), "height": at(HEIGHT), "rx": "8"})
    SubElement(svg, "text", x=at(LEFT), y="24").text = "CPU time, ms"
    for n in range(int(top // step) + 1):
        row = at(y(n * step))
        SubElement(svg, "line", {"class": "grid", "x1": at(LEFT), "x2": at(WIDTH - RIGHT), "y1": row, "y2": row})
        label = SubElement(svg, "text", {"class": "soft", "x": at(LEFT - 8), "y": at(y(n * step) + 4)})
        label.set("text-anchor", "end")
        label.text = at(n * step)
    for pfs in SIZES:
        label = SubElement(svg, "text", {"class": "soft", "x": at(x(pfs)), "y": at(HEIGHT - BOTTOM + 20)})
        label.set("text-anchor", "middle")
        label.text = at(pfs)
    SubElement(svg, "text", {"class": "soft", "x": at(LEFT), "y": at(HEIGHT - 8)}).text = "PFs, each with 16 VFs"
    taken: list[float] = []
    ends = sorted(((costs[SIZES[-1]][0], number, verb) for number, (verb, costs) in enumerate(measured.items())))
    for seconds, number, verb in ends:
        points = " ".join(f"{at(x(n))},{at(y(1000 * s))}" for n, (s, *_) in measured[verb].items())
        SubElement(svg, "polyline", {"class": f"line c{number}", "points": points})
        # Labels of lines that end close together move up.
        height = min([y(1000 * seconds) + 4, *(other - 15 for other in taken)])
        taken.append(height)
        SubElement(svg, "text", x=at(WIDTH - RIGHT + 8), y=at(height)).text = verb
    indent(svg, " ")
    return tostring(svg, encoding="unicode") + "\n"


def waits() -> float:
    """Seconds of the kernel in a change of services on 4 PFs side by side, over those of 4 calls for one PF each.

    Of a simulated host, whose kernel takes its times from the real one's source (qatprep/simulator/clock.py): what a
    machine that is not busy waits for, without qatprep's own CPU time.
    """
    from fixtures import hardware
    from qatprep.__main__ import main as call

    taken = []
    for together in (True, False):
        node = host(4, prepared=True)
        pfs = [pf for pf, _ in hardware.SPR_8S[:4]]
        begin = node.now()
        for chosen in [pfs] if together else [[pf] for pf in pfs]:
            words = ["device", "services", "dc", *chosen, "--yes"]
            status = call(words, quiet(node))
            if status:
                raise SystemExit(f"{' '.join(words)} ended with status {status}")
        taken.append(node.now() - begin)
    return taken[0] / taken[1]


def rows(measured: dict[str, dict[int, Cost]]) -> Iterator[Row]:
    for verb, costs in measured.items():
        yield Row(f"{verb}: CPU of a PF from 8 to 32 PFs", growth(costs), "the same from 1 to 8", AIM)
    largest = {verb: costs[SIZES[-1]][0] for verb, costs in measured.items()}
    yield Row(f"rollback, {SIZES[-1]} PFs: CPU", largest["rollback"] / largest["bootstrap"], "bootstrap", 1.0)
    yield Row("services of 4 PFs side by side: the kernel's time, simulated", waits(), "one after the other", 0.4)


def main() -> None:
    measured = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
    print(table(measured), markdown(rows(measured)), sep="\n\n")
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(picture(measured))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--once"]:
        print(json.dumps(once(sys.argv[2], int(sys.argv[3]))))
    else:
        main()
