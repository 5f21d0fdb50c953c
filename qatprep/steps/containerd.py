"""containerd's device ownership.

Nothing of containerd's own is written before its own `config dump` has shown that one key changes and nothing else.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from qatprep.facts import containerd as containerd_facts
from qatprep.facts.base import Unknown
from qatprep.host.base import Host
from qatprep.runtime.containerd import CONF_D, Version, parse_version
from qatprep.runtime.dry_run import Dump, DumpFailed, proven
from qatprep.runtime.dump import device_ownership, parse_dump
from qatprep.runtime.refusal import Refused
from qatprep.steps import places as place
from qatprep.steps.base import Change, ChangeFailed, Summary
from qatprep.steps.files import content, encode, put_back
from qatprep.steps.places import Place

TRIAL_MAIN, TRIAL_PIECE = ".qatprep-trial", ".qatprep-trial-import"
"""Names beside the main file that no *.toml glob matches."""
_DEADLINE = 30.0


@dataclass(frozen=True)
class OwnDevices(Change):
    """containerd's device ownership on, in whichever file decides, proven by containerd before it is written."""

    kind: ClassVar[str] = "device-ownership"
    what: ClassVar[str] = "device ownership"
    persistent: ClassVar[bool] = True
    places: ClassVar[Mapping[str, Place]] = {"main": place.TOML, "target": place.TOML, "why": place.TEXT}
    outcomes: ClassVar[Mapping[str, Place]] = {"path": place.TOML, "old": place.BASE64, "new": place.BASE64}

    main: str
    """containerd's main file."""
    target: str
    """The file that is expected to be written."""
    why: str

    @property
    def summary(self) -> Summary:
        return Summary(self.target, "off", f"on ({self.why})")

    def do(self, host: Host) -> Mapping[str, Any] | None:
        files = containerd_facts.read(host, self.main, CONF_D)
        if isinstance(files, Unknown):
            raise ChangeFailed(f"cannot read containerd's configuration: {files.reason}")
        directory = posixpath.dirname(self.main)
        trials = frozenset({f"{directory}/{TRIAL_MAIN}", f"{directory}/{TRIAL_PIECE}"})
        try:
            edit = proven(files, version(host), _dump(host, directory), names=trials)
        except (Refused, DumpFailed) as e:
            message, hint = (e.message, e.hint) if isinstance(e, Refused) else (str(e), "")
            raise ChangeFailed(message, hint) from e
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
        made = {
            "path": edit.path,
            "old": None if old is None else encode(old),
            "new": encode(new),
            "owner": [uid, gid, mode],
        }
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
