"""What a change is: one thing on a host that becomes different, and that can be put back."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple

from qatprep.hardware import BDF, PCI_DEVICES
from qatprep.host.base import Host
from qatprep.steps.places import Place, misplaced, strange_outcome

BLOCKING = 30.0
"""Seconds for a write that can block in the kernel. Stopping a PF waits up to 10 s for its VFs to acknowledge
(qat_common/adf_pfvf_pf_msg.c) and sleeps 1 s when VFs go (drivers/pci/iov.c, sriov_disable)."""

REGISTRY: dict[str, type[Change]] = {}


class ChangeFailed(Exception):
    """A change could not be made, or reads back as something else. Says what, where and why; `hint` what to do.

    `outcome` is what the change did all the same and its `undo` needs to know.
    """

    def __init__(self, message: str, hint: str = "", outcome: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.outcome = outcome


class Summary(NamedTuple):
    """A change in short, for people and programs."""

    subject: str
    """BDF, module, group, unit or path."""
    before: str
    after: str
    cost: tuple[str, ...] = ()
    """What people lose by it, one sentence each."""


@dataclass(frozen=True)
class Change(ABC):
    """Subclasses are frozen dataclasses whose fields are plain JSON values: that is how the journal keeps them."""

    kind: ClassVar[str] = ""
    what: ClassVar[str] = ""
    """The noun: services, VFs, driver, device node, module ..."""
    batch: ClassVar[bool] = False
    """Whether neighbours of this kind may share one journal write: only where each undo looks before it acts."""
    persistent: ClassVar[bool] = False
    """Whether it outlives a reboot (a file, a group); what is in sysfs and /dev does not."""
    spares_holders: ClassVar[bool] = False
    """Whether undoing it leaves a device to whoever has it open."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.kind:
            REGISTRY[cls.kind] = cls

    places: ClassVar[Mapping[str, Place]] = {}
    """The texts that a journal may give each field: see steps/places.py."""
    outcomes: ClassVar[Mapping[str, Place]] = {}
    """The same for what `do` returns."""
    optional: ClassVar[bool] = False
    """Whether the run goes on when it fails: it is an attempt, and what it was for is left as it is."""

    @property
    @abstractmethod
    def summary(self) -> Summary:
        """What becomes different, and what it costs."""

    @property
    def subject(self) -> str:
        return self.summary.subject

    @property
    def takes(self) -> tuple[str, ...]:
        """BDFs of the functions that are taken from whoever has them open: the kernel would wait for them to close."""
        return ()

    @property
    def quick(self) -> bool:
        """Whether it takes no time in the kernel, so that lanes of such changes gain nothing side by side."""
        return False

    def noted(self, host: Host) -> Change:
        """The change with what its undo has to know of this moment: called just before it is written down."""
        return self

    @abstractmethod
    def do(self, host: Host) -> Mapping[str, Any] | None:
        """Make it so and read it back. What it returns is kept in the journal and given to `undo`.

        Raises ChangeFailed, or OSError where nothing better can be said.
        """

    @abstractmethod
    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        """Make it as it was before, if it is not. May be called on a change that never ran or ran in part."""

    @classmethod
    def ahead(cls, host: Host, changes: Sequence[Change]) -> Mapping[str, ChangeFailed]:
        """What of a batch can be handed to the kernel at once, where that saves time; `do` then finds it done.

        By subject: what was refused, and stays undone with everything after it. Raises as `do`.
        """
        return {}

    def record(self) -> dict[str, Any]:
        """Plain values from which `restore` makes the same change."""
        return {"kind": self.kind, **{f.name: getattr(self, f.name) for f in fields(self)}}

    def describe(self) -> dict[str, Any]:
        """For JSON output."""
        subject, before, after, cost = self.summary
        return {
            "kind": self.kind,
            "what": self.what,
            "subject": subject,
            "before": before,
            "after": after,
            "cost": list(cost),
        }

    def __str__(self) -> str:
        subject, before, after, _ = self.summary
        return f"{subject} {self.what}: {before} -> {after}"


