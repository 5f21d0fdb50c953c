"""containerd's configuration: where device ownership is set, what a file set makes of it, and how to switch it on.

Where the rules come from: the real binaries 1.6.20, 1.7.24, 2.1.9 and 2.3.4, asked by `config dump` (docs/containers.md
has the table; tests/runtime asks them again), and containerd's source (1.x cmd/containerd/server/config/config.go,
mergeConfig "Replace entire sections of plugins"; 2.x the same file after commit a21e379b6).

The key exists from 1.6.0 on. The table's name follows the `version` of the file it is in, never the binary's.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from qatprep.text import gated

KEY = "device_ownership_from_security_context"

MAIN = "/etc/containerd/config.toml"
CONF_D = "/etc/containerd/conf.d"
DROPIN_NAME = "90-qatprep.toml"

V1, V2, V3 = "cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"
URIS = (V1, V2, V3)
NEWEST = 4
"""The newest config version known: containerd 2.3.0."""

_CRI_PLUGINS = frozenset({"cri", V2, V3})


class Version(NamedTuple):
    """Of the binary, as `containerd --version` says."""

    major: int
    minor: int


def parse_version(text: str) -> Version | None:
    """From "containerd github.com/containerd/containerd 1.7.24~ds1 1.7.24~ds1-6+b4" or "v2.1.9"."""
    for word in text.split():
        if match := re.match(r"v?([0-9]{1,4})\.([0-9]{1,4})\.", word):
            return Version(int(match[1]), int(match[2]))
    return None


class File(NamedTuple):
    """One configuration file; text is None when it is not there."""

    path: str
    text: str | None


class ConfigSet(NamedTuple):
    """The main file and what it imports, in the order containerd merges them: later wins."""

    main: File
    imports: tuple[File, ...] = ()
    globs: tuple[str, ...] = ()
    """The main file's own imports patterns that end in /*.toml, in order."""
    ignored: tuple[File, ...] = ()
    """Files in /etc/containerd/conf.d that nothing imports."""

    @property
    def files(self) -> tuple[File, ...]:
        return (self.main, *self.imports)


ProblemKind = Literal[
    "not-toml", "version", "cri-disabled", "wrong-table", "misspelt", "wrong-type", "dropin-version",
    "replaced", "imports-in-table", "not-imported", "ignored-v1",
]  # fmt: skip


class Problem(NamedTuple):
    kind: ProblemKind
    path: str
    text: str
    fatal: bool = False
    """The daemon refuses to start with it, or the setting cannot take effect before it is fixed."""


class Verdict(NamedTuple):
    """What a file set comes to for one containerd."""

    on: bool | None
    """Whether device ownership is on; None when the daemon would refuse the files."""
    where: str
    """The file that decides, "" when none names the key."""
    problems: tuple[Problem, ...] = ()


def version_of(document: dict[str, Any]) -> int | None:
    """A file's config version; 1 when it has none. None for what no containerd knows."""
    value = document.get("version", 1)
    if value == 0:
        return 1
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= NEWEST else None


def uri_for(version: int) -> str:
    """The CRI plugin's table in a file of this config version."""
    return V1 if version == 1 else V2 if version == 2 else V3


def judge(files: ConfigSet, binary: Version | None) -> Verdict:
    """What containerd `binary` (None: not known, taken for 2.x) makes of the files, without asking it."""
    problems: list[Problem] = []
    on: bool | None = False
    where = ""
    root_version = 1
    old = binary is not None and binary.major < 2
    for file in files.files:
        if file.text is None or not file.text.strip():
            continue
        document = _load(file, problems)
        if document is None:
            return Verdict(None, file.path, tuple(problems))
        version = version_of(document)
        if version is None:
            problems.append(_unknown_version(file, document))
            return Verdict(None, file.path, tuple(problems))
        is_main = file is files.main
        root_version = version if is_main else root_version
        stop = _version_trouble(file, version, root_version, binary, is_main=is_main, problems=problems)
        if stop:
            return Verdict(None if stop == "refused" else False, where, tuple(problems))
        refused = _refused_shape(document, version) or (_short_name(files, document, binary) if binary and old else "")
        if refused:
            problems.append(Problem("not-toml", file.path, refused, fatal=True))
            return Verdict(None, file.path, tuple(problems))
        names = tables(files, file, binary)
        problems += _mistakes(file, document, names, binary, is_main=is_main)
        table = _table(document, names)
        if table is None:
            continue
        if old and not is_main and _replaces(files, file, names[0]):
            problems.append(
                Problem(
                    "replaced",
                    file.path,
                    f"containerd 1.x replaces the whole [plugins.{_quoted(names[0])}] table of "
                    f"{files.main.path} by the one in this file: everything else set there is lost",
                )
            )
            on, where = False, file.path
        value = table.get(KEY)
        if isinstance(value, bool):
            on, where = value, file.path
        elif value is not None:
            problems.append(
                Problem(
                    "wrong-type", file.path, f"{KEY} is {value!r}, not true: containerd refuses to start", fatal=True
                )
            )
            return Verdict(None, file.path, tuple(problems))
    for file in files.ignored:
        if KEY in (file.text or ""):
            text = f"{files.main.path} has no `imports` that names this file"
            problems.append(Problem("not-imported", file.path, text))
    return Verdict(on, where, tuple(problems))


