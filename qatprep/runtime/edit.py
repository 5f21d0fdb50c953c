"""Switching device ownership on in a containerd configuration: candidates, to be proven by containerd itself.

On 1.x a drop-in that names the CRI plugin's table replaces the whole table of the main file: sandbox image, cgroup
driver, registries and runtimes fall back to their defaults, in silence. So there the file that decides is edited in
place. On 2.x a drop-in merges key by key, and is used where the main file imports a directory.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from typing import Any, NamedTuple

from qatprep.runtime.containerd import (
    DROPIN_NAME,
    KEY,
    V2,
    ConfigSet,
    File,
    Version,
    judge,
    tables,
    uri_for,
    version_of,
)
from qatprep.runtime.refusal import Refused
from qatprep.runtime.toml import EDIT_LIMIT

MARK = "# Written by qatprep: device nodes in a container belong to runAsUser and runAsGroup.\n"


class Edit(NamedTuple):
    """One file to write, and how to try it before it is there."""

    path: str
    before: str | None
    after: str
    why: str
    trial: str
    """A main file with the same effect, for `containerd --config TRIAL config dump`; @DROPIN@ in it means the
    path of a copy of `after`."""


def candidates(files: ConfigSet, binary: Version | None) -> tuple[Edit, ...]:
    """Edits that should switch it on, best first; () when it is on. Refused where none can be right."""
    verdict = judge(files, binary)
    for problem in verdict.problems:
        if problem.kind == "cri-disabled":
            raise Refused(
                f"{problem.path}: {problem.text}", "take cri out of disabled_plugins first, if Kubernetes is to use it"
            )
        if problem.kind == "version" and problem.fatal:
            raise Refused(
                f"{problem.path}: {problem.text}", "fix the version first: qatprep cannot know what was meant"
            )
        if problem.kind == "not-toml":
            raise Refused(f"{problem.path}: {problem.text}", "fix the file first")
        if problem.kind == "dropin-version":
            raise Refused(f"{problem.path}: {problem.text}", "give it the main file's version and table names first")
        if problem.kind == "ignored-v1" and problem.fatal:
            raise Refused(
                f"{problem.path}: {problem.text}",
                "`containerd config migrate` prints the file in the new form; put version and table names right first",
            )
    if verdict.on and not any(p.kind == "wrong-type" for p in verdict.problems):
        return ()
    found = [_drop_in(files, binary), _in_place(files, binary)]
    return tuple(edit for edit in found if edit is not None)


def permitted(edits: tuple[Edit, ...], may_edit: tuple[str, ...]) -> tuple[Edit, ...]:
    """Those of the node's own files and of `may_edit`. Refused, naming the file, where none is."""
    foreign = [(edit.path, owner(edit.path, edit.before)) for edit in edits]
    mine = tuple(edit for edit, (path, whose) in zip(edits, foreign, strict=True) if not whose or path in may_edit)
    if edits and not mine:
        path, whose = foreign[-1]
        raise Refused(f"{path} {whose}", f"to have it edited all the same, name it: containers.may_edit: [{path}]")
    return mine


def owner(path: str, text: str | None) -> str:
    """Who would write a file again over an edit, as the end of a sentence; "" for the node's own."""
    if path.startswith("/usr/") and not path.startswith("/usr/local/"):
        return "is below /usr: it belongs to the system, whose next update replaces it"
    if "nvidia" in posixpath.basename(path):
        return "belongs to NVIDIA's container toolkit, which writes it again"
    for line in (text or "").splitlines():
        if line.strip() and not line.startswith("#"):
            break
        if re.search(r"(?i)\b(?:managed|generated|do not edit)\b", line):
            return f"is written by something else: {line.lstrip('# ')[:100]!r}"
    return ""


