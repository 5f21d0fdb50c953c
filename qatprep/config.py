"""The configuration: what a node should be. From /etc/qatprep.yaml, a file, and --set; checked against
schema/config.json.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qatprep import hardware
from qatprep.errors import InputError
from qatprep.facts.base import ABSENT
from qatprep.facts.pci import DeviceNode, Pf, Services
from qatprep.host.base import Host
from qatprep.host.trust import require
from qatprep.host.user_files import read_file

if TYPE_CHECKING:
    from qatprep.facts import Facts

PATH = "/etc/qatprep.yaml"
KEEP = "keep"
_LIMIT = 64 << 10


@dataclass(frozen=True)
class PfConfig:
    """What one PF should be."""

    services: frozenset[str] | None = frozenset({"asym", "sym"})
    """None: leave them as they are."""
    vfs: bool = True
    driver: str = hardware.VFIO_PCI
    """"none": leave the VFs without a driver."""


@dataclass(frozen=True)
class Override:
    """An exception: the keys that are given, for the PFs that match."""

    device: str
    """Glob of a BDF, "" for any."""
    numa_node: int | None
    values: tuple[tuple[str, Any], ...]

    def matches(self, pf: Pf) -> bool:
        """6b:00.0 is 0000:6b:00.0, as on the command line."""
        glob = self.device.lower()
        named = any(fnmatch.fnmatchcase(pf.bdf, wanted) for wanted in (glob, f"0000:{glob}"))
        return (not glob or named) and (self.numa_node is None or self.numa_node == pf.numa_node)

    def __str__(self) -> str:
        device = [f"device {self.device}"] if self.device else []
        return " and ".join(device + ([f"numa_node {self.numa_node}"] if self.numa_node is not None else []))


@dataclass(frozen=True)
class ContainersConfig:
    """What the container runtime shall let containers do."""

    memlock: int = 0
    """Bytes; 0 is the rule (runtime/memlock.py), KEEP_MEMLOCK leaves the unit as it is."""
    device_ownership: bool = False
    """Switch it on; False leaves it as it is, on or off."""
    restart: str = ""
    """The unit to restart when something needs it; "" never."""


KEEP_MEMLOCK = -1


@dataclass(frozen=True)
class NodeConfig:
    devices: PfConfig = PfConfig()
    overrides: tuple[Override, ...] = ()
    group: str = "qat"
    mode: int = 0o660
    smoke: bool = True
    persist: bool | None = None
    """Whether the node is prepared again at every boot. None: where systemd runs it and qatprep is installed there."""
    containers: ContainersConfig = ContainersConfig()
    metrics: str = ""
    """Where a timer writes metrics for Prometheus' textfile collector, "" for nowhere."""
    envoy: tuple[int, int] | None = None
    """Version of the node's Envoy: its crypto_mb decides which CPUs CryptoMB works on. None: not known."""
    source: str = "built-in defaults"
    document: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """What was asked for, in the configuration's own language: files and --set together."""

    def of(self, pf: Pf) -> PfConfig:
        values: dict[str, Any] = {
            "services": self.devices.services,
            "vfs": self.devices.vfs,
            "driver": self.devices.driver,
        }
        for override in self.overrides:
            if override.matches(pf):
                values.update(override.values)
        return PfConfig(**values)


def load(host: Host, path: str = "", settings: tuple[str, ...] | list[str] = ()) -> NodeConfig:
    """The configuration for a host: `path` on this machine, else /etc/qatprep.yaml of the host, else the defaults.

    `settings` are KEY=VALUE of the command line; they win. InputError, with line and column, for whatever is wrong.
    """
    name = path or PATH
    try:
        if path:
            data = read_file(path, _LIMIT, "the configuration")
        else:
            data = host.read(PATH, limit=_LIMIT)
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
        return NodeConfig(source=name or NodeConfig.source)
    return parse(text, name or "built-in defaults", settings)


def parse(text: str, name: str, settings: tuple[str, ...] | list[str] = ()) -> NodeConfig:
    """The configuration that YAML text and KEY=VALUE settings describe. InputError for whatever is wrong."""
    import yaml

    loader = yaml.SafeLoader(text) if text.strip() else None
    try:
        node = loader.get_single_node() if loader else None
        _refuse_twins(node, name)
        document = loader.construct_document(node) if loader and node is not None else {}
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise InputError(f"{where}: not YAML: {e.problem or e.context}") from e
    except yaml.YAMLError as e:
        raise InputError(f"{name}: not YAML: {e}") from e
    except RecursionError as e:
        raise InputError(f"{name}: nested too deeply") from e
    except ValueError as e:  # a date that is none, a number of thousands of digits
        raise InputError(f"{name}: not YAML: {e}") from e
    if document is None:
        document = {}
    _validate(document, lambda path: _where(name, node, path))
    for setting in settings:
        _apply_setting(document, setting)
    return _build(document, name, lambda path: _where(name, node, path))


