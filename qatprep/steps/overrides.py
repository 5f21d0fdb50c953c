"""Overrides that driverctl has stored for QAT functions: taken over, so that qatprep alone decides."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from qatprep.steps import places as place
from qatprep.steps.base import Summary
from qatprep.steps.files import RemoveFile
from qatprep.steps.places import Place
from qatprep.text import Foreign, printable


@dataclass(frozen=True)
class ForgetOverride(RemoveFile):
    """Remove one file of /etc/driverctl.d. What the device is bound to now stays."""

    kind: ClassVar[str] = "forget-override"
    what: ClassVar[str] = "stored override"
    places: ClassVar[Mapping[str, Place]] = {
        "path": rf"/etc/driverctl\.d/pci-{place.BDF}",
        "old": place.BASE64,
        "why": place.TEXT,
        "cost": place.TEXT,
    }

    why: str
    """What decides from the next boot on."""
    cost: str
    """What is lost by it, "" for nothing."""

    @property
    def summary(self) -> Summary:
        return Summary(self.path, stored(self.old), f"removed: {self.why}", (self.cost,) if self.cost else ())


def stored(old: str) -> str:
    """The driver that a file of driverctl's (base64) names, fit to be shown."""
    return printable(Foreign(base64.b64decode(old)).text.strip())[:64]
