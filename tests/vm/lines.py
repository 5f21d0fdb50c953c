"""What the kernel's driver, libqat and qatmgr say in which situation, kept as data.

`QATPREP_VM_RECORD=1` with the tests of the emulated device writes recordings/lines.json: one entry for each kernel,
Debian, scenario and speaker, with the lines as they were printed, without time stamps. They are the material for the
table of known log lines.
"""

from __future__ import annotations

import json
import os
import re

from .machine import HERE

PATH = os.path.join(HERE, "recordings", "lines.json")
_STAMP = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\] ")

Entry = dict[str, str | list[str]]


def load() -> list[Entry]:
    """All entries, sorted."""
    try:
        with open(PATH, encoding="utf-8") as f:
            entries: list[Entry] = json.load(f)
    except FileNotFoundError:
        return []
    return entries


def different(text: str) -> list[str]:
    """Each line of `text` once, without time stamp."""
    return list(dict.fromkeys(_STAMP.sub("", line).rstrip() for line in text.splitlines() if line.strip()))


def keep(kernel: str, suite: str, scenario: str, speaker: str, text: str) -> list[str]:
    """The different lines of `text`; when recording, also written down in place of what was kept before."""
    lines = different(text)
    if os.environ.get("QATPREP_VM_RECORD"):
        about: Entry = {"kernel": kernel, "suite": suite, "scenario": scenario, "speaker": speaker}
        others = [e for e in load() if {k: v for k, v in e.items() if k != "lines"} != about]
        entries = [*others, {**about, "lines": lines}] if lines else others
        entries.sort(key=lambda e: [str(e[k]) for k in ("scenario", "kernel", "suite", "speaker")])
        with open(PATH, "w", encoding="utf-8") as f:
            json.dump(entries, f, indent=1)
            f.write("\n")
    return lines
