"""What is parsed of a runtime's configuration: sizes and depths above which Python's parsers take minutes.

Measured with Python 3.11 and tomlkit 0.13: a key of 60 parts, 135 times, takes tomlkit 25 s; 256 KiB of plain keys 7 s.
"""

from __future__ import annotations

import re

LIMIT = 256 << 10
"""Bytes of a configuration file. `containerd config default` prints 10 KiB."""
EDIT_LIMIT = 32 << 10
"""Bytes that are edited by tomlkit, which keeps comments and layout and is ten times as slow."""
_DEPTH = 16
_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+"""
_DEEP = re.compile(rf"(?<![\w-]){_PART}(?:\.[ \t]*+{_PART}){{{_DEPTH},}}+", re.ASCII)


def too_deep(text: str) -> str:
    """Why a text is not parsed, "" when it may be."""
    found = _DEEP.search(text)
    return f"line {text.count(chr(10), 0, found.start()) + 1}: a key of more than {_DEPTH} parts" if found else ""
