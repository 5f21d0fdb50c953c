"""Text and --set become a configuration, or all their mistakes at once, each with its place and a suggestion."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from qatprep import hardware, schema_check
from qatprep.config.values import (
    DEFAULTS,
    KEEP,
    KEEP_MEMLOCK,
    OTHERS,
    PATH,
    PF_KEYS,
    ContainersConfig,
    NodeConfig,
    Override,
    PfConfig,
)
from qatprep.errors import InputError
from qatprep.facts.base import ABSENT
from qatprep.host.base import Host
from qatprep.host.trust import require
from qatprep.host.user_files import read_file
from qatprep.schema_check import Path
from qatprep.text import did_you_mean, plural
from qatprep.yaml_text import Document, Place, document

LIMIT = 64 << 10
"""Bytes of a configuration file."""
_DEVICES = "devices@"
_SHOWN = 20
"""Mistakes that a message lists; `qatprep config check -o json` has all."""


class Mistake(NamedTuple):
    """One thing that is wrong with a configuration."""

    place: Place
    """File, line and column; or the --set that brought it."""
    key: str
    """devices.services, overrides[0].match.family: "" for what is about no key."""
    text: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class ConfigError(InputError):
    """Everything that is wrong with a configuration."""

    def __init__(self, mistakes: Sequence[Mistake], config: NodeConfig | None = None) -> None:
        """`config` is what is right of it, None where nothing can be said of that."""
        self.config = config
        mistakes = sorted(mistakes, key=lambda one: (not one.place.line, one.place.line, one.place.column))
        self.mistakes = tuple(mistakes)
        if len(mistakes) == 1:
            super().__init__(str(mistakes[0]), mistakes[0].hint)
            return
        lines = [f"the configuration has {plural(len(mistakes), 'mistake')}"]
        for mistake in mistakes[:_SHOWN]:
            lines.append(f"  {mistake}" + (f"\n    {mistake.hint}" if mistake.hint else ""))
        if len(mistakes) > _SHOWN:
            lines.append(f"  ... and {len(mistakes) - _SHOWN} more")
        super().__init__("\n".join(lines), "correct them all, then run this again")


def load(host: Host, path: str = "", settings: Sequence[str] = ()) -> NodeConfig:
    """The configuration for a host: `path` on this machine, else /etc/qatprep.yaml of the host, else the defaults.

    `settings` are KEY=VALUE of the command line; they win. InputError for a file that cannot be read, ConfigError with
    all mistakes for what is in it.
    """
    name = path or PATH
    try:
        if path:
            data = read_file(path, LIMIT, "the configuration")
        else:
            data = host.read(PATH, limit=LIMIT)
            if host.writable and host.euid == 0:
                require(host, PATH, "the configuration")
    except OSError as e:
        if e.errno not in ABSENT:
            raise InputError(
                f"cannot read the configuration {PATH!r}: {e.strerror}", "give another one by --config"
            ) from e
        data, name = b"", ""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise InputError(f"{name!r} is not UTF-8 text (byte {e.start})") from e
    if not text and not settings:
        return NodeConfig(source=name or DEFAULTS)
    return parse(text, name or DEFAULTS, settings)


def parse(text: str, name: str, settings: Sequence[str] = ()) -> NodeConfig:
    """The configuration that YAML text and KEY=VALUE settings describe. ConfigError with all that is wrong."""
    read = document(text, name)
    if read.problems:  # which of two equal keys is meant is anybody's guess: nothing else can be judged
        raise ConfigError([Mistake(place, "", what) for place, what in read.problems])
    found, value = schema_check.errors("config", {} if read.value is None else read.value)
    mistakes = [Mistake(read.place(path), schema_check.name(path), what, hint) for path, what, hint in found]
    if value is None:
        raise ConfigError(mistakes)
    merged = _Merged(read, value)
    for setting in settings:
        mistakes += merged.apply(setting)
    values, wrong = _build(merged.value, name)
    mistakes += [Mistake(merged.place(path), schema_check.name(path), what, hint) for path, what, hint in wrong]
    config = NodeConfig(**values, source=name, document=merged.value, places=merged.places())
    if mistakes:
        raise ConfigError(mistakes, config)
    return config


class _Merged:
    """A document, and the settings that changed it."""

    def __init__(self, read: Document, value: dict[str, Any]) -> None:
        self._read = read
        self.value = value
        self._settings: dict[Path, Place] = {}

    def place(self, path: Path) -> Place:
        """The setting that brought the value, else its place in the file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._settings:
                return self._settings[path[:length]]
        return self._read.place(path)

    def places(self) -> Mapping[Path, Place]:
        found: dict[Path, Place] = {}

        def visit(value: Any, path: Path) -> None:
            if path:
                found[path] = self.place(path)
            pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
            for key, inner in pairs:
                visit(inner, (*path, key))

        visit(self.value, ())
        return found

    def apply(self, setting: str) -> list[Mistake]:
        """Set one key; what is wrong with it."""
        place = Place(f"--set {setting!r}")
        key, equals, text = setting.partition("=")
        if not equals or not all(key.strip().split(".")):
            return [Mistake(place, "", "not KEY=VALUE", "for example --set devices.services=asym")]
        try:
            path = self._path(key.strip(), place)
        except ValueError as e:
            return [Mistake(place, key, str(e), _FORM)]
        where: Any = self.value
        for depth, part in enumerate(path[:-1]):
            if isinstance(where, dict) and part not in where:
                self._settings[path[: depth + 1]] = place
            where = where.setdefault(part, {}) if isinstance(where, dict) else where[part]
            if not isinstance(where, dict | list):
                return [Mistake(place, key, f"{schema_check.name(path[: depth + 1])} has no keys below it")]
        where[path[-1]] = _typed(path, text)
        self._settings[path] = place
        found, value = schema_check.errors("config", self.value)
        self.value = value if isinstance(value, dict) else {}
        return [Mistake(self.place(one), schema_check.name(one), what, hint) for one, what, hint in found]

    def _path(self, key: str, place: Place) -> Path:
        """devices@MATCH.KEY is a key of an override, made where there is none for MATCH yet."""
        if not key.startswith(_DEVICES):
            if key.startswith("overrides"):
                raise ValueError(f"unknown key {key!r}: overrides are set as devices@MATCH.KEY")
            return tuple(key.split("."))
        matches, dot, last = key.removeprefix(_DEVICES).rpartition(".")
        if not dot or ":" in last or last[:1].isdigit():
            raise ValueError(f"{key!r} has no key after the devices")
        match = dict(_match(word) for word in matches.split("@"))
        overrides = self.value.setdefault("overrides", [])
        for index, one in enumerate(overrides):
            if one["match"] == match and ("overrides", index) in self._settings:
                return ("overrides", index, last)
        overrides.append({"match": match})
        self._settings["overrides", len(overrides) - 1] = place
        return ("overrides", len(overrides) - 1, last)