def _drop_in(files: ConfigSet, binary: Version | None) -> Edit | None:
    """A drop-in of our own; None where it would not be read, would do harm, or would be overruled by a later file."""
    if binary is None or binary.major < 2 or not files.globs or files.main.text is None:
        return None
    directory = posixpath.dirname(files.globs[-1])
    path = f"{directory}/{DROPIN_NAME}"
    if any(file.path > path and _sets_key(file) for file in files.imports):
        return None
    if any(_sets_key(file) and posixpath.dirname(file.path) != directory for file in files.imports):
        return None
    document = tomllib.loads(files.main.text)
    version = version_of(document) or 1
    if version == 1:
        return None
    before = next((file.text for file in files.imports if file.path == path), None)
    after = f"{MARK}version = {version}\n\n[plugins.'{uri_for(version)}']\n  {KEY} = true\n"
    trial = _with_import(files.main.text, "@DROPIN@")
    return Edit(
        path, before, after, f"{files.main.path} imports {files.globs[-1]}, and containerd 2 merges key by key", trial
    )


def _sets_key(file: File) -> bool:
    return file.text is not None and KEY in file.text


def _with_import(text: str, path: str) -> str:
    import tomlkit

    if len(text) > EDIT_LIMIT:
        raise Refused(
            f"containerd's main file has {len(text)} bytes, at most {EDIT_LIMIT} are edited", "edit it by hand"
        )
    document = tomlkit.parse(text)
    imports = document["imports"]
    assert isinstance(imports, list)
    imports.append(path)
    return tomlkit.dumps(document)


def _in_place(files: ConfigSet, binary: Version | None) -> Edit | None:
    """The edit of the file that decides: the last import that has the CRI table on 1.x, else the main file."""
    target = _deciding(files, binary)
    if target is not files.main and target.text is not None:
        after = set_key(target.text, target.path, _table_name(files, target, binary))
        others = [file for file in files.imports if file is not target]
        if others and others[-1] is not files.imports[-1] and _sets_key(files.imports[-1]):
            return None
        return Edit(
            target.path,
            target.text,
            after,
            f"{target.path} is read after {files.main.path} and has the table",
            _with_import(files.main.text or "", "@DROPIN@"),
        )
    text = files.main.text
    if text is None or not text.strip():
        after = f'{MARK}version = 2\n\n[plugins."{uri_for(2)}"]\n  {KEY} = true\n'
        state = "is not there" if text is None else "is empty"
        return Edit(
            files.main.path, text, after, f"{files.main.path} {state}: version 2 is read by every containerd", after
        )
    document = _parse(text, files.main.path)
    version = version_of(document) or 1
    if "version" not in document and (binary is None or binary.major >= 2):
        return _add_version(files.main, document, binary)
    uri = _table_name(files, files.main, binary)
    after = set_key(text, files.main.path, uri)
    why = f'{files.main.path} is a version {version} file: its table is [plugins."{uri}"]'
    return Edit(files.main.path, text, after, why, after)


def _add_version(main: File, document: dict[str, Any], binary: Version | None) -> Edit:
    """An unversioned file under 2.x: `version = 2` is put first, where that changes nothing else."""
    risky = [key for key in ("plugins", "disabled_plugins", "required_plugins") if document.get(key)]
    if binary is None:
        raise Refused(
            f"{main.path} has no `version`, and which containerd reads it is not known",
            "run qatprep on the node itself, or add `version = 2` and rename [plugins.cri] yourself",
        )
    if risky:
        raise Refused(
            f"{main.path} has no `version`, and its {risky[0]} would change their meaning with one",
            "`containerd config migrate` prints the file in the new form",
        )
    text = main.text or ""
    after = set_key("version = 2\n" + text, main.path, V2)
    return Edit(main.path, text, after, f"{main.path} has no `version`: containerd 2 reads version 2 surely", after)


def _table_name(files: ConfigSet, file: File, binary: Version | None) -> str:
    """The CRI plugin's table to write in a file: the one it has, else the one it should have."""
    names = tables(files, file, binary) or (V2,)
    plugins = _parse(file.text or "", file.path).get("plugins")
    return next((name for name in names if isinstance(plugins, dict) and name in plugins), names[0])


def _deciding(files: ConfigSet, binary: Version | None) -> File:
    """1.x: the last file with the CRI table replaces all before it. 2.x: the last file that names the key."""
    for file in reversed(files.imports):
        plugins = _parse(file.text or "", file.path).get("plugins")
        found = [plugins.get(name) for name in tables(files, file, binary)] if isinstance(plugins, dict) else []
        if any(isinstance(table, dict) and (KEY in table or _replaces(binary)) for table in found):
            return file
    return files.main