def tables(files: ConfigSet, file: File, binary: Version | None) -> tuple[str, ...]:
    """The CRI plugin's tables that containerd reads in a file, the one to write first.

    1.x goes by the last `version` that any file of the set names, and ignores what files that name none say before
    (asked of 1.6.20 and 1.7.24). 2.x migrates each file by its own version, a drop-in without one by its tables.
    """
    if binary is not None and binary.major < 2:
        return (uri_for(_merged_version(files)),)
    version = _version(file)
    if version >= 3:
        return (V3, V2) if binary is not None and binary >= (2, 3) else (V3,)
    if version == 2:
        return (V2, V3)  # the migration in memory leaves the newer name alone (run on 2.1.9)
    if file is not files.main and _version(files.main) > 1:
        return (V2, V3, V1)
    # 2.0 to 2.2 read no table of a main file without version (asked of 2.1.9), nor of what it imports.
    return (V1, V2, V3) if binary is None or binary >= (2, 3) else ()


def _version(file: File) -> int:
    """Of a file that may be no TOML: 1."""
    return version_of(_load(file, []) or {}) or 1


def _merged_version(files: ConfigSet) -> int:
    merged = 1
    for file in files.files:
        if (_load(file, []) or {}).get("version"):
            merged = _version(file)
    return merged


def _short_name(files: ConfigSet, document: dict[str, Any], binary: Version) -> str:
    """Why 1.x refuses: where the last `version` is 2, no file may have a short name (run on 1.6.20 and 1.7.24).

    1.6 counts the parts of a name alone.
    """
    first = "" if binary < (1, 7) else "io.containerd."
    names = document.get("plugins", {})
    short = sorted(name for name in names if not name.startswith(first) or name.count(".") < 3)
    if _merged_version(files) < 2 or not short:
        return ""
    return f"[plugins.{_quoted(short[0])}] with `version = 2`: from version 2 on plugins are named in full, e.g. {V2}"


def base_spec(files: ConfigSet, binary: Version | None) -> str:
    """The file that base_runtime_spec of the default runtime names, "" for none.

    containerd starts every container of that runtime from it, rlimits included (internal/cri/config/config.go).
    """
    default, specs = "runc", dict[str, str]()
    for file in files.files:
        table = _table(_load(file, []) or {}, tables(files, file, binary))
        if table is None:
            continue
        if binary is not None and binary.major < 2:
            default, specs = "runc", {}  # 1.x replaces the whole table
        containerd = table.get("containerd")
        if not isinstance(containerd, dict):
            continue
        default = str(containerd.get("default_runtime_name", default))
        runtimes = containerd.get("runtimes")
        for name, runtime in runtimes.items() if isinstance(runtimes, dict) else ():
            if isinstance(runtime, dict) and isinstance(runtime.get("base_runtime_spec"), str):
                specs[name] = runtime["base_runtime_spec"]
    return specs.get(default, "")


def _load(file: File, problems: list[Problem]) -> dict[str, Any] | None:
    document = _parsed(file.text or "")
    if isinstance(document, str):
        problems.append(Problem("not-toml", file.path, f"not TOML: {document}", fatal=True))
        return None
    return document


@lru_cache(maxsize=128)
def _parsed(text: str) -> dict[str, Any] | str:
    """The document, not to be changed, or why there is none. Each file is asked for by every other."""
    try:
        document: dict[str, Any] = gated(tomllib.loads(text))
        return document
    except tomllib.TOMLDecodeError as e:
        return str(e)
    except RecursionError:
        return "nested too deeply"


def _refused_shape(document: dict[str, Any], version: int) -> str:
    """Why every containerd refuses a document that is TOML, or ""."""
    if "plugins" in document and not isinstance(document["plugins"], dict):
        return "plugins is not a table"
    imports = document.get("imports", [])
    if not (isinstance(imports, list) and all(isinstance(item, str) for item in imports)):
        return "imports is no list of paths"
    if version > 1:
        for key in ("disabled_plugins", "required_plugins"):
            listed = document.get(key)
            short = [x for x in listed if isinstance(x, str) and "." not in x] if isinstance(listed, list) else []
            if short:
                return f"{key} has {short[0]!r}: from version 2 on plugins are named in full, e.g. {V2}"
    return ""


