"""The PF itself: tried again by its driver, started, stopped, restarted by itself after a fatal error or not."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from qatprep.facts.base import READ_DEADLINE, Unknown, link_name, read_line
from qatprep.facts.pci import Pf
from qatprep.hardware import PCI_DEVICES
from qatprep.host.base import Host
from qatprep.steps import places as place
from qatprep.steps.base import Change, ChangeFailed, Reasons, Summary, write
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


@dataclass(frozen=True)
class StopPf(Change):
    """A PF without VFs is brought down, which resets it (qat_common/adf_init.c adf_dev_shutdown, adf_dev_restore)."""

    kind: ClassVar[str] = "stop-pf"
    what: ClassVar[str] = "state"
    places: ClassVar[Mapping[str, Place]] = {"pf": place.BDF}

    pf: str

    @property
    def summary(self) -> Summary:
        return Summary(self.pf, "up", "down", ("it does nothing while it is down",))

    def do(self, host: Host) -> None:
        set_state(host, self.pf, "down")

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        set_state(host, self.pf, "up")


_REASONS: Reasons = {
    errno.ENOENT: ("this kernel cannot restart PFs by itself (it came with 6.9)", "run a newer kernel")
}


@dataclass(frozen=True)
class SetAutoReset(Change):
    """Whether the driver restarts a PF after a fatal error (qat_common/adf_sysfs.c, auto_reset_store)."""

    kind: ClassVar[str] = "set-auto-reset"
    what: ClassVar[str] = "auto_reset"
    places: ClassVar[Mapping[str, Place]] = {"pf": place.BDF, "old": "on|off", "new": "on|off"}

    pf: str
    old: str
    new: str

    @classmethod
    def of(cls, pf: Pf, wanted: bool) -> SetAutoReset | None:
        """The change of a PF whose driver runs; None where it is so, or cannot be."""
        if not isinstance(pf.auto_reset, bool) or pf.auto_reset is wanted:
            return None
        return cls(pf.bdf, "on" if pf.auto_reset else "off", "on" if wanted else "off")

    @property
    def summary(self) -> Summary:
        return Summary(self.pf, self.old, self.new)

    @property
    def quick(self) -> bool:
        return True

    def do(self, host: Host) -> None:
        self._write(host, self.new)

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        now = read_line(host, self._path, deadline=READ_DEADLINE)
        if now is None or isinstance(now, Unknown):
            return  # the driver is gone, and with it what was written to it
        if now != self.old:
            self._write(host, self.old)

    @property
    def _path(self) -> str:
        return f"{PCI_DEVICES}/{self.pf}/qat/auto_reset"

    def _write(self, host: Host, value: str) -> None:
        write(host, self._path, value, _REASONS)
        now = read_line(host, self._path, deadline=READ_DEADLINE)
        if now != value:
            raise ChangeFailed(f"wrote {value!r} to {self._path}, it reads back {now!r}")
