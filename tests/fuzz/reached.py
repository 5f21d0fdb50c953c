"""Prints the modules of qatprep that targets reach with what they begin with: python -m tests.fuzz.reached

In a process of its own: what another test has cached would not be called again.
"""

from __future__ import annotations

import sys
from types import FrameType

from tests.fuzz.targets import ROOT, TARGETS


def main() -> None:
    files: set[str] = set()

    def called(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":
            files.add(frame.f_code.co_filename)

    sys.setprofile(called)
    for target in TARGETS:
        for seed in target.seeds()[:12]:
            target.takes(seed)
    sys.setprofile(None)
    package = f"{ROOT / 'qatprep'}/"
    print("\n".join(sorted(name.removeprefix(package) for name in files if name.startswith(package))))


if __name__ == "__main__":
    main()