_FORM = (
    "for example --set devices@6b:00.0.services=dc; instead of the BDF, a glob of one, a family, or numa1; "
    "several joined by @ must all match"
)


def _match(word: str) -> tuple[str, Any]:
    """A word after devices@ as a key of `match`. ValueError for what is none."""
    if found := re.fullmatch(r"numa(\d{1,9})", word):
        return "numa_node", int(found[1])
    if word in {family.name for family in hardware.SUPPORTED}:
        return "family", word
    if re.fullmatch(r"[0-9a-fA-F:.*?\[\]!-]+", word) and set(word) & set(":*?"):
        return "device", word
    raise ValueError(f"{word!r} is not a BDF, a family ({', '.join(f.name for f in hardware.SUPPORTED)}) or numaN")


def _typed(path: Path, text: str) -> Any:
    """The text of a setting as the value that the schema wants of its key, or as it is."""
    import yaml

    key = re.sub(r"\[\d+\]", "[]", schema_check.name(path))
    kind = dict(schema_check.leaves("config")).get(key, {}).get("type")
    if kind in ("boolean", None) and text.lower() in ("true", "false", "yes", "no", "on", "off"):
        return yaml.safe_load(text.lower())
    if kind == "array":
        return text.split(",")
    if kind in ("integer", None) and re.fullmatch(r"\d{1,18}", text):
        return int(text)
    return text


