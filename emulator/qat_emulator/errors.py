"""What ends the program with a sentence instead of a traceback."""

from __future__ import annotations


class EmulatorError(Exception):
    """What is wrong, and what to do about it."""

    def __init__(self, text: str, fix: str = "") -> None:
        super().__init__(text)
        self.fix = fix
