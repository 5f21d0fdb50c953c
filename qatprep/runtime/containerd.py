"""containerd's configuration: where device ownership is set, what a file set makes of it, and how to switch it on.

Where the rules come from: the real binaries 1.6.20, 1.7.24, 2.1.9 and 2.3.4, asked by `config dump` (docs/containers.md
has the table; tests/runtime asks them again), and containerd's source (1.x cmd/containerd/server/config/config.go,
mergeConfig "Replace entire sections of plugins"; 2.x the same file after commit a21e379b6).

The key exists from 1.6.0 on. The table's name follows the `version` of the file it stands in, never the binary's.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

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


@dataclass(frozen=True)
class File:
    """One configuration file; text is None when it is not there."""

    path: str
    text: str | None


@dataclass(frozen=True)
class ConfigSet:
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


@dataclass(frozen=True)
class Problem:
    kind: ProblemKind
    path: str
    text: str
    fatal: bool = False
    """The daemon refuses to start with it, or the setting cannot take effect before it is fixed."""


@dataclass(frozen=True)
class Verdict:
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
        refused = _refused_shape(document, version)
        if refused:
            problems.append(Problem("not-toml", file.path, refused, fatal=True))
            return Verdict(None, file.path, tuple(problems))
        problems += _mistakes(file, document, version, binary)
        table = _table(document, version, binary)
        if table is None:
            continue
        if old and not is_main and _replaces(files, file, version):
            problems.append(
                Problem(
                    "replaced",
                    file.path,
                    f"containerd 1.x replaces the whole [plugins.{_quoted(uri_for(version))}] table of "
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


def base_spec(files: ConfigSet, binary: Version | None) -> str:
    """The file that base_runtime_spec of the default runtime names, "" for none.

    containerd starts every container of that runtime from it, rlimits included (internal/cri/config/config.go).
    """
    default, specs = "runc", dict[str, str]()
    for file in files.files:
        document = _load(file, [])
        version = version_of(document) if document else None
        table = _table(document, version, binary) if document and version else None
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
    try:
        return tomllib.loads(file.text or "")
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        text = str(e) if isinstance(e, tomllib.TOMLDecodeError) else "nested too deeply"
        problems.append(Problem("not-toml", file.path, f"not TOML: {text}", fatal=True))
        return None


def _refused_shape(document: dict[str, Any], version: int) -> str:
    """Why every containerd refuses a document that is TOML, or ""."""
    if "plugins" in document and not isinstance(document["plugins"], dict):
        return "plugins is no table"
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
    if binary.major < 2 and root == 1 and version == 2:
        problems.append(
            Problem("dropin-version", file.path, "version 2, imported by a file that has none: 1.x refuses", fatal=True)
        )
        return "refused"
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


def _table(document: dict[str, Any], version: int, binary: Version | None) -> dict[str, Any] | None:
    plugins = document.get("plugins")
    if not isinstance(plugins, dict):
        return None
    newer = binary is None or binary.major >= 2
    names = [uri_for(version)]
    if newer and "version" not in document:
        # A drop-in without version is migrated by table name (run on 2.1.9 and 2.3.4), except that 2.0 to 2.2 lose
        # [plugins.cri] of an unversioned main file; judge() reports that as "ignored-v1".
        names = [V2, V3] if binary is None or binary < (2, 3) else [V1, V2, V3]
    if newer and version == 2:
        names.append(V3)  # the migration in memory leaves the newer name alone (run on 2.1.9)
    if newer and version == 3 and binary is not None and binary >= (2, 3):
        names.append(V2)
    for name in names:
        table = plugins.get(name)
        if isinstance(table, dict):
            return table
    return None


def _mistakes(file: File, document: dict[str, Any], version: int, binary: Version | None) -> list[Problem]:
    """What containerd passes over without a word, or nearly so."""
    problems = []
    right = uri_for(version)
    plugins = document.get("plugins")
    tables = plugins if isinstance(plugins, dict) else {}
    for name in URIS:
        table = tables.get(name)
        if not isinstance(table, dict):
            continue
        if name != right and KEY in table and _table(document, version, binary) is not table:
            kind: ProblemKind = "ignored-v1" if name == V1 == right else "wrong-table"
            problems.append(
                Problem(
                    kind,
                    file.path,
                    f"{KEY} is in [plugins.{_quoted(name)}], which a version {version} file does not use: "
                    f"its table is [plugins.{_quoted(right)}]",
                )
            )
        if KEY not in table:
            close = difflib.get_close_matches(KEY, [str(key) for key in table], 1, cutoff=0.85)
            if close:
                problems.append(Problem("misspelt", file.path, f"{close[0]!r} is misspelt: the key is {KEY}"))
    if binary is not None and (2, 0) <= binary < (2, 3) and "version" not in document and V1 in tables:
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
    lost = _imports_in_table(document)
    if lost:
        problems.append(
            Problem("imports-in-table", file.path, f"`imports` stands below [{lost}], so it belongs to that table")
        )
    return problems


def _imports_in_table(document: dict[str, Any]) -> str:
    """The table, dotted, that swallowed a top-level `imports`; "" when none did."""
    stack: list[tuple[str, dict[str, Any]]] = [("", document)]
    while stack:
        name, table = stack.pop()
        if name and isinstance(table.get("imports"), list):
            return name
        for key, value in table.items():
            if isinstance(value, dict):
                stack.append((f"{name}.{_quoted(key)}" if name else _quoted(key), value))
    return ""


def _replaces(files: ConfigSet, file: File, version: int) -> bool:
    """Whether an earlier file has the same table with something in it."""
    for earlier in files.files:
        if earlier is file:
            return False
        try:
            document = tomllib.loads(earlier.text or "")
        except tomllib.TOMLDecodeError:
            continue
        plugins = document.get("plugins")
        if isinstance(plugins, dict) and plugins.get(uri_for(version)):
            return True
    return False


def _quoted(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() else f'"{key}"'
