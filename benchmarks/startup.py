"""How long qatprep takes to start, against what the library it is built on takes to be imported.

Aims: `qatprep --version` at most 1.5 times `import typer`, `qatprep doctor` at most 3 times.
"""

from __future__ import annotations

import sys

from common import PYTHON, interleaved, process, table

PEER = "python -c 'import typer'"


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    qatprep = [PYTHON, "-c", "from qatprep.__main__ import console; console()"]
    cases = {
        PEER: process([PYTHON, "-c", "import typer"]),
        "qatprep --version": process([*qatprep, "--version"]),
        "qatprep doctor": process([*qatprep, "doctor"]),
        "qatprep device list": process([*qatprep, "device", "list", "-o", "json"]),
        "qatprep plan, simulated": process([*qatprep, "plan", "--simulate", "spr-2s"]),
    }
    print(f"start-up, whole processes, medians of {rounds} interleaved rounds")
    table(interleaved(cases, rounds), PEER)


if __name__ == "__main__":
    main()