def _unknown_version(file: File, document: dict[str, Any]) -> Problem:
    return Problem("version", file.path, f"version = {document.get('version')!r}: known are 1 to {NEWEST}", fatal=True)


def _version_trouble(
    file: File, version: int, root: int, binary: Version | None, *, is_main: bool, problems: list[Problem]
) -> Literal["", "ignored", "refused"]:
    """What a file's version does to the rest; the table of docs/containers.md, line by line."""
    if binary is None:
        return ""
    if binary.major < 2 and version > 2:
        if binary.minor < 7:
            problems.append(
                Problem(
                    "version", file.path, f"version = {version}: containerd 1.6 silently ignores this file", fatal=True
                )
            )
            return "ignored"
        problems.append(
            Problem("version", file.path, f"version = {version}: containerd 1.7 refuses to start with it", fatal=True)
        )
        return "refused"
    if binary.major >= 2 and version == 4 and binary < (2, 3):
        problems.append(Problem("version", file.path, "version = 4 needs containerd 2.3 or later", fatal=True))
        return "refused"
    if is_main:
        return ""
    if binary.major >= 2 and version > root:
        if binary >= (2, 3):
            problems.append(
                Problem(
                    "dropin-version", file.path, f"version {version}, above the main file's {root}: refused", fatal=True
                )
            )
            return "refused"
        problems.append(
            Problem(
                "dropin-version",
                file.path,
                f"version {version}, above the main file's {root}: the main file's CRI settings are no longer read",
            )
        )
    return ""


def _table(document: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any] | None:
    plugins = document.get("plugins")
    found = (plugins.get(name) for name in names) if isinstance(plugins, dict) else ()
    return next((table for table in found if isinstance(table, dict)), None)


def _mistakes(
    file: File, document: dict[str, Any], names: tuple[str, ...], binary: Version | None, *, is_main: bool
) -> list[Problem]:
    """What containerd passes over without a word, or nearly so."""
    problems = []
    plugins = document.get("plugins")
    plugin_tables = plugins if isinstance(plugins, dict) else {}
    lost = is_main and binary is not None and (2, 0) <= binary < (2, 3) and "version" not in document
    for name, holder in _tables_with_key(document):
        if name not in [_dotted("plugins", uri) for uri in names] and not (lost and holder is plugin_tables.get(V1)):
            right = f"[{_dotted('plugins', (names or (V2,))[0])}]"
            text = f"{KEY} is in [{name}], where containerd does not look for it: its table here is {right}"
            problems.append(Problem("wrong-table", file.path, text if name else text.replace("in []", "in no table")))
    for uri in URIS:
        table = plugin_tables.get(uri)
        close = (
            difflib.get_close_matches(KEY, [str(key) for key in table], 1, cutoff=0.85)
            if isinstance(table, dict) and KEY not in table
            else []
        )
        if close:
            problems.append(Problem("misspelt", file.path, f"{close[0]!r} is misspelt: the key is {KEY}"))
    if lost and V1 in plugin_tables:
        problems.append(
            Problem(
                "ignored-v1",
                file.path,
                "no `version` and a [plugins.cri] table: containerd 2.0 to 2.2 drop the table, with a mere warning",
                fatal=True,
            )
        )
    disabled = document.get("disabled_plugins")
    if isinstance(disabled, list) and _CRI_PLUGINS & {str(item) for item in disabled}:
        problems.append(
            Problem(
                "cri-disabled",
                file.path,
                "disabled_plugins switches the CRI plugin off: Kubernetes cannot use this containerd",
                fatal=True,
            )
        )
    swallowed = [name for name, table in _all_tables(document) if name and isinstance(table.get("imports"), list)]
    if swallowed:
        text = f"`imports` is below [{swallowed[0]}], so it belongs to that table"
        problems.append(Problem("imports-in-table", file.path, text))
    return problems


def _all_tables(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every table with its dotted name, "" for the document's own."""
    stack: list[tuple[str, dict[str, Any]]] = [("", document)]
    while stack:
        name, table = stack.pop()
        yield name, table
        stack += [(_dotted(name, key), value) for key, value in table.items() if isinstance(value, dict)]


def _tables_with_key(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, table) for name, table in _all_tables(document) if KEY in table]


def _replaces(files: ConfigSet, file: File, uri: str) -> bool:
    """Whether an earlier file has the same table with something in it."""
    earlier = files.files[: files.files.index(file)]
    return any(_table(_load(each, []) or {}, (uri,)) for each in earlier)


def _dotted(name: str, key: str) -> str:
    return f"{name}.{_quoted(key)}" if name else _quoted(key)


def _quoted(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() else f'"{key}"'
