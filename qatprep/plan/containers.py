"""What containers need of the node: the unit's memlock limit, device ownership, and a restart for who asks for it."""

from __future__ import annotations

from qatprep.assess import Assessment, Skipped
from qatprep.checks.base import Stage
from qatprep.config import KEEP_MEMLOCK, memlock_for, memlock_need
from qatprep.facts.base import Unknown
from qatprep.facts.persist import is_ours
from qatprep.facts.runtime import BASE_SPEC, OwnLimit, RuntimeFacts, hard_limit, ownership
from qatprep.facts.systemd import UnitLimit
from qatprep.runtime import crio, rancher
from qatprep.runtime.containerd import KEY, File, judge
from qatprep.runtime.dump import Answer
from qatprep.runtime.edit import candidates, owner, permitted
from qatprep.runtime.memlock import Limit, drop_in, drop_in_name, in_base_spec, spell
from qatprep.runtime.refusal import Refused
from qatprep.runtime.units import drop_in_path
from qatprep.steps.base import Change
from qatprep.steps.containerd import OwnDevices, RaiseBaseSpec
from qatprep.steps.files import InstallFile
from qatprep.steps.units import RestartUnit, Systemctl


def plan(judged: Assessment) -> tuple[list[Change], list[Skipped]]:
    """Memlock where Kubernetes runs and the unit gives too little; the rest only where the configuration asks."""
    runtime, asked = judged.facts.runtime, judged.config.containers
    if runtime.runtime is None or not judged.facts.has_qat:
        return [], _nothing_there(judged)
    changes: list[Change] = []
    skipped: list[Skipped] = []
    own_limit = _memlock(judged, changes, skipped)
    if asked.device_ownership or own_limit:
        _runtime_files(judged, own_limit, changes, skipped)
    _restart(judged, changes, skipped)
    return changes, skipped


def _nothing_there(judged: Assessment) -> list[Skipped]:
    if judged.config.containers.device_ownership or judged.config.containers.restart:
        return [Skipped("containers", "nothing on this host runs containers", judged.named(Stage.RUNTIME))]
    return []


def _memlock(judged: Assessment, changes: list[Change], skipped: list[Skipped]) -> int | None:
    """The drop-in for the unit. Bytes where CRI-O's own ulimits are to be raised instead."""
    facts, config, finding = judged.facts, judged.config, judged.named(Stage.MEMLOCK)
    runtime = facts.runtime
    assert runtime.runtime is not None
    asked = config.containers.memlock
    if asked == KEEP_MEMLOCK or (asked == 0 and not facts.kubernetes.here):
        return None
    wanted = memlock_for(facts, config)
    unit = runtime.runtime.unit
    own = runtime.own_limit
    if own is not None:
        return _own_limit(judged, own, wanted, changes, skipped)
    if runtime.unit is None and isinstance(runtime.daemon, Limit) and runtime.daemon.soft < wanted:
        reason = "systemd has no unit file for it: raise the limit where it is started"
        skipped.append(Skipped(runtime.runtime.name, reason, finding))
    if not isinstance(runtime.unit, UnitLimit):
        return None
    have = runtime.unit.limit.soft
    running = runtime.daemon.soft if isinstance(runtime.daemon, Limit) else 0
    if have >= wanted:
        return None
    # Where the daemon has more than its files say, the drop-in keeps that over its next start.
    size = max(float(wanted), running)
    name = drop_in_name(runtime.unit.source)
    if name is None:
        skipped.append(Skipped(runtime.unit.source, "it is read after any drop-in of ours: change it there", finding))
        return None
    path = drop_in_path(unit, name)
    old = next((file.text for file in runtime.ours if file.path == path), None)
    if old is not None and not is_ours(old):
        skipped.append(Skipped(path, "it is there already, and not qatprep's", finding))
        return None
    new = drop_in(size, hard_limit(runtime))
    note = f"LimitMEMLOCK {spell(size)} instead of {spell(have)}, from the next start of {unit} on"
    if size > wanted:
        note += f"; it runs with {spell(running)} now, and {memlock_need(facts, config)}"
    if old != new:
        changes.append(_install(path, new, old, note))
        if facts.persist.systemd is True:
            reload = ("daemon-reload",)
            changes.append(Systemctl(reload, reload, unit, "its drop-ins read again (systemctl daemon-reload)"))
    return None


def _own_limit(
    judged: Assessment, own: OwnLimit | Unknown, wanted: int, changes: list[Change], skipped: list[Skipped]
) -> int | None:
    """What overrules the unit is changed only where the configuration gives a size. Bytes for CRI-O's drop-in."""
    if isinstance(own, Unknown) or own.limit.soft >= wanted:
        return None
    asked, why = judged.config.containers, f"{own.setting} gives containers {spell(own.limit.soft)}"
    whose = owner(own.path, None) if own.setting == BASE_SPEC else ""
    if asked.memlock <= 0:
        reason = f"{why}, and {memlock_need(judged.facts, judged.config)}: set containers.memlock to {wanted}"
        skipped.append(Skipped(own.path, reason, judged.named(Stage.MEMLOCK)))
    elif whose and own.path not in asked.may_edit:
        reason = f"{why}, and it {whose} (containers.may_edit: [{own.path}] has it edited all the same)"
        skipped.append(Skipped(own.path, reason, judged.named(Stage.MEMLOCK)))
    elif own.setting != BASE_SPEC:
        return wanted
    else:
        note = f"RLIMIT_MEMLOCK {spell(wanted)} instead of {spell(own.limit.soft)}, from containerd's next start on"
        new = in_base_spec(own.text, wanted)
        changes.append(RaiseBaseSpec.of(own.path, new.encode(), own.text.encode(), note=note))
    return None