def _refuse_twins(node: Any, name: str) -> None:
    """InputError for a key that stands twice in one mapping: YAML would take the last and say nothing."""
    import yaml

    todo, seen = [node], set()
    while todo:
        node = todo.pop()
        if id(node) in seen or not isinstance(node, yaml.MappingNode | yaml.SequenceNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            todo += node.value
            continue
        keys = set()
        for key, value in node.value:
            todo.append(value)
            if isinstance(key, yaml.ScalarNode):
                if key.tag == "tag:yaml.org,2002:merge":
                    # Merges of merges double with every line.
                    at = key.start_mark
                    raise InputError(f"{name}:{at.line + 1}:{at.column + 1}: merge keys (<<) are not supported")
                if key.value in keys:
                    at = key.start_mark
                    raise InputError(f"{name}:{at.line + 1}:{at.column + 1}: the key {key.value!r} stands here twice")
                keys.add(key.value)


def _apply_setting(document: dict[str, Any], setting: str) -> None:
    import yaml

    key, equals, value = setting.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise InputError(f"--set {setting!r}: not KEY=VALUE", "for example --set devices.services=asym")
    where: dict[str, Any] = document
    for part in parts[:-1]:
        inner = where.setdefault(part, {})
        if not isinstance(inner, dict):
            raise InputError(f"--set {setting!r}: {part!r} has no keys below it")
        where = inner
    parsed: Any = value
    if value.lower() in ("true", "false", "yes", "no", "on", "off") or (value.isdigit() and parts[-1] != "mode"):
        parsed = yaml.safe_load(value.lower())
    where[parts[-1]] = parsed
    _validate(document, lambda _: f"--set {setting!r}")


def _schema() -> dict[str, Any]:
    from importlib.resources import files

    loaded: dict[str, Any] = json.loads(files("qatprep.schema").joinpath("config.json").read_text(encoding="utf-8"))
    return loaded


def _validate(document: Any, where: Any) -> None:
    import fastjsonschema

    schema = _schema()
    try:
        fastjsonschema.compile(schema)(document)
    except fastjsonschema.JsonSchemaValueException as e:
        path = list(e.path[1:])
        raise InputError(f"{where(path)}: {_words(e, path)}", _hint(e, schema)) from e


def _words(error: Any, path: list[Any]) -> str:
    name = ".".join(str(part) for part in path) or "the configuration"
    value = _shown(error.value)
    if error.rule == "additionalProperties":
        known = error.definition.get("properties", {})
        extra = [key for key in error.value if key not in known]
        import difflib

        close = difflib.get_close_matches(str(extra[0]), list(known), 1)
        guess = f"; did you mean {close[0]!r}?" if close else f"; known keys: {', '.join(known)}"
        return f"unknown key {extra[0]!r} in {name}{guess}"
    if error.rule == "required":
        return f"{name} lacks the key {', '.join(error.definition['required'])}"
    if error.rule == "enum":
        return f"{name} is {value}, not one of {', '.join(map(str, error.definition['enum']))}"
    if error.rule == "const":
        return f"{name} is {value}, this qatprep knows only {error.definition['const']!r}"
    if error.rule == "type":
        return f"{name} is {value}, not {_article(error.definition['type'])}"
    if error.rule == "pattern":
        return f"{name} is {value}, which has not the right form"
    return f"{name}: {error.message}"


def _shown(value: Any) -> str:
    """A value in a message: what it is in YAML's words, and not too long."""
    if value is None:
        return "empty"
    if isinstance(value, dict | list):
        return _article("object" if isinstance(value, dict) else "array")
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _article(kind: str) -> str:
    return {"object": "a mapping", "array": "a list", "integer": "a whole number", "boolean": "true or false"}.get(
        kind, f"a {kind}"
    )


def _hint(error: Any, schema: dict[str, Any]) -> str:
    definition = error.definition
    if "$ref" in definition:
        definition = schema["definitions"][definition["$ref"].rsplit("/", 1)[-1]]
    return str(definition.get("description", "")) if error.rule != "additionalProperties" else ""


def _where(name: str, node: Any, path: list[Any]) -> str:
    """file:line:column of the key or item that `path` leads to, as far as it exists."""
    import yaml

    mark = node.start_mark if node is not None else None
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if found is None:
                break
            mark, node = found[0].start_mark, found[1]
        elif isinstance(node, yaml.SequenceNode) and str(part).isdigit() and int(part) < len(node.value):
            node = node.value[int(part)]
            mark = node.start_mark
        else:
            break
    return f"{name}:{mark.line + 1}:{mark.column + 1}" if mark is not None else name


def _build(document: dict[str, Any], name: str, where: Any) -> NodeConfig:
    base = _values(document.get("devices", {}), lambda key: where(["devices", key]))
    overrides = []
    for index, item in enumerate(document.get("overrides", [])):
        values = _values(item, lambda key, index=index: where(["overrides", index, key]))
        match = item["match"]
        overrides.append(Override(match.get("device", ""), match.get("numa_node"), tuple(values.items())))
    nodes = document.get("nodes", {})
    return NodeConfig(
        devices=PfConfig(**base),
        overrides=tuple(overrides),
        group=nodes.get("group", NodeConfig.group),
        mode=int(nodes["mode"], 8) if "mode" in nodes else NodeConfig.mode,
        smoke=document.get("smoke", True),
        persist=document.get("persist"),
        containers=_containers(document.get("containers", {}), where),
        metrics=document.get("metrics", ""),
        envoy=_envoy(document.get("envoy", "")),
        source=name,
        document=document,
    )


def memlock_for(facts: Facts, config: NodeConfig) -> int:
    """Bytes of memlock: the configuration's, else room for one VF of each PF that can sign (more of one PF bring
    nothing).
    """
    from qatprep.runtime.memlock import needed

    if config.containers.memlock > 0:
        return config.containers.memlock
    signing = [
        pf for pf in facts.pci.pfs if pf.family.supported and (config.of(pf).services or _has(pf.services)) >= {"asym"}
    ]
    return needed(len(signing))


def _has(services: object) -> frozenset[str]:
    return services.tokens if isinstance(services, Services) else frozenset()


def _containers(section: dict[str, Any], where: Any) -> ContainersConfig:
    from qatprep.runtime.memlock import INFINITY, parse_limit

    asked = section.get("memlock", "auto")
    sizes = {"auto": 0, KEEP: KEEP_MEMLOCK}
    if asked not in sizes:
        try:
            size = parse_limit(str(asked)).soft
        except ValueError as e:
            raise InputError(f"{where(['containers', 'memlock'])}: memlock {e}", "for example 128M") from e
        sizes[asked] = (1 << 63) - 1 if size == INFINITY else int(size)
        if sizes[asked] < 1 << 20:
            raise InputError(f"{where(['containers', 'memlock'])}: memlock {asked!r} is less than a megabyte")
    return ContainersConfig(sizes[asked], section.get("device_ownership", False), section.get("restart", ""))


def _envoy(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    major, minor, *_ = text.split(".")
    return int(major), int(minor)


def _values(section: dict[str, Any], where: Any) -> dict[str, Any]:
    values: dict[str, Any] = {key: section[key] for key in ("services", "vfs", "driver") if key in section}
    if "services" in values:
        text = values["services"]
        try:
            values["services"] = None if text == KEEP else hardware.parse_services(text)
        except ValueError as e:
            raise InputError(f"{where('services')}: services {text!r}: {e}") from e
    return values


def unmatched(config: NodeConfig, facts: Facts) -> list[str]:
    """Overrides that no PF of this host matches, in words: a slip as a rule, or a configuration that several hosts
    share.
    """
    pfs = [pf for pf in facts.pci.pfs if pf.family.supported]
    lone = [override for override in config.overrides if not any(override.matches(pf) for pf in pfs)]
    return [f"{config.source}: no PF of this host matches the override for {override}" for override in lone]


def describe(facts: Facts) -> str:
    """Today's host as a configuration, in YAML: what the most PFs are, and an override for each that differs."""
    from collections import Counter

    import yaml

    shown = {pf.bdf: _as_values(pf) for pf in facts.pci.pfs if pf.family.supported and pf.driver == pf.family.driver}
    document: dict[str, Any] = {"version": 1}
    if shown:
        common = dict(Counter(tuple(values.items()) for values in shown.values()).most_common(1)[0][0])
        document["devices"] = common
        overrides = []
        for bdf, values in shown.items():
            differing = {key: value for key, value in values.items() if common.get(key) != value}
            if differing:
                overrides.append({"match": {"device": bdf}, **differing})
        if overrides:
            document["overrides"] = overrides
    nodes = [vf.node for vf in facts.pci.all_vfs if isinstance(vf.node, DeviceNode)]
    if nodes:
        gid, mode = Counter((node.gid, node.mode) for node in nodes).most_common(1)[0][0]
        document["nodes"] = {"group": facts.nodes.group_name(gid), "mode": f"{mode:04o}"}
    text: str = yaml.safe_dump(document, sort_keys=False, default_flow_style=False)
    return text


def _as_values(pf: Pf) -> dict[str, Any]:
    services = hardware.spell_services(pf.services.tokens) if isinstance(pf.services, Services) else KEEP
    bound = {vf.driver for vf in pf.vfs if isinstance(vf.driver, str)}
    driver = next((name for name in hardware.VFIO_DRIVERS if name in bound), "none" if pf.vfs else hardware.VFIO_PCI)
    return {"services": services, "vfs": bool(pf.vfs), "driver": driver}
