"""How long qatprep takes to start, against what the library it is built on takes to be imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from common import PYTHON, Row, interleaved, markdown, process

PEER = "python -c 'import typer'"
QATPREP = (PYTHON, "-c", "from qatprep.__main__ import console; console()")
CASES: dict[str, tuple[list[str], float | None]] = {
    "qatprep --version": (["--version"], 1.5),
    "qatprep doctor": (["doctor"], 3.0),
    "qatprep device list": (["device", "list", "-o", "json"], None),
    "qatprep plan, simulated": (["plan", "--simulate", "spr-2s"], None),
}
"""What is run, and the most it may take."""


def rows(rounds: int = 15) -> Iterator[Row]:
    runs = {PEER: process([PYTHON, "-c", "import typer"])}
    runs |= {name: process([*QATPREP, *words]) for name, (words, _) in CASES.items()}
    medians = interleaved(runs, rounds)
    for name, (_, aim) in CASES.items():
        yield Row(name, medians[name] / medians[PEER], f"`{PEER}`", aim)


if __name__ == "__main__":
    print(markdown(rows(*map(int, sys.argv[1:]))))
