"""Overrides that driverctl has stored for QAT functions: taken over, so that qatprep alone decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from qatprep.steps import places as place
from qatprep.steps.base import Summary
from qatprep.steps.files import RemoveFile
from qatprep.steps.places import Place


@dataclass(frozen=True)
class ForgetOverride(RemoveFile):
    """Remove one file of /etc/driverctl.d. What the device is bound to now stays."""

    kind: ClassVar[str] = "forget-override"
    what: ClassVar[str] = "stored override"
    places: ClassVar[Mapping[str, Place]] = {"path": rf"/etc/driverctl\.d/pci-{place.BDF}", "old": place.BASE64}

    @property
    def summary(self) -> Summary:
        return Summary(self.path, "there", "removed: driverctl no longer binds this device at boot")
