"""containerd's device ownership.

Nothing of containerd's own is written before its own `config dump` has shown that one key changes and nothing else.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from qatprep.facts import containerd as containerd_facts
from qatprep.facts.base import Unknown
from qatprep.host.base import Host
from qatprep.host.trust import doubt
from qatprep.runtime.containerd import CONF_D, Version, parse_version
from qatprep.runtime.dry_run import Dump, DumpFailed, proven
from qatprep.runtime.dump import device_ownership, parse_dump
from qatprep.runtime.edit import Edit
from qatprep.runtime.refusal import Refused
from qatprep.steps import places as place
from qatprep.steps.base import Change, ChangeFailed, Summary
from qatprep.steps.files import InstallFile, absent_folders, content, encode, put_back, remove_folders, remove_half
from qatprep.steps.places import Place

TRIAL_MAIN, TRIAL_PIECE = ".qatprep-trial", ".qatprep-trial-import"
"""Names next to the main file that no *.toml glob matches."""
_DEADLINE = 30.0


@dataclass(frozen=True)
class OwnDevices(Change):
    """containerd's device ownership on, in whichever file decides, proven by containerd before it is written."""

    kind: ClassVar[str] = "device-ownership"
    what: ClassVar[str] = "device ownership"
    persistent: ClassVar[bool] = True
    places: ClassVar[Mapping[str, Place]] = {
        "main": place.TOML,
        "target": place.TOML,
        "why": place.TEXT,
        "program": place.PROGRAM,
        "may_edit": place.TOML,
        "paths": place.TOML,
        "olds": place.BASE64,
        "news": place.BASE64,
    }
    outcomes: ClassVar[Mapping[str, Place]] = {"path": place.TOML, "old": place.BASE64, "new": place.BASE64}

    main: str
    """containerd's main file."""
    target: str
    """The file that is expected to be written."""
    why: str
    program: str = "containerd"
    """The containerd that proves it."""
    may_edit: tuple[str, ...] = ()
    """Files of others that the configuration names."""
    paths: tuple[str, ...] = ()
    """The files of which one is written, should `do` be killed before it can say which ..."""
    olds: tuple[str | None, ...] = ()
    """... what each holds (base64, None for no file) ..."""
    news: tuple[str, ...] = ()
    """... and what would be written to it."""
    folders: tuple[int, ...] = ()
    """Of each, how many of the folders above it are made for it."""

    @classmethod
    def of(cls, main: str, edits: Sequence[Edit], program: str, may_edit: tuple[str, ...]) -> OwnDevices:
        """The change for a main file and the edits that would do, best first."""
        return cls(
            main,
            edits[0].path,
            edits[0].why,
            program,
            may_edit,
            tuple(edit.path for edit in edits),
            tuple(None if edit.before is None else encode(edit.before.encode()) for edit in edits),
            tuple(encode(edit.after.encode()) for edit in edits),
        )

    @property
    def summary(self) -> Summary:
        return Summary(self.target, "off", f"on ({self.why})")

    def noted(self, host: Host) -> OwnDevices:
        return replace(self, folders=tuple(absent_folders(host, path) for path in self.paths))

    def do(self, host: Host) -> Mapping[str, Any] | None:
        _demand_root_only(host, self.main)  # the path is what a process says of itself
        binary = version(host, self.program)
        files = containerd_facts.read(host, self.main, CONF_D, binary)
        if isinstance(files, Unknown):
            raise ChangeFailed(f"cannot read containerd's configuration: {files.reason}")
        directory = posixpath.dirname(self.main)
        trials = frozenset({f"{directory}/{TRIAL_MAIN}", f"{directory}/{TRIAL_PIECE}"})
        try:
            dump = _dump(host, self.program, directory)
            edit = proven(files, binary, dump, names=trials, may_edit=self.may_edit)
        except (Refused, DumpFailed) as e:
            message, hint = (e.message, e.hint) if isinstance(e, Refused) else (str(e), "")
            raise ChangeFailed(message, hint) from e
        if edit is None:
            return None
        _demand_root_only(host, edit.path)
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
        remove_half(host, edit.path)
        new = edit.after.encode()
        host.replace(edit.path, new, mode=mode, uid=uid, gid=gid)
        made = {
            "path": edit.path,
            "old": None if old is None else encode(old),
            "new": encode(new),
            "owner": [uid, gid, mode],
        }
        try:
            on = device_ownership(parse_dump(_config_dump(host, self.program, self.main)))
        except (DumpFailed, ValueError) as e:
            self.undo(host, made)
            raise ChangeFailed(f"containerd refuses what was written to {edit.path}: {e}") from e
        if on is not True:
            self.undo(host, made)
            raise ChangeFailed(f"{edit.path} was written, and containerd still has it off")
        return made

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        _clear(host, posixpath.dirname(self.main))
        if not outcome:  # it failed, which takes back what it wrote, or was cut off somewhere
            for path, old, new in zip(self.paths, self.olds, self.news, strict=True):
                now = content(host, path)
                remove_half(host, path)
                if now is not None and encode(now) == new:
                    put_back(host, path, old, new, None)
        else:
            uid, gid, mode = outcome["owner"]
            put_back(host, str(outcome["path"]), outcome["old"], outcome["new"], (uid, gid, mode))
        for path, count in zip(self.paths, self.folders, strict=True):
            remove_folders(host, path, count)


@dataclass(frozen=True)
class RaiseBaseSpec(InstallFile):
    """RLIMIT_MEMLOCK in the OCI runtime specification that containerd's base_runtime_spec names."""

    kind: ClassVar[str] = "base-runtime-spec"
    places: ClassVar[Mapping[str, Place]] = {**InstallFile.places, "path": place.JSON}

    def do(self, host: Host) -> None:
        _demand_root_only(host, self.path)
        super().do(host)


def _demand_root_only(host: Host, path: str) -> None:
    """ChangeFailed where another user could say what root reads and writes there."""
    if why := doubt(host, path):
        raise ChangeFailed(
            f"containerd's configuration {path} is not edited: {why}",
            "give it back to root: chown root: and chmod go-w on what is named above; or edit it by hand",
        )


def version(host: Host, program: str) -> Version | None:
    """Of the containerd on the host; None where there is none to ask."""
    done = host.run([program, "--version"], deadline=_DEADLINE)
    return parse_version(done.stdout.text) if done.rc == 0 else None


def _config_dump(host: Host, program: str, path: str) -> str:
    done = host.run([program, "--config", path, "config", "dump"], deadline=_DEADLINE)
    if done.rc == 127:
        raise DumpFailed("there is no containerd here to prove it by")
    if done.rc:
        raise DumpFailed((done.stderr.text.strip().splitlines() or [f"status {done.rc}"])[-1])
    return done.stdout.raw


def _dump(host: Host, program: str, directory: str) -> Dump:
    """Trials next to the main file, so that relative imports mean the same; gone afterwards."""

    def dump(main: str, piece: str) -> str:
        path, piece_path = f"{directory}/{TRIAL_MAIN}", f"{directory}/{TRIAL_PIECE}"
        host.mkdir(directory)
        try:
            host.replace(piece_path, piece.encode(), mode=0o600)
            host.replace(path, main.replace("@DROPIN@", piece_path).encode(), mode=0o600)
            return _config_dump(host, program, path)
        finally:
            _clear(host, directory)

    return dump


def _clear(host: Host, directory: str) -> None:
    """No trial stays, nor the half of one."""
    for path in (f"{directory}/{TRIAL_MAIN}", f"{directory}/{TRIAL_PIECE}"):
        remove_half(host, path)
        if content(host, path) is not None:
            host.unlink(path)
