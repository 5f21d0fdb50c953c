"""What containers need of the node: the unit's memlock limit, device ownership, and a restart for who asks for it.

Nothing of containerd's own is written before its own `config dump` has shown that one key changes and nothing else.
"""

from __future__ import annotations

import base64
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from qatprep.config import KEEP_MEMLOCK, NodeConfig, memlock_for
from qatprep.facts import Facts
from qatprep.facts import containerd as containerd_facts
from qatprep.facts.base import Unknown
from qatprep.facts.runtime import RuntimeFacts, UnitLimit
from qatprep.host.base import Host
from qatprep.plan.model import Left
from qatprep.runtime import crio, rancher
from qatprep.runtime.containerd import CONF_D, ConfigSet, Version, judge, parse_version
from qatprep.runtime.dry_run import Dump, DumpFailed, proven
from qatprep.runtime.dump import device_ownership, parse_dump
from qatprep.runtime.edit import candidates
from qatprep.runtime.memlock import INFINITY, drop_in, drop_in_name, spell
from qatprep.runtime.refusal import Refused
from qatprep.runtime.units import drop_in_path
from qatprep.steps.base import Change, ChangeFailed
from qatprep.steps.files import MARKER, InstallFile, Systemctl, content, put_back

TRIAL_MAIN, TRIAL_PIECE = ".qatprep-trial", ".qatprep-trial-import"
"""Names beside the main file that no *.toml glob matches."""
_DEADLINE = 30.0


@dataclass(frozen=True)
class OwnDevices(Change):
    """containerd's device ownership on, in whichever file decides, proven by containerd before it is written."""

    kind: ClassVar[str] = "device-ownership"
    what: ClassVar[str] = "device ownership"
    persistent: ClassVar[bool] = True

    main: str
    """containerd's main file."""
    target: str
    """The file that is expected to be written."""
    why: str

    @property
    def subject(self) -> str:
        return self.target

    @property
    def before(self) -> str:
        return "off"

    @property
    def after(self) -> str:
        return f"on ({self.why})"

    def do(self, host: Host) -> Mapping[str, Any] | None:
        files = containerd_facts.read(host, self.main, CONF_D)
        if isinstance(files, Unknown):
            raise ChangeFailed(f"cannot read containerd's configuration: {files.reason}")
        directory = posixpath.dirname(self.main)
        trials = frozenset({f"{directory}/{TRIAL_MAIN}", f"{directory}/{TRIAL_PIECE}"})
        try:
            edit = proven(files, version(host), _dump(host, directory), names=trials)
        except (Refused, DumpFailed) as e:
            words, hint = (e.message, e.hint) if isinstance(e, Refused) else (str(e), "")
            raise ChangeFailed(words, hint) from e
        if edit is None:
            return None
        uid = gid = 0
        mode = 0o644
        old = content(host, edit.path)
        if old is not None:
            stat = host.stat(edit.path, follow=False)
            if stat.kind != "file":
                raise ChangeFailed(
                    f"{edit.path} is a {stat.kind}, which is left alone", "change what it points to, by its own tools"
                )
            uid, gid, mode = stat.uid, stat.gid, stat.mode
        host.mkdir(posixpath.dirname(edit.path))
        new = edit.after.encode()
        host.replace(edit.path, new, mode=mode, uid=uid, gid=gid)
        made = {"path": edit.path, "old": _b64(old), "new": _b64(new), "owner": [uid, gid, mode]}
        try:
            on = device_ownership(parse_dump(_config_dump(host, self.main)))
        except (DumpFailed, ValueError) as e:
            self.undo(host, made)
            raise ChangeFailed(f"containerd refuses what was written to {edit.path}: {e}") from e
        if on is not True:
            self.undo(host, made)
            raise ChangeFailed(f"{edit.path} was written, and containerd still has it off")
        return made

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        if not outcome:
            return
        uid, gid, mode = outcome["owner"]
        put_back(host, str(outcome["path"]), outcome["old"], outcome["new"], (uid, gid, mode))