Wrong = tuple[Path, str, str]
"""Path, text, hint."""


def _build(document: dict[str, Any], name: str) -> tuple[dict[str, Any], list[Wrong]]:
    """The fields of NodeConfig, and what no schema can say is wrong with them."""
    wrong: list[Wrong] = []
    base = _values(document.get("devices", {}), ("devices",), wrong)
    overrides = []
    for index, item in enumerate(document.get("overrides", [])):
        values = _values(item, ("overrides", index), wrong)
        match = item["match"]
        family = match.get("family", "")
        known = [one.name for one in hardware.SUPPORTED]
        if "family" in match and family not in known:
            here: Path = ("overrides", index, "match", "family")
            text = f"{schema_check.name(here)} is {family!r}, no family that qatprep prepares"
            wrong.append((here, text, did_you_mean(family, known, f"known: {', '.join(known)}")))
        overrides.append(Override(match.get("device", ""), match.get("numa_node"), tuple(values.items()), family))
    nodes = document.get("nodes", {})
    mode = int(nodes["mode"], 8) if "mode" in nodes else NodeConfig.mode
    if mode & OTHERS and not nodes.get("world_accessible"):
        text = f"nodes.mode is {nodes['mode']!r}, which lets every user of the host open the devices"
        wrong.append((("nodes", "mode"), text, 'write "0660", or ask for it by name: nodes.world_accessible: true'))
    fields = {
        "devices": PfConfig(**base),
        "overrides": tuple(overrides),
        "group": nodes.get("group", NodeConfig.group),
        "mode": mode,
        "smoke": document.get("smoke", True),
        "persist": document.get("persist"),
        "containers": _containers(document.get("containers", {}), wrong),
        "metrics": document.get("metrics", ""),
        "envoy": _envoy(document.get("envoy", "")),
    }
    return fields, wrong


def _envoy(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    major, minor, *_ = text.split(".")
    return int(major), int(minor)


def _containers(section: dict[str, Any], wrong: list[Wrong]) -> ContainersConfig:
    from qatprep.runtime.memlock import INFINITY, parse_limit

    asked = section.get("memlock", "auto")
    size = {"auto": 0, KEEP: KEEP_MEMLOCK}.get(asked)
    if size is None:
        path = ("containers", "memlock")
        try:
            soft = parse_limit(str(asked)).soft
            size = (1 << 63) - 1 if soft == INFINITY else int(soft)
            if size < 1 << 20:
                wrong.append((path, f"containers.memlock is {asked!r}, less than a megabyte", "for example 128M"))
        except ValueError as e:
            size = 0
            wrong.append((path, f"containers.memlock {e}", "auto, keep, or a size, for example 128M"))
    ownership, restart = section.get("device_ownership", False), section.get("restart", "")
    return ContainersConfig(size, ownership, restart, tuple(section.get("may_edit", ())))


def _values(section: dict[str, Any], path: Path, wrong: list[Wrong]) -> dict[str, Any]:
    values: dict[str, Any] = {key: section[key] for key in PF_KEYS if key in section}
    if "services" in values:
        text = values["services"]
        try:
            values["services"] = None if text == KEEP else hardware.parse_services(text)
        except ValueError as e:
            here = (*path, "services")
            said = str(e) if str(e).startswith(repr(text)) else f"{text!r}: {e}"
            wrong.append((here, f"{schema_check.name(here)}: {said}", _services_hint(text)))
            del values["services"]
    return values


def _services_hint(text: str) -> str:
    guess = hardware.suggest_services(text)
    return (
        f"did you mean {guess}?" if guess else f"services are {', '.join(hardware.SERVICES)}, cy or keep, joined by ';'"
    )
