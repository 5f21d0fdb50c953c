"""What a PF offers: cfg_services, written while the PF is down."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from qatprep.facts.base import READ_DEADLINE, Unknown, read_line
from qatprep.facts.pci import Pf, Services
from qatprep.hardware import BY_PF_ID, PCI_DEVICES, parse_services, services_since
from qatprep.host.base import Host
from qatprep.steps import places as place
from qatprep.steps.base import BLOCKING, Change, ChangeFailed, Reasons, Summary, explained, gone
from qatprep.steps.driver import bind_again, set_state, state_of, unbind
from qatprep.steps.places import Place

_REASONS: Reasons = {
    errno.ENOENT: (
        "this kernel cannot set services (they came with 6.0)",
        "run a newer kernel, or set devices.services to keep",
    ),
}
"""qat_common/adf_sysfs.c, cfg_services_store."""


def _refused(host: Host, pf: str, text: str) -> tuple[str, str]:
    """Why the kernel says EINVAL to these services of a PF that is down: the device, or the kernel's age."""
    device = read_line(host, f"{PCI_DEVICES}/{pf}/device", deadline=READ_DEADLINE)
    family = BY_PF_ID.get(int(device, 16)) if isinstance(device, str) else None
    wanted = parse_services(text)
    if family and (rule := family.services.problem(wanted)):
        return f"a {family.name} device {rule}", f"for example {' or '.join(family.services.nearest(wanted))}"
    from qatprep.facts.kernel import version

    running, since = version(host), services_since(wanted)
    if isinstance(running, Unknown) or running[:2] >= since:
        return (
            "this device does not offer that combination: Linux knows it, and the PF is down",
            "set other services, or devices.services to keep",
        )
    return (
        f"mainline takes it from Linux {since[0]}.{since[1]} on, and this is {running[0]}.{running[1]}",
        "choose sym;asym or dc, which every kernel from 6.0 on takes, or run a newer kernel",
    )


@dataclass(frozen=True)
class SetServices(Change):
    """Leaves the PF down: what follows, making VFs or StartPf, brings it up with the new services."""

    kind: ClassVar[str] = "set-services"
    what: ClassVar[str] = "services"
    places: ClassVar[Mapping[str, Place]] = {
        "pf": place.BDF,
        "old": place.ENTRY,
        "new": place.ENTRY,
        "old_state": place.STATE,
    }

    pf: str
    old: str
    """As the kernel showed it."""
    new: str
    old_state: str
    """"up" or "down": what undo leaves."""

    @property
    def summary(self) -> Summary:
        return Summary(self.pf, self.old, self.new)

    def do(self, host: Host) -> None:
        set_state(host, self.pf, "down")
        self._write(host, self.new)

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        now = read_line(host, self._path, deadline=READ_DEADLINE)
        if now is None or isinstance(now, Unknown):
            return  # the driver is gone, and the services with it
        if parse_services(now) != parse_services(self.old):
            set_state(host, self.pf, "down")
            self._write(host, self.old)
        if state_of(host, self.pf) == "down" and self.old_state == "up":
            set_state(host, self.pf, "up")

    @property
    def _path(self) -> str:
        return f"{PCI_DEVICES}/{self.pf}/qat/cfg_services"

    def _write(self, host: Host, text: str) -> None:
        try:
            host.write(self._path, text.encode(), deadline=BLOCKING)
        except OSError as e:
            reasons = {**_REASONS, errno.EINVAL: _refused(host, self.pf, text)} if e.errno == errno.EINVAL else _REASONS
            raise gone(host, e, self._path, text) or explained(e, f"writing {text!r} to {self._path}", reasons) from e
        now = read_line(host, self._path, deadline=READ_DEADLINE)
        # From 6.15 on the kernel shows its own order: compare what is meant, not how it is spelt.
        if not isinstance(now, str) or parse_services(now) != parse_services(text):
            raise ChangeFailed(f"wrote {text!r} to {self._path}, it reads back {now!r}")


@dataclass(frozen=True)
class ReleasePf(Change):
    """A PF is let go of by its driver. What it was set to goes with it, so undoing sets it again."""

    kind: ClassVar[str] = "release-pf"
    what: ClassVar[str] = "driver"
    places: ClassVar[Mapping[str, Place]] = {
        "pf": place.BDF,
        "driver": place.ENTRY,
        "services": place.ENTRY,
        "state": place.STATE,
    }

    pf: str
    driver: str
    services: str
    """As the kernel showed them, "" where it does not."""
    state: str

    @classmethod
    def of(cls, pf: Pf) -> ReleasePf:
        """The change for a PF that its QAT driver has, as it is now."""
        services = pf.services.text if isinstance(pf.services, Services) and pf.configurable is True else ""
        return cls(pf.bdf, pf.family.driver, services, pf.state if isinstance(pf.state, str) else "up")

    @property
    def summary(self) -> Summary:
        cost = "without its driver it can do nothing; its services are the kernel's default when it is bound again"
        return Summary(self.pf, self.driver, "none", (cost,))

    def do(self, host: Host) -> None:
        unbind(host, self.pf)

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        bind_again(host, self.pf)
        if self.services:
            SetServices(self.pf, self.services, self.services, self.state).undo(host)
        if state_of(host, self.pf) is not None:
            set_state(host, self.pf, self.state)