@dataclass(frozen=True)
class RestartUnit(Change):
    """Only ever made for a configuration that names the unit."""

    kind: ClassVar[str] = "restart-unit"
    what: ClassVar[str] = "unit"
    persistent: ClassVar[bool] = False

    unit: str

    @property
    def subject(self) -> str:
        return self.unit

    @property
    def before(self) -> str:
        return "runs with what it was started with"

    @property
    def after(self) -> str:
        return "restarted"

    @property
    def cost(self) -> tuple[str, ...]:
        return (
            "the node may be NotReady for some seconds; running pods go on, with their old limit: delete and recreate "
            "those that use QAT",
        )

    def do(self, host: Host) -> None:
        done = host.run(["systemctl", "restart", self.unit], deadline=90.0)
        if done.rc:
            raise ChangeFailed(
                f"systemctl restart {self.unit} ended with status {done.rc}: {done.stderr.strip()}",
                f"journalctl -u {self.unit} -n 50",
            )

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        """Nothing: what ran before cannot be brought back, and files are put back by their own changes."""


def _b64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def version(host: Host) -> Version | None:
    """Of the containerd on the host; None where there is none to ask."""
    done = host.run(["containerd", "--version"], deadline=_DEADLINE)
    return parse_version(done.stdout) if done.rc == 0 else None


def _config_dump(host: Host, path: str) -> str:
    done = host.run(["containerd", "--config", path, "config", "dump"], deadline=_DEADLINE)
    if done.rc == 127:
        raise DumpFailed("there is no containerd here to prove it by")
    if done.rc:
        raise DumpFailed((done.stderr.strip().splitlines() or [f"status {done.rc}"])[-1])
    return done.stdout


def _dump(host: Host, directory: str) -> Dump:
    """Trials beside the main file, so that relative imports mean the same; gone afterwards."""

    def dump(main: str, piece: str) -> str:
        paths = (f"{directory}/{TRIAL_MAIN}", f"{directory}/{TRIAL_PIECE}")
        host.mkdir(directory)
        try:
            host.replace(paths[1], piece.encode(), mode=0o600)
            host.replace(paths[0], main.replace("@DROPIN@", paths[1]).encode(), mode=0o600)
            return _config_dump(host, paths[0])
        finally:
            for path in paths:
                if content(host, path) is not None:
                    host.unlink(path)

    return dump


# -- plan -------------------------------------------------------------------------------------------------------------


def plan(facts: Facts, config: NodeConfig) -> tuple[list[Change], list[Left]]:
    """Memlock where Kubernetes runs and the unit gives too little; the rest only where the configuration asks for
    it.
    """
    runtime = facts.runtime
    if runtime.runtime is None or not facts.has_qat:
        return [], _nothing_there(config)
    changes: list[Change] = []
    left: list[Left] = []
    _memlock(facts, config, changes, left)
    if config.containers.device_ownership:
        _ownership(runtime, changes, left)
    _restart(runtime, config, changes, left)
    return changes, left


def _nothing_there(config: NodeConfig) -> list[Left]:
    if config.containers.device_ownership or config.containers.restart:
        return [Left("containers", "nothing on this host runs containers", "QP-RT-001")]
    return []


def _memlock(facts: Facts, config: NodeConfig, changes: list[Change], left: list[Left]) -> None:
    runtime = facts.runtime
    assert runtime.runtime is not None
    asked = config.containers.memlock
    if asked == KEEP_MEMLOCK or (asked == 0 and not facts.kubernetes.here) or not isinstance(runtime.unit, UnitLimit):
        return
    wanted = memlock_for(facts, config)
    unit = runtime.runtime.unit
    have = runtime.unit.limit.soft
    if have >= wanted and (asked == 0 or have in (wanted, INFINITY)):
        return
    name = drop_in_name(runtime.unit.source)
    if name is None:
        left.append(Left(runtime.unit.source, "it is read after any drop-in of ours: change it there", "QP-MEM-001"))
        return
    path = drop_in_path(unit, name)
    old = next((file.text for file in runtime.ours if file.path == path), None)
    if old is not None and not _ours(old):
        left.append(Left(path, "it is there already, and not qatprep's", "QP-MEM-001"))
        return
    new = drop_in(wanted)
    note = f"LimitMEMLOCK {spell(have)} -> {spell(wanted)} for what {unit} starts from its next start on"
    if old != new:
        changes.append(_install(path, new, old, note))
        if facts.persist.systemd is True:
            reload = ("daemon-reload",)
            changes.append(Systemctl(reload, reload, unit, "its drop-ins read anew (systemctl daemon-reload)"))


