"""The one reader of JSON that comes from outside: bounded in depth, and with numbers that fit into a double."""

from __future__ import annotations

import json
import math
from typing import Any

_DIGITS = 300
"""Of a whole number: a double holds 308."""


def loads(text: str | bytes) -> Any:
    """The value. ValueError, saying why, for what is not JSON, is nested too deeply, or has a number that no double
    holds (1e999, NaN, 400 digits): such a number is in no document that a program wrote, and no report could print it.
    """
    try:
        return json.loads(text, parse_float=_real, parse_int=_whole, parse_constant=_refused)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _real(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refused(text)


def _whole(text: str) -> int:
    return int(text) if len(text) <= _DIGITS else _refused(text)


def _refused(text: str) -> Any:
    raise ValueError(f"the number {text[:20]}{'...' if len(text) > 20 else ''} is out of range")