def restore(record: Mapping[str, Any]) -> Change:
    """The change that `record` was made from. ValueError for a record this version does not know, or never writes."""
    cls = REGISTRY.get(record.get("kind", ""))
    if cls is None:
        _import_all()  # a rollback plans nothing, so nothing has imported the module of that kind yet
        cls = REGISTRY.get(record.get("kind", ""))
    if cls is None:
        raise ValueError(f"unknown kind of change {record.get('kind')!r}")
    wanted = {f.name for f in fields(cls)}
    values = {key: _frozen(value) for key, value in record.items() if key != "kind"}
    if set(values) != wanted:
        raise ValueError(f"{cls.kind}: keys {sorted(values)} instead of {sorted(wanted)}")
    if wrong := misplaced(cls, values, cls.places):
        raise ValueError(f"{cls.kind}: {wrong}")
    return cls(**values)


def accept_outcome(change: Change, outcome: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """An outcome out of a journal. ValueError for one that `do` never gives."""
    if outcome and (wrong := strange_outcome(outcome, change.outcomes)):
        raise ValueError(f"{change.kind}: outcome: {wrong}")
    return outcome


def _import_all() -> None:
    """Register every kind of change there is."""
    import importlib
    import pkgutil

    import qatprep.steps

    for module in pkgutil.iter_modules(qatprep.steps.__path__):
        importlib.import_module(f"qatprep.steps.{module.name}")


def _frozen(value: Any) -> Any:
    """Lists of JSON as the tuples they were."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


Reasons = Mapping[int, tuple[str, str]]
"""errno -> (what it means here, what to do)."""


_ANYWHERE: Reasons = {
    errno.EROFS: (
        "it is mounted read-only here, as in containers",
        "run this on the host itself, or in a privileged container with the host's /sys at its place",
    ),
    errno.EACCES: (
        "not permitted, even to root",
        "a container without privileges, or SELinux (ausearch -m avc -ts recent): run this on the host itself",
    ),
    errno.EPERM: (
        "not permitted, even to root",
        "a container without privileges, or the kernel is locked down: run this on the host itself",
    ),
}


def explained(error: OSError, action: str, reasons: Reasons) -> ChangeFailed:
    """The failure of one write, with what its errno means at that place."""
    number = error.errno or errno.EIO
    name = errno.errorcode.get(number, str(number))
    meaning, hint = reasons.get(number) or _ANYWHERE.get(number, ("", ""))
    if number == errno.ETIMEDOUT and not meaning:
        meaning = "the kernel has not finished; the write is still waiting there"
        hint = hint or "find who holds the device (qatprep device list), let go of it, then run this again"
    return ChangeFailed(f"{action}: {name}, {meaning or error.strerror}", hint)


def write(host: Host, path: str, value: str, reasons: Reasons, *, deadline: float | None = None) -> None:
    """Write a value to an attribute; ChangeFailed, with what the errno means there, when the kernel refuses."""
    try:
        host.write(path, value.encode(), deadline=deadline)
    except OSError as e:
        raise gone(host, e, path, value) or explained(e, f"writing {value.strip()!r} to {path}", reasons) from e


def gone(host: Host, error: OSError, path: str, value: str) -> ChangeFailed | None:
    """The failure of a write about a device that is no longer on the bus; None where it is."""
    found = BDF.search(path) or BDF.search(value)
    if error.errno not in (errno.ENOENT, errno.ENODEV, errno.ENXIO) or found is None:
        return None
    try:
        if host.exists(f"{PCI_DEVICES}/{found[0]}"):
            return None
    except OSError:
        return None
    return ChangeFailed(
        f"writing {value.strip()!r} to {path}: {found[0]} is no longer on the PCI bus",
        "see the end of `dmesg`: pulled out, a link that went down, or VFs that another program removed",
    )
