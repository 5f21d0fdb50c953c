"""CRI-O: a drop-in of its own, for device ownership and the memlock limit.

pkg/config/config.go, UpdateFromPath: every file of /etc/crio/crio.conf.d and below it is read, whatever its name, in
the order of filepath.Walk; the last to name a key wins, key by key. Nothing else is read (crio.conf.d(5)). CRI-O is
the one runtime with a memlock knob (default_ulimits); without it containers inherit the daemon's limit.
Never run here: rules from CRI-O's documentation and source (f954a17e50).
"""

from __future__ import annotations

import json
import tomllib
from typing import Any, NamedTuple

from qatprep.runtime.containerd import KEY, File
from qatprep.runtime.memlock import INFINITY, from_ulimits
from qatprep.runtime.refusal import Refused
from qatprep.text import gated

MAIN = "/etc/crio/crio.conf"
CONF_D = "/etc/crio/crio.conf.d"
DROPIN = f"{CONF_D}/90-qatprep.conf"


class CrioVerdict(NamedTuple):
    ownership: bool
    ulimits: tuple[str, ...]
    """default_ulimits in force."""
    where: str
    """The file that decides on ownership, "" when none names it."""
    ulimits_where: str = ""
    """The file that sets them."""
    broken: tuple[tuple[str, str], ...] = ()
    """Files that are no TOML or have values of another type, and why: CRI-O does not start with one."""


def judge(files: tuple[File, ...]) -> CrioVerdict:
    """What the files, in the order CRI-O reads them, come to."""
    ownership, where = False, ""
    ulimits: tuple[str, ...] = ()
    ulimits_where = ""
    broken = []
    for file in files:
        try:
            document = gated(tomllib.loads(file.text or ""))
        except (tomllib.TOMLDecodeError, RecursionError) as e:
            broken.append((file.path, f"not TOML: {e}"))
            continue
        if why := _wrong_type(document):
            broken.append((file.path, why))
            continue
        table = document.get("crio", {}).get("runtime", {})
        if KEY in table:
            ownership, where = table[KEY], file.path
        if "default_ulimits" in table:
            ulimits, ulimits_where = tuple(table["default_ulimits"]), file.path
    return CrioVerdict(ownership, ulimits, where, ulimits_where, tuple(broken))


def _wrong_type(document: dict[str, Any]) -> str:
    """What CRI-O's decoder refuses in the tables that are read here, "" for nothing."""
    table: Any = document
    for name in ("crio", "runtime"):
        table = table.get(name, {})
        if not isinstance(table, dict):
            return f"{name} is not a table"
    if not isinstance(table.get(KEY, False), bool):
        return f"{KEY} is {table[KEY]!r}, not true or false"
    ulimits = table.get("default_ulimits", [])
    if not (isinstance(ulimits, list) and all(isinstance(item, str) for item in ulimits)):
        return "default_ulimits is not a list of strings"
    return ""


def drop_in(files: tuple[File, ...], *, ownership: bool, memlock: int | None) -> str | None:
    """The text of DROPIN, or None when there is nothing to do.

    `ownership`: switch device ownership on. `memlock` in bytes is added to the ulimits in force, which a later list
    would replace as a whole. What DROPIN has already is kept. Refused when a file is broken, or when one that sorts
    after ours says otherwise.
    """
    now = judge(files)
    if now.broken:
        path, why = now.broken[0]
        raise Refused(f"{path}: {why}", "fix the file first: CRI-O does not start with it")
    limit = from_ulimits(now.ulimits)
    raise_limit = memlock is not None and (limit is None or limit.soft < memlock)
    if (now.ownership or not ownership) and not raise_limit:
        return None
    later = judge(tuple(file for file in files if _after(file.path)))
    if ownership and later.where and not later.ownership:
        raise Refused(f"{later.where} sorts after ours and says {KEY} = false", "change it there")
    ours = judge(tuple(file for file in files if file.path == DROPIN))
    lines = ["# Written by qatprep: lets containers use QAT VFs.", "[crio.runtime]"]
    if ownership or ours.ownership:
        lines.append(f"{KEY} = true")
    kept = [item for item in now.ulimits if not item.startswith("memlock=")] if raise_limit else list(ours.ulimits)
    if raise_limit:
        hard = -1 if limit and limit.hard == INFINITY else max(memlock or 0, int(limit.hard) if limit else 0)
        wanted = f"memlock={memlock}:{hard}"
        if later.ulimits:
            raise Refused(f"{later.ulimits_where} sorts after ours and sets default_ulimits", f"add {wanted!r} to it")
        kept.append(wanted)
    if kept:
        # What is printable is written alike in JSON and in a basic string of TOML.
        lines.append("default_ulimits = [" + ", ".join(json.dumps(item, ensure_ascii=False) for item in kept) + "]")
    return "\n".join(lines) + "\n"


def _after(path: str) -> bool:
    """Whether a file is read after DROPIN."""
    return path.startswith(f"{CONF_D}/") and path.split("/") > DROPIN.split("/")