def _replaces(binary: Version | None) -> bool:
    return binary is not None and binary.major < 2


def _parse(text: str, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise Refused(f"{path}: not TOML: {e}", "fix the file first") from e
    except RecursionError as e:
        raise Refused(f"{path}: nested too deeply to be a containerd configuration", "fix the file first") from e


def set_key(text: str, path: str, uri: str) -> str:
    """The same file with the key true in the CRI plugin's table `uri`; comments and layout survive.

    Refused when the file is not TOML, or when the one key could not be set without changing anything else.
    """
    document = _parse(text, path)
    if version_of(document) is None:
        raise Refused(f"{path}: version = {document.get('version')!r} is none that containerd has", "")
    wanted = _wanted(document, uri, path)
    for attempt in (_by_line, _by_tomlkit, _by_new_table):
        after = attempt(text, uri)
        if after is not None and _same(after, wanted):
            return after
    raise Refused(
        f'{path}: {KEY} could not be set in [plugins."{uri}"] without changing something else',
        f'set it by hand: in [plugins."{uri}"], {KEY} = true',
    )


def _wanted(document: dict[str, Any], uri: str, path: str) -> dict[str, Any]:
    plugins = document.get("plugins", {})
    table = plugins.get(uri, {}) if isinstance(plugins, dict) else None
    if not isinstance(table, dict):
        raise Refused(f"{path}: plugins is not a table", "fix the file first")
    return {**document, "plugins": {**plugins, uri: {**table, KEY: True}}}


def _same(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except (tomllib.TOMLDecodeError, RecursionError):
        return False


def _by_line(text: str, uri: str) -> str | None:
    """One line below the table's header, or the value in the key's own line. None where the table has no header."""
    lines = text.splitlines(keepends=True)
    headers = {f"[plugins.{quote}{uri}{quote}]" for quote in ("", '"', "'")}
    header = next(
        (i for i, line in enumerate(lines) if line.split("#", 1)[0].strip().replace(" ", "") in headers), None
    )
    if header is None:
        return None
    newline = _newline(text)
    if not lines[header].endswith(("\n", "\r")):
        lines[header] += newline
    for index, line in enumerate(lines[header + 1 :], header + 1):
        if line.lstrip().startswith("["):
            break
        if match := re.match(rf"(\s*[\"']?{KEY}[\"']?\s*=\s*)(\w+|\"[^\"]*\"|'[^']*')", line):
            lines[index] = f"{match[1]}true{line[match.end() :]}"
            return "".join(lines)
    lines.insert(header + 1, f"{_indent(lines, header)}{KEY} = true{newline}")
    return "".join(lines)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _indent(lines: list[str], header: int) -> str:
    """Of the keys in a table: as its first key has it, else as its first child table, else two spaces more."""
    own = _blank(lines[header])
    following = next((line for line in lines[header + 1 :] if line.strip() and not line.lstrip().startswith("#")), "")
    return _blank(following) if "=" in following or len(_blank(following)) > len(own) else own + "  "


def _blank(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _by_tomlkit(text: str, uri: str) -> str | None:
    """For tables without a header of their own: inline, dotted, or implied by their children."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    if len(text) > EDIT_LIMIT:
        return None
    # A table that was only implied by its children may come out in the middle of another: the caller compares.
    try:
        document = tomlkit.parse(text)
        plugins = document.setdefault("plugins", tomlkit.table(is_super_table=True))
        plugins.setdefault(uri, tomlkit.table())[KEY] = True
        after = tomlkit.dumps(document)
    except (TOMLKitError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None
    # tomlkit ends new lines with \n, whatever the others end with.
    return after if _newline(text) == "\n" else re.sub(r"(?<!\r)\n", "\r\n", after)


def _by_new_table(text: str, uri: str) -> str:
    """A table at the end: for layouts tomlkit takes apart."""
    newline = _newline(text)
    end = "" if not text or text.endswith("\n") else newline
    return f'{text}{end}{newline}[plugins."{uri}"]{newline}  {KEY} = true{newline}'
