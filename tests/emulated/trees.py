"""Debian's libqat of trixie (24.02) and sid (26.08), unpacked; nothing is installed.

    python3 -m tests.emulated.trees

fetches what is missing below ~/.cache/qatprep/libqat (QATPREP_LIBQAT). Needs apt and dpkg, no root.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

SUITES = ("trixie", "sid")
EMULATOR = Path(__file__).parents[2] / "emulator"


def directory() -> Path:
    given = os.environ.get("QATPREP_LIBQAT")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qatprep" / "libqat"


def tree(suite: str) -> Path | None:
    """Where a suite is unpacked, or None."""
    root = directory() / suite / "root"
    return root if root.is_dir() else None


def main() -> int:
    sys.path.insert(0, str(EMULATOR))  # before any environment has it
    from qat_emulator.errors import EmulatorError
    from qat_emulator.tree import fetch

    try:
        for suite in SUITES:
            print(f"{suite}: {fetch(suite, str(directory() / suite))}")
    except EmulatorError as problem:
        print(f"no libqat to test with: {problem}; {problem.fix}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
