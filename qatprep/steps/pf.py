"""The PF itself: tried again by its driver, started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from qatprep.facts.base import link_name
from qatprep.hardware import PCI_DEVICES
from qatprep.host.base import Host
from qatprep.steps import places as place
from qatprep.steps.base import Change, Summary
from qatprep.steps.driver import bind, set_state, unbind
from qatprep.steps.places import Place


@dataclass(frozen=True)
class BindPf(Change):
    """Let the QAT driver try a PF again that it could not start before."""

    kind: ClassVar[str] = "bind-pf"
    what: ClassVar[str] = "driver"
    optional: ClassVar[bool] = True
    places: ClassVar[Mapping[str, Place]] = {"pf": place.BDF, "driver": place.ENTRY}

    pf: str
    driver: str

    @property
    def summary(self) -> Summary:
        return Summary(self.pf, "none", self.driver)

    def do(self, host: Host) -> None:
        bind(host, self.pf, self.driver)

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        if link_name(host, f"{PCI_DEVICES}/{self.pf}/driver") == self.driver:
            unbind(host, self.pf)


@dataclass(frozen=True)
class StartPf(Change):
    kind: ClassVar[str] = "start-pf"
    what: ClassVar[str] = "state"
    places: ClassVar[Mapping[str, Place]] = {"pf": place.BDF}

    pf: str

    @property
    def summary(self) -> Summary:
        return Summary(self.pf, "down", "up")

    def do(self, host: Host) -> None:
        set_state(host, self.pf, "up")

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        set_state(host, self.pf, "down")