def _ours(text: str) -> bool:
    return any(MARKER in line for line in text.splitlines()[:5])


def _install(path: str, new: str, old: str | None, note: str) -> InstallFile:
    data = _b64(new.encode())
    assert data is not None
    before, owner = (None, None) if old is None else (_b64(old.encode()), (0, 0, 0o644))
    return InstallFile(path, data, 0o644, before, owner, note)


def _ownership(runtime: RuntimeFacts, changes: list[Change], left: list[Left]) -> None:
    assert runtime.runtime is not None
    kind = runtime.runtime.kind
    try:
        if kind == "docker":
            raise Refused("Docker has no device ownership: use --group-add with the group of the device nodes")
        if kind == "crio":
            _crio(runtime, changes)
        elif kind in ("k3s", "rke2"):
            _rancher(runtime, changes)
        else:
            _containerd(runtime.containerd, runtime.version, changes)
    except Refused as e:
        left.append(Left(runtime.runtime.unit, e.message + (f" ({e.hint})" if e.hint else ""), "QP-RT-001"))


def _containerd(files: ConfigSet | Unknown | None, binary: Version | None, changes: list[Change]) -> None:
    if files is None or isinstance(files, Unknown):
        raise Refused(f"containerd's configuration cannot be read: {files.reason if files else 'none'}")
    edits = candidates(files, binary)
    if edits:
        changes.append(OwnDevices(files.main.path, edits[0].path, edits[0].why))
    elif judge(files, binary).on is not True:
        raise Refused(f"{files.main.path}: nothing that could be changed would switch it on")


def _crio(runtime: RuntimeFacts, changes: list[Change]) -> None:
    if isinstance(runtime.crio, Unknown):
        raise Refused(f"CRI-O's configuration cannot be read: {runtime.crio.reason}")
    new = crio.drop_in(runtime.crio, None)
    if new is not None:
        old = next((file.text for file in runtime.crio if file.path == crio.DROPIN), None)
        changes.append(_install(crio.DROPIN, new, old, "device ownership on, from CRI-O's next start on"))


def _rancher(runtime: RuntimeFacts, changes: list[Change]) -> None:
    assert runtime.runtime is not None
    place = rancher.Place("k3s" if runtime.runtime.kind == "k3s" else "rke2")
    if isinstance(runtime.generated, Unknown):
        raise Refused(f"{place.generated} cannot be read: {runtime.generated.reason}")
    templates = {file.path: file.text for file in runtime.templates if file.text is not None}
    flag = next((file.text for file in runtime.ours if file.path == place.flag_file), None)
    write = rancher.plan(place, runtime.generated.text if runtime.generated else None, templates, flag)
    if write is not None and write.before != write.after:
        changes.append(_install(write.path, write.after, write.before, f"device ownership on: {write.why}"))


def _restart(runtime: RuntimeFacts, config: NodeConfig, changes: list[Change], left: list[Left]) -> None:
    """A restart only for who names the unit, and only when something waits for it."""
    asked = config.containers.restart
    if not asked or runtime.runtime is None:
        return
    if asked != runtime.runtime.unit:
        why = f"it is not what runs containers here: that is {runtime.runtime.unit} ({runtime.runtime.why})"
        left.append(Left(asked, why, "QP-MEM-002"))
        return
    stale = (
        isinstance(runtime.unit, UnitLimit)
        and runtime.daemon is not None
        and not isinstance(runtime.daemon, Unknown)
        and runtime.daemon.soft < runtime.unit.limit.soft
    )
    if changes or stale:
        changes.append(RestartUnit(asked))
