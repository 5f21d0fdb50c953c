"""containerd's configuration files as they are on the host, imports and all."""

from __future__ import annotations

import fnmatch
import posixpath
import re
import tomllib

from qatprep.facts.base import ABSENT, Unknown, names, unknown
from qatprep.facts.processes import cmdline
from qatprep.host.base import Host
from qatprep.host.trust import doubt
from qatprep.runtime.containerd import CONF_D, MAIN, ConfigSet, File, Version
from qatprep.runtime.dump import Answer, answer
from qatprep.runtime.toml import LIMIT, too_deep
from qatprep.text import gated, printable

_MOST_FILES = 64
_DEADLINE = 10.0
_GLOB = set("*?[")


def read(host: Host, main: str = MAIN, conf_d: str = CONF_D, binary: Version | None = None) -> ConfigSet | Unknown:
    """The main file and its imports in the order containerd `binary` reads them.

    Relative imports are below the importing file's directory and globs are sorted (containerd
    cmd/containerd/server/config/config.go, resolveImports); 1.6 takes a relative glob from its working directory, for
    a service /. Unknown when one of them cannot be read: it might be the one that decides.
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
        patterns = _patterns(file, binary)
        if file.path == main:
            globs = tuple(
                pattern for pattern in patterns if pattern.endswith("/*.toml") and not _GLOB & set(pattern[:-7])
            )
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


def program(host: Host, pid: int, candidates: tuple[str, ...] = ()) -> str | Unknown:
    """The containerd to ask: of the running daemon `pid` (0: none runs), else the first of `candidates` that is there,
    else the one on the path. Unknown where others than root could change it: root does not run it then.
    """
    found = _executable(host, pid) if pid else ""
    if not found:
        found = next((path for path in (*candidates, *_USUAL) if _is_there(host, path)), "containerd")
    why = doubt(host, found, root_only=True) if host.euid == 0 and found.startswith("/") else ""
    return Unknown(f"{found} is not run: {why}") if why else found


_USUAL = ("/usr/local/bin/containerd",)
"""Where containerd's own archive puts it; the path of root's programs does not have it."""


def _executable(host: Host, pid: int) -> str:
    """By the kernel's link, which says " (deleted)" after an update; else as it was started. "" for k3s itself."""
    try:
        linked = printable(host.readlink(f"/proc/{pid}/exe"))
    except OSError:
        linked = ""
    started = cmdline(host, pid).split(" ", 1)[0]
    return next(
        (path for path in (linked, started) if re.fullmatch(r"/\S*/containerd", path) and path.isprintable()), ""
    )


def _is_there(host: Host, path: str) -> bool:
    try:
        return host.stat(path).kind == "file"
    except OSError:
        return False


def ask(host: Host, command: str, files: ConfigSet, binary: Version | None) -> Answer | Unknown | None:
    """What the node's containerd makes of its files; None where there is none to ask, or no main file to ask about."""
    if files.main.text is None:
        return None
    argv = [command, "--config", files.main.path, "config", "dump"]
    done = host.run(argv, deadline=_DEADLINE)
    if done.rc in (126, 127):
        return None
    said = (done.stderr.text.strip().splitlines() or [f"it ended with {done.rc}"])[-1]
    if done.rc > 1 or "permission denied" in said:
        return Unknown(f"{' '.join(argv)}: {said}")
    if done.rc:
        return Answer(" ".join(argv), False, said.removeprefix("containerd: "))
    try:
        return answer(" ".join(argv), files, binary, done.stdout.raw, done.stderr.text)
    except ValueError as e:
        return Unknown(f"{' '.join(argv)}: {e}")


def _read(host: Host, path: str) -> str | Unknown | None:
    try:
        text = host.read(path, limit=LIMIT).decode("utf-8")  # to be edited, so exact
    except OSError as e:
        return None if e.errno in ABSENT else unknown(e)
    except UnicodeDecodeError as e:
        return Unknown(f"{path}: not UTF-8 (byte {e.start})")
    why = too_deep(text)
    return Unknown(f"{path}: {why}") if why else text


def _patterns(file: File, binary: Version | None) -> list[str]:
    try:
        imports = gated(tomllib.loads(file.text or "")).get("imports", [])
    except (tomllib.TOMLDecodeError, RecursionError):
        return []
    if not isinstance(imports, list):
        return []
    directory, old = posixpath.dirname(file.path), binary is not None and binary < (1, 7)
    return [
        posixpath.normpath(posixpath.join("/" if old and "*" in str(item) else directory, str(item)))
        for item in imports
    ]


def _resolve(host: Host, pattern: str) -> list[str] | Unknown:
    """The files of a pattern, which may have globs in its directories too, as Go's filepath.Glob finds them."""
    if not _GLOB & set(pattern):
        return [pattern]
    directory, name = posixpath.split(pattern)
    places = _resolve(host, directory)
    if isinstance(places, Unknown):
        return places
    if len(places) > _MOST_FILES:
        return Unknown(f"{directory}: more than {_MOST_FILES} names match it")
    matches: list[str] = []
    for place in places:
        found = names(host, place)
        if isinstance(found, Unknown):
            return found
        matches += [posixpath.join(place, item) for item in found if fnmatch.fnmatchcase(item, name)]
    return matches
