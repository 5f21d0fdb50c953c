"""Units of systemd: their files, what systemd makes of them, and a restart for who asks for it by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from qatprep.facts.base import link_name
from qatprep.facts.persist import SYSTEMD_DIR
from qatprep.host.base import Host
from qatprep.steps import places as place
from qatprep.steps.base import Change, ChangeFailed, Summary
from qatprep.steps.files import content, remove_half
from qatprep.steps.places import Place

_DEADLINE = 60.0
"""Seconds: a reload runs every generator of the host."""


@dataclass(frozen=True)
class SetUnit(Change):
    """A unit file as one thing with what systemd makes of it: written, read in, enabled; or none of these."""

    kind: ClassVar[str] = "set-unit"
    what: ClassVar[str] = "unit"
    persistent: ClassVar[bool] = True
    places: ClassVar[Mapping[str, Place]] = {
        "path": place.own_units,
        "new": place.CONTENT,
        "old": place.CONTENT,
        "target": r"(multi-user|timers)\.target|",
        "note": place.TEXT,
    }

    path: str
    new: str | None
    """Its text; None takes the unit away."""
    old: str | None
    enable: bool
    was_enabled: bool
    target: str
    """The target that pulls it in once it is enabled, "" when nothing does."""
    start: bool
    """Whether it is started and stopped with it (a timer)."""
    note: str
    """What the unit does, "" where it goes."""

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def summary(self) -> Summary:
        after = _state(self.new, self.enable, self.target)
        if self.note and self.new is not None:
            after += f", {self.note}"
        return Summary(self.name, _state(self.old, self.was_enabled, self.target), after)

    def do(self, host: Host) -> None:
        self._make(host, self.new, self.enable)
        now = content(host, self.path)
        if (now.decode() if now is not None else None) != self.new:
            raise ChangeFailed(f"{self.path} reads back as something else than was written")
        if self.target and self._enabled(host) != self.enable:
            link = "has no link" if self.enable else "still has its link"
            raise ChangeFailed(
                f"systemctl reports success, but {self.name} {link} in {SYSTEMD_DIR}/{self.target}.wants",
                f"systemctl status {self.name}",
            )

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        remove_half(host, self.path)
        now = content(host, self.path)
        text = now.decode("utf-8", "backslashreplace") if now is not None else None
        if text not in (self.new, self.old):
            raise ChangeFailed(f"{self.path} was changed since by another program and stays as it is")
        if text != self.old or (self.target and self._enabled(host) != self.was_enabled):
            self._make(host, self.old, self.was_enabled)

    def _enabled(self, host: Host) -> bool:
        return isinstance(link_name(host, f"{SYSTEMD_DIR}/{self.target}.wants/{self.name}"), str)

    def _make(self, host: Host, text: str | None, enable: bool) -> None:
        if self.target and not enable and self._enabled(host):
            systemctl(host, "disable", *self._now(), self.name)  # while its file is there: disable needs it
        if text is not None:
            host.mkdir(SYSTEMD_DIR)
            remove_half(host, self.path)
            host.replace(self.path, text.encode())
        elif content(host, self.path) is not None:
            host.unlink(self.path)
        systemctl(host, "daemon-reload")
        if self.target and enable and not self._enabled(host):
            systemctl(host, "enable", *self._now(), self.name)

    def _now(self) -> tuple[str, ...]:
        return ("--now",) if self.start else ()


def _state(text: str | None, enabled: bool, target: str) -> str:
    if text is None:
        return "absent"
    return "installed" if not target else "enabled" if enabled else "not enabled"


@dataclass(frozen=True)
class Systemctl(Change):
    """A call of systemctl that is undone by another one: enable and disable, or daemon-reload both ways."""

    kind: ClassVar[str] = "systemctl"
    what: ClassVar[str] = "unit"
    persistent: ClassVar[bool] = True
    places: ClassVar[Mapping[str, Place]] = {
        "action": r"daemon-reload",
        "undo_action": r"daemon-reload",
        "unit": place.UNIT,
        "note": place.TEXT,
    }

    action: tuple[str, ...]
    undo_action: tuple[str, ...]
    unit: str
    note: str
    """What it does."""

    @property
    def summary(self) -> Summary:
        return Summary(self.unit, "as it is", self.note)

    def do(self, host: Host) -> None:
        if self.action:
            systemctl(host, *self.action)

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        if self.undo_action:
            systemctl(host, *self.undo_action)


@dataclass(frozen=True)
class RestartUnit(Change):
    """Only ever made for a configuration that names the unit."""

    kind: ClassVar[str] = "restart-unit"
    what: ClassVar[str] = "unit"
    places: ClassVar[Mapping[str, Place]] = {"unit": place.UNIT}

    unit: str

    @property
    def summary(self) -> Summary:
        cost = (
            "the node may be NotReady for some seconds; running pods go on, with their old limit: delete and recreate "
            "those that use QAT"
        )
        return Summary(self.unit, "runs with what it was started with", "restarted", (cost,))

    def do(self, host: Host) -> None:
        done = host.run(["systemctl", "restart", self.unit], deadline=90.0)
        if done.rc:
            raise ChangeFailed(
                f"systemctl restart {self.unit} ended with status {done.rc}: {done.stderr.text.strip()}",
                f"journalctl -u {self.unit} -n 50",
            )

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        """Nothing: what ran before cannot be brought back, and files are put back by their own changes."""


def systemctl(host: Host, *arguments: str) -> None:
    """Call it; ChangeFailed, with what it said, when it does not end well."""
    result = host.run(["systemctl", *arguments], deadline=_DEADLINE)
    if result.rc != 0:
        said = result.stderr.text.strip() or "no message"
        raise ChangeFailed(f"systemctl {' '.join(arguments)} ended with status {result.rc}: {said}")
