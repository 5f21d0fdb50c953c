"""Every benchmark, one table of ratios, and the chart of growth.

    python benchmarks/all.py [--write] [NAME ...]

Takes about an hour, most of it in guests (peers). --write puts the table into docs/measurements.md with machine and
date, and draws docs/images/growth.svg. NAME: only these, of startup, growth, inspect_dump, queue_cost, fleet, peers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import fleet
import growth
import inspect_dump
import peers
import queue_cost
import startup
from common import Row, machine, markdown

DOCS = Path(__file__).resolve().parent.parent / "docs"
BEGIN, END = "<!-- benchmarks/all.py writes from here -->\n", "<!-- to here -->\n"


def main() -> None:
    write, names = "--write" in sys.argv, [word for word in sys.argv[1:] if word != "--write"]
    measured = growth.measure(5) if not names or "growth" in names else {}
    all_rows: dict[str, Callable[[], Iterable[Row]]] = {
        "startup": startup.rows,
        "growth": lambda: growth.rows(measured),
        "inspect_dump": inspect_dump.rows,
        "queue_cost": queue_cost.rows,
        "fleet": fleet.rows,
        "peers": peers.rows,
    }
    if unknown := set(names) - set(all_rows):
        raise SystemExit(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(all_rows)}")
    rows = [row for name, make in all_rows.items() if not names or name in names for row in make()]
    parts = [machine() + ".", markdown(rows)]
    if measured:
        parts += ["![CPU time of each verb by the number of PFs](images/growth.svg)", growth.table(measured)]
    text = "\n\n".join(parts) + "\n"
    print(text)
    if write:
        page = DOCS / "measurements.md"
        before, _, rest = page.read_text().partition(BEGIN)
        page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")
        if measured:
            (DOCS / "images" / "growth.svg").write_text(growth.picture(measured))


if __name__ == "__main__":
    main()
