"""What goes wrong in the rig itself, as opposed to what goes wrong in the guest."""

from __future__ import annotations


class RigError(Exception):
    """The rig cannot be built or run here. `hint` says what would help."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
