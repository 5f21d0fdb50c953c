"""Making it last: the files by which a node is prepared again at every boot, and the units among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from qatprep import persist
from qatprep.facts import persist as facts_of
from qatprep.facts.base import link_name
from qatprep.host.base import Host
from qatprep.plan.model import Left
from qatprep.steps.base import Change, ChangeFailed
from qatprep.steps.files import InstallFile, RemoveFile, content, encode, systemctl

if TYPE_CHECKING:
    from qatprep.config import NodeConfig
    from qatprep.facts import Facts

FINDING = "QP-PERS-001"


@dataclass(frozen=True)
class SetUnit(Change):
    """A unit file as one thing with what systemd makes of it: written, read in, enabled; or none of these."""

    kind: ClassVar[str] = "set-unit"
    what: ClassVar[str] = "unit"
    persistent: ClassVar[bool] = True

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
    words: str

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def subject(self) -> str:
        return self.name

    @property
    def before(self) -> str:
        return _state(self.old, self.was_enabled, self.target)

    @property
    def after(self) -> str:
        state = _state(self.new, self.enable, self.target)
        return f"{state}, {self.words}" if self.words and self.new is not None else state

    def do(self, host: Host) -> None:
        self._make(host, self.new, self.enable)
        now = content(host, self.path)
        if (now.decode() if now is not None else None) != self.new:
            raise ChangeFailed(f"{self.path} reads back as something else than was written")
        if self.target and self._enabled(host) != self.enable:
            words = "has no link" if self.enable else "still has its link"
            raise ChangeFailed(
                f"systemctl reports success, but {self.name} {words} in {facts_of.SYSTEMD_DIR}/{self.target}.wants",
                f"systemctl status {self.name}",
            )

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        now = content(host, self.path)
        text = now.decode("utf-8", "backslashreplace") if now is not None else None
        if text not in (self.new, self.old):
            raise ChangeFailed(f"{self.path} was changed by somebody since; it is left as it is")
        if text != self.old or (self.target and self._enabled(host) != self.was_enabled):
            self._make(host, self.old, self.was_enabled)

    def _enabled(self, host: Host) -> bool:
        return isinstance(link_name(host, f"{facts_of.SYSTEMD_DIR}/{self.target}.wants/{self.name}"), str)

    def _make(self, host: Host, text: str | None, enable: bool) -> None:
        if self.target and not enable and self._enabled(host):
            systemctl(host, "disable", *self._now(), self.name)  # while its file is there: disable needs it
        if text is not None:
            host.mkdir(facts_of.SYSTEMD_DIR)
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


def plan(facts: Facts, config: NodeConfig) -> tuple[list[Change], list[Left]]:
    """What has to be installed (or, where the configuration says so, taken away) for the node to stay prepared.

    Where the configuration leaves it open, hosts without systemd, without QAT or without an installed qatprep are left
    as they are.
    """
    found = facts.persist
    if config.persist is False:
        return _removal(found), []
    if found.systemd is not True or not found.program or not facts.has_qat:
        return [], [Left(facts_of.APPLY, _why_not(facts), FINDING)] if config.persist else []
    changes: list[Change] = []
    left: list[Left] = []
    for gap in persist.gaps(found, config):
        if gap.trouble in ("foreign", "unseen"):
            left.append(Left(gap.file.path, gap.why, FINDING))
        else:
            changes.append(_install(facts, gap.file))
    return changes, left


def _why_not(facts: Facts) -> str:
    found = facts.persist
    if found.systemd is not True:
        return "this host does not run systemd" if found.systemd is False else found.systemd.reason
    return "there is no qatprep on that host to be started at boot" if facts.has_qat else "there is no QAT device"


def _install(facts: Facts, file: persist.File) -> Change:
    found = facts.persist
    old = found.text(file.path)
    if file.unit:
        was = found.enabled.get(file.path) is True
        start = file.unit.endswith(".timer")
        return SetUnit(file.path, file.text, old, bool(file.wanted_by), was, file.wanted_by, start, file.words)
    owner = (0, 0, found.modes.get(file.path, file.mode)) if old is not None else None
    note = f"{'installed' if old is None else 'replaced'}: {file.words}"
    return InstallFile(
        file.path, encode(file.text.encode()), file.mode, None if old is None else encode(old.encode()), owner, note
    )


def _removal(found: facts_of.PersistFacts) -> list[Change]:
    """Our files, last first; the configuration stays."""
    changes: list[Change] = []
    for path in reversed(facts_of.FILES):
        text = found.text(path)
        if path == facts_of.CONFIG or text is None or not facts_of.is_ours(text):
            continue
        if path.startswith(facts_of.SYSTEMD_DIR):
            was = found.enabled.get(path) is True
            target = facts_of.WANTED_BY.get(path, "")
            changes.append(SetUnit(path, None, text, False, was, target, path.endswith(".timer"), ""))
        else:
            changes.append(RemoveFile(path, encode(text.encode()), (0, 0, found.modes.get(path, 0o644))))
    return changes
