"""When a configuration is better left alone."""

from __future__ import annotations

from qatprep.errors import QatprepError


class Refused(QatprepError):
    """The file would not come out right, or not surely: the message says why, the hint what now. Nothing was done."""
