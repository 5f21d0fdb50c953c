"""What containers need of the node: the unit's memlock limit, device ownership, and a restart for who asks for it."""

from __future__ import annotations

from qatprep.assess import Assessment, Skipped
from qatprep.checks.base import Stage
from qatprep.config import KEEP_MEMLOCK, memlock_for
from qatprep.facts.base import Unknown
from qatprep.facts.persist import is_ours
from qatprep.facts.runtime import RuntimeFacts, UnitLimit
from qatprep.runtime import crio, rancher
from qatprep.runtime.containerd import ConfigSet, Version, judge
from qatprep.runtime.edit import candidates
from qatprep.runtime.memlock import INFINITY, drop_in, drop_in_name, spell
from qatprep.runtime.refusal import Refused
from qatprep.runtime.units import drop_in_path
from qatprep.steps.base import Change
from qatprep.steps.containerd import OwnDevices
from qatprep.steps.files import InstallFile
from qatprep.steps.units import RestartUnit, Systemctl


def plan(judged: Assessment) -> tuple[list[Change], list[Skipped]]:
    """Memlock where Kubernetes runs and the unit gives too little; the rest only where the configuration asks."""
    runtime, asked = judged.facts.runtime, judged.config.containers
    if runtime.runtime is None or not judged.facts.has_qat:
        return [], _nothing_there(judged)
    changes: list[Change] = []
    skipped: list[Skipped] = []
    _memlock(judged, changes, skipped)
    if asked.device_ownership:
        _ownership(judged, changes, skipped)
    _restart(judged, changes, skipped)
    return changes, skipped


def _nothing_there(judged: Assessment) -> list[Skipped]:
    if judged.config.containers.device_ownership or judged.config.containers.restart:
        return [Skipped("containers", "nothing on this host runs containers", judged.named(Stage.RUNTIME))]
    return []


def _memlock(judged: Assessment, changes: list[Change], skipped: list[Skipped]) -> None:
    facts, config = judged.facts, judged.config
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
        why = "it is read after any drop-in of ours: change it there"
        skipped.append(Skipped(runtime.unit.source, why, judged.named(Stage.MEMLOCK)))
        return
    path = drop_in_path(unit, name)
    old = next((file.text for file in runtime.ours if file.path == path), None)
    if old is not None and not is_ours(old):
        skipped.append(Skipped(path, "it is there already, and not qatprep's", judged.named(Stage.MEMLOCK)))
        return
    new = drop_in(wanted)
    note = f"LimitMEMLOCK {spell(have)} -> {spell(wanted)} for what {unit} starts from its next start on"
    if old != new:
        changes.append(_install(path, new, old, note))
        if facts.persist.systemd is True:
            reload = ("daemon-reload",)
            changes.append(Systemctl(reload, reload, unit, "its drop-ins read again (systemctl daemon-reload)"))


def _install(path: str, new: str, old: str | None, note: str) -> InstallFile:
    return InstallFile.of(path, new.encode(), None if old is None else old.encode(), note=note)


def _ownership(judged: Assessment, changes: list[Change], skipped: list[Skipped]) -> None:
    runtime = judged.facts.runtime
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
        why = e.message + (f" ({e.hint})" if e.hint else "")
        skipped.append(Skipped(runtime.runtime.unit, why, judged.named(Stage.RUNTIME)))


def _containerd(files: ConfigSet | Unknown | None, binary: Version | None, changes: list[Change]) -> None:
    if files is None or isinstance(files, Unknown):
        reason = "it was not looked for" if files is None else files.reason
        raise Refused(f"containerd's configuration cannot be read: {reason}")
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


def _restart(judged: Assessment, changes: list[Change], skipped: list[Skipped]) -> None:
    """A restart only for who names the unit, and only when something waits for it."""
    runtime, asked = judged.facts.runtime, judged.config.containers.restart
    if not asked or runtime.runtime is None:
        return
    if asked != runtime.runtime.unit:
        why = f"it is not what runs containers here: that is {runtime.runtime.unit} ({runtime.runtime.why})"
        skipped.append(Skipped(asked, why, judged.named(Stage.MEMLOCK)))
        return
    stale = (
        isinstance(runtime.unit, UnitLimit)
        and runtime.daemon is not None
        and not isinstance(runtime.daemon, Unknown)
        and runtime.daemon.soft < runtime.unit.limit.soft
    )
    if changes or stale:
        changes.append(RestartUnit(asked))
