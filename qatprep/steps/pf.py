"""The PF itself: tried again by its driver, started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from qatprep.facts.base import link_name
from qatprep.hardware import PCI_DEVICES
from qatprep.host.base import Host
from qatprep.steps.base import Change
from qatprep.steps.driver import bind, set_state, unbind


@dataclass(frozen=True)
class BindPf(Change):
    """Let the QAT driver try a PF again that it could not start before."""

    kind: ClassVar[str] = "bind-pf"
    what: ClassVar[str] = "driver"
    optional: ClassVar[bool] = True

    pf: str
    driver: str

    @property
    def subject(self) -> str:
        return self.pf

    @property
    def before(self) -> str:
        return "none"

    @property
    def after(self) -> str:
        return self.driver

    def do(self, host: Host) -> None:
        bind(host, self.pf, self.driver)

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        if link_name(host, f"{PCI_DEVICES}/{self.pf}/driver") == self.driver:
            unbind(host, self.pf)


@dataclass(frozen=True)
class StartPf(Change):
    kind: ClassVar[str] = "start-pf"
    what: ClassVar[str] = "state"

    pf: str

    @property
    def subject(self) -> str:
        return self.pf

    @property
    def before(self) -> str:
        return "down"

    @property
    def after(self) -> str:
        return "up"

    def do(self, host: Host) -> None:
        set_state(host, self.pf, "up")

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        set_state(host, self.pf, "down")
