"""containerd's configuration files as they are on the host, imports and all."""

from __future__ import annotations

import fnmatch
import posixpath
import tomllib

from qatprep.facts.base import ABSENT, Unknown, names, unknown
from qatprep.host.base import Host
from qatprep.runtime.containerd import CONF_D, MAIN, ConfigSet, File
from qatprep.runtime.toml import LIMIT, too_deep

_MOST_FILES = 64


def read(host: Host, main: str = MAIN, conf_d: str = CONF_D) -> ConfigSet | Unknown:
    """The main file and its imports in the order containerd reads them.

    Relative imports are below the importing file's directory and globs are sorted (containerd
    cmd/containerd/server/config/config.go, resolveImports). Unknown when one of them cannot be read: it might be the
    one that decides.
    """
    text = _read(host, main)
    if isinstance(text, Unknown):
        return text
    imports: list[File] = []
    globs: tuple[str, ...] = ()
    pending = [File(main, text)]
    seen = {main}
    while pending and len(imports) < _MOST_FILES:
        file = pending.pop(0)
        if file.path != main:
            imports.append(file)
        patterns = _patterns(file)
        if file.path == main:
            globs = tuple(pattern for pattern in patterns if pattern.endswith("/*.toml"))
        for pattern in patterns:
            found = _resolve(host, pattern)
            if isinstance(found, Unknown):
                return found
            for path in found:
                if path in seen:
                    continue
                seen.add(path)
                imported = _read(host, path)
                if isinstance(imported, Unknown):
                    return imported
                pending.append(File(path, imported))
    there = names(host, conf_d)
    ignored = []
    for name in () if isinstance(there, Unknown) else there:
        path = f"{conf_d}/{name}"
        if name.endswith(".toml") and path not in seen:
            content = _read(host, path)
            ignored.append(File(path, None if isinstance(content, Unknown) else content))
    return ConfigSet(File(main, text), tuple(imports), globs, tuple(ignored))


def _read(host: Host, path: str) -> str | Unknown | None:
    try:
        text = host.read(path, limit=LIMIT).decode("utf-8")
    except OSError as e:
        return None if e.errno in ABSENT else unknown(e)
    except UnicodeDecodeError as e:
        return Unknown(f"{path}: not UTF-8 (byte {e.start})")
    why = too_deep(text)
    return Unknown(f"{path}: {why}") if why else text


def _patterns(file: File) -> list[str]:
    try:
        imports = tomllib.loads(file.text or "").get("imports", [])
    except (tomllib.TOMLDecodeError, RecursionError):
        return []
    if not isinstance(imports, list):
        return []
    return [posixpath.normpath(posixpath.join(posixpath.dirname(file.path), str(item))) for item in imports]


def _resolve(host: Host, pattern: str) -> list[str] | Unknown:
    directory, name = posixpath.split(pattern)
    if not set("*?[") & set(pattern):
        return [pattern]
    if set("*?[") & set(directory):
        return []
    found = names(host, directory)
    if isinstance(found, Unknown):
        return found
    return [f"{directory}/{item}" for item in found if fnmatch.fnmatchcase(item, name)]
