"""VFs and their drivers, by driver_override: no new_id, which would claim every device of that id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from qatprep.facts.base import READ_DEADLINE, Unknown, exists, link_name, read_line
from qatprep.facts.pci import DeviceNode, Vf
from qatprep.hardware import PCI_DEVICES
from qatprep.host.base import Host
from qatprep.steps import places as place
from qatprep.steps.base import BLOCKING, Change, ChangeFailed, Summary, write
from qatprep.steps.driver import OVERRIDE_REASONS, bind, override_and_bind, unbind
from qatprep.steps.nodes import own
from qatprep.steps.places import Place


def set_override(host: Host, bdf: str, driver: str) -> None:
    """driver_override; "" clears it, which the kernel takes only as a newline (drivers/base/driver.c)."""
    path = f"{PCI_DEVICES}/{bdf}/driver_override"
    write(host, path, driver or "\n", OVERRIDE_REASONS, deadline=BLOCKING)  # takes the device lock


def override_of(host: Host, bdf: str) -> str:
    """driver_override, "" when unset."""
    text = read_line(host, f"{PCI_DEVICES}/{bdf}/driver_override", deadline=READ_DEADLINE)
    if isinstance(text, Unknown):
        raise ChangeFailed(f"cannot read the driver_override of {bdf}: {text.reason}")
    return text if isinstance(text, str) and text != "(null)" else ""


def driver_of(host: Host, bdf: str) -> str:
    """The driver's name, "" for none."""
    name = link_name(host, f"{PCI_DEVICES}/{bdf}/driver")
    if isinstance(name, Unknown):
        raise ChangeFailed(f"cannot read the driver of {bdf}: {name.reason}")
    return name or ""


def rebind(host: Host, bdf: str, driver: str, override: str) -> None:
    """Bring a function to a driver ("" for none) and an override, whatever they are now; nothing when it is gone."""
    if exists(host, f"{PCI_DEVICES}/{bdf}") is not True:
        return
    now = driver_of(host, bdf)
    if now != driver:
        if now:
            unbind(host, bdf)
        if driver:
            # The override lets a driver match that does not list the id; it is put right below.
            set_override(host, bdf, driver)
            bind(host, bdf, driver)
    if override_of(host, bdf) != override:
        set_override(host, bdf, override)


@dataclass(frozen=True)
class BindVf(Change):
    """Bind a VF to a driver, or to none. The override stays: a reprobe brings the VF back to the same driver."""

    kind: ClassVar[str] = "bind-vf"
    what: ClassVar[str] = "driver"
    batch: ClassVar[bool] = True
    places: ClassVar[Mapping[str, Place]] = {
        "bdf": place.BDF,
        "old": place.ENTRY,
        "old_override": place.ENTRY,
        "new": place.ENTRY,
    }

    bdf: str
    old: str
    """Driver before, "" for none."""
    old_override: str
    new: str
    """Driver, "" for none."""
    old_node: tuple[int, int, int] | None = None
    """uid, gid and mode of the device node that goes with the old driver."""

    @classmethod
    def of(cls, vf: Vf, driver: str) -> BindVf:
        """The change for a function as it is now; "" takes its driver away."""
        old = vf.driver if isinstance(vf.driver, str) else ""
        override = vf.override if isinstance(vf.override, str) else ""
        return cls(vf.bdf, old, override, driver, vf.node.owner if isinstance(vf.node, DeviceNode) else None)

    @property
    def summary(self) -> Summary:
        stale = f" (driver_override {self.old_override})" if self.old == self.new else ""
        return Summary(self.bdf, (self.old or "none") + stale, self.new or "none")

    @property
    def takes(self) -> tuple[str, ...]:
        return (self.bdf,)

    @property
    def quick(self) -> bool:
        return not self.old  # some drivers take long to let go

    def do(self, host: Host) -> None:
        now = driver_of(host, self.bdf)
        if now and now == self.new:
            # It was bound ahead, or vfio-pci.ids took it the moment it was made: no override is then as good.
            if override_of(host, self.bdf) not in ("", self.new):
                set_override(host, self.bdf, self.new)
            return
        if now:
            unbind(host, self.bdf)
        set_override(host, self.bdf, self.new)
        if self.new:
            bind(host, self.bdf, self.new)

    @classmethod
    def ahead(cls, host: Host, changes: Sequence[Change]) -> Mapping[str, ChangeFailed]:
        wanted = [
            (change.bdf, change.new)
            for change in changes
            if isinstance(change, BindVf) and change.new and not change.old and not driver_of(host, change.bdf)
        ]
        failed = override_and_bind(host, wanted) if wanted else None
        return {} if failed is None else dict([failed])

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        rebind(host, self.bdf, self.old, self.old_override)
        if self.old_node is not None and driver_of(host, self.bdf) == self.old:
            own(host, self.bdf, *self.old_node)