def _install(path: str, new: str, old: str | None, note: str) -> InstallFile:
    return InstallFile.of(path, new.encode(), None if old is None else old.encode(), note=note)


def _runtime_files(judged: Assessment, own_limit: int | None, changes: list[Change], skipped: list[Skipped]) -> None:
    """Device ownership, and for CRI-O `own_limit` (bytes) in the same file."""
    runtime, ownership = judged.facts.runtime, judged.config.containers.device_ownership
    assert runtime.runtime is not None
    kind = runtime.runtime.kind
    try:
        if kind == "docker":
            raise Refused("Docker has no device ownership: use --group-add with the group of the device nodes")
        if kind == "crio":
            _crio(runtime, ownership, own_limit, changes)
        elif kind in ("k3s", "rke2"):
            _rancher(runtime, changes)
        else:
            _containerd(runtime, judged.config.containers.may_edit, changes)
    except Refused as e:
        why = e.message + (f" ({e.hint})" if e.hint else "")
        skipped.append(Skipped(runtime.runtime.name, why, judged.named(Stage.RUNTIME)))


def _containerd(runtime: RuntimeFacts, may_edit: tuple[str, ...], changes: list[Change]) -> None:
    files, state, answer = runtime.containerd, ownership(runtime), runtime.answer
    if files is None or isinstance(files, Unknown):
        reason = "it was not looked for" if files is None else files.reason
        raise Refused(f"containerd's configuration cannot be read: {reason}")
    if state.on is True:
        return
    if isinstance(runtime.program, Unknown):
        raise Refused(runtime.program.reason, "give it to root alone: chown root: and chmod go-w on what is named")
    edits = candidates(files, runtime.version)  # its own reasons to refuse say what to do
    if (
        isinstance(answer, Answer)
        and answer.refused
        and not any(p.fatal for p in judge(files, runtime.version).problems)
    ):
        raise Refused(f"containerd refuses its configuration: {answer.refused}", "fix the file first")
    if edits and edits[0].path == files.main.path:
        _made_elsewhere(files.main)
    if not edits:
        raise Refused(f"{files.main.path}: nothing that could be changed would switch it on")
    allowed = permitted(edits, may_edit)
    changes.append(OwnDevices.of(files.main.path, allowed, runtime.program, may_edit))


def _made_elsewhere(main: File) -> None:
    """Refused for a main file that its distribution writes again at every start."""
    if main.path.startswith("/var/snap/microk8s/"):
        template = "/var/snap/microk8s/current/args/containerd-template.toml"
        raise Refused(f"MicroK8s makes {main.path} from a template", f"set {KEY} = true in {template}")
    if "k0s_managed=true" in (main.text or ""):
        raise Refused(f"k0s makes {main.path}", f"set {KEY} = true in a file of /etc/k0s/containerd.d")


def _crio(runtime: RuntimeFacts, ownership: bool, memlock: int | None, changes: list[Change]) -> None:
    if isinstance(runtime.crio, Unknown):
        raise Refused(f"CRI-O's configuration cannot be read: {runtime.crio.reason}")
    daemon = runtime.runtime.daemon if runtime.runtime else None
    if daemon and daemon.config_dir not in ("", crio.CONF_D):
        raise Refused(f"CRI-O runs with --config-dir {daemon.config_dir}", "change a file there")
    new = crio.drop_in(runtime.crio, ownership=ownership, memlock=memlock)
    if new is not None:
        old = next((file.text for file in runtime.crio if file.path == crio.DROPIN), None)
        what = ["device ownership on"] if ownership else []
        what += [f"default_ulimits memlock {spell(memlock)}"] if memlock else []
        changes.append(_install(crio.DROPIN, new, old, f"{', '.join(what)}, from CRI-O's next start on"))


def _rancher(runtime: RuntimeFacts, changes: list[Change]) -> None:
    assert runtime.runtime is not None
    place = rancher.Place("k3s" if runtime.runtime.kind == "k3s" else "rke2")
    if isinstance(runtime.containerd, Unknown):
        raise Refused(f"{place.generated} cannot be read: {runtime.containerd.reason}")
    if ownership(runtime).on is True:
        return
    templates = {file.path: file.text for file in runtime.templates if file.text is not None}
    flag = next((file.text for file in runtime.ours if file.path == place.flag_file), None)
    write = rancher.plan(place, runtime.containerd.main.text if runtime.containerd else None, templates, flag)
    if write.before != write.after:
        changes.append(_install(write.path, write.after, write.before, f"device ownership on: {write.why}"))


def _restart(judged: Assessment, changes: list[Change], skipped: list[Skipped]) -> None:
    """A restart only for who names the unit, and only when something waits for it."""
    runtime, asked = judged.facts.runtime, judged.config.containers.restart
    if not asked or runtime.runtime is None:
        return
    if asked != runtime.runtime.unit:
        why = f"it is not what runs containers here: that is {runtime.runtime.name} ({runtime.runtime.why})"
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
