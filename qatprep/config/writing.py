"""A configuration as text: a commented file for a node, today's node, effective values, and the reference of keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from qatprep import hardware, schema_check
from qatprep.config.values import KEEP, OTHERS, PATH, PF_KEYS, NodeConfig
from qatprep.facts.pci import DeviceNode, Pf, Services
from qatprep.text import listed, plural
from qatprep.yaml_text import Place

if TYPE_CHECKING:
    from qatprep.facts import Facts

KIND = "config"
_WIDTH = 79
"""Columns of the file: a terminal of 80 shows it whole."""


class Row(NamedTuple):
    """One key with its effective value, and where that comes from."""

    key: str
    value: Any
    place: Place


class PfRow(NamedTuple):
    """What one PF should be."""

    bdf: str
    family: str
    numa_node: int
    values: tuple[Row, ...]


# -- effective values -------------------------------------------------------------------------------------------------


def rows(config: NodeConfig) -> list[Row]:
    """Every key outside of overrides, then those of each override. None for a key that has no default."""
    found = []
    for key, definition in schema_check.leaves(KIND):
        if "[]" not in key:
            path: schema_check.Path = tuple(key.split("."))
            value = _at(config.document, path)
            found.append(Row(key, definition.get("default") if value is None else value, config.place(path)))
    for index, override in enumerate(config.document.get("overrides", [])):
        for key in (key for key in override if key != "match"):
            path = ("overrides", index, key)
            match = " and ".join(f"{name} {value}" for name, value in override["match"].items())
            found.append(Row(f"overrides[{index}].{key} ({match})", override[key], config.place(path)))
    return found


def pf_rows(config: NodeConfig, pfs: Sequence[Pf]) -> list[PfRow]:
    """What each PF should be, and why."""
    out = []
    for pf in pfs:
        if not pf.family.supported:
            continue
        want = config.of(pf)
        values = {key: getattr(want, key) for key in PF_KEYS}
        values["services"] = KEEP if want.services is None else hardware.spell_services(want.services)
        found = tuple(Row(key, value, config.place(config.origin(pf, key))) for key, value in values.items())
        out.append(PfRow(pf.bdf, pf.family.name, pf.numa_node, found))
    return out


def _at(document: Any, path: schema_check.Path) -> Any:
    for part in path:
        document = document.get(part) if isinstance(document, dict) else None
    return document


# -- a file for this node ---------------------------------------------------------------------------------------------


def commented(facts: Facts, label: str) -> str:
    """A configuration file for this node: the defaults, each with what it means, and its devices as comments."""
    schema = schema_check.schema(KIND)
    lines = [
        *_comment(f"{PATH}: what this node should be. Made by `qatprep config init` for {label}."),
        "# A key that is left out has its default. Check this file: qatprep config check",
        "",
        "version: 1",
        "",
        *_devices(facts.pci.pfs),
        *_section(schema, "devices", active=True),
        *_example(facts.pci.pfs),
        *_section(schema, "nodes", active=True),
    ]
    for key in ("smoke", "envoy", "persist", "containers", "metrics"):
        lines += _section(schema, key, active=False)
    return "\n".join(lines).rstrip() + "\n"


def _devices(pfs: Sequence[Pf]) -> Iterator[str]:
    """The node's PFs as comments: how many of each family and NUMA node, and what the family offers."""
    mine = [pf for pf in pfs if pf.family.supported]
    if not mine:
        yield "# This node has no QAT PF that qatprep prepares."
    for family in dict.fromkeys(pf.family for pf in mine):
        same = [pf for pf in mine if pf.family is family]
        counts = Counter(pf.numa_node for pf in same if pf.numa_node >= 0)
        where = listed(f"{count} on NUMA node {node}" for node, count in sorted(counts.items()))
        yield from _comment(plural(len(same), f"{family.name} PF") + (f": {where}." if where else "."))
        offer = family.services
        alone = [token for token in offer.tokens if token in offer.alone]
        yield from _comment(
            f"A {family.name} device offers {', '.join(offer.tokens)}, at most {offer.most} at the same time"
            + (f"; {listed(alone)} only by itself." if alone else ".")
        )


def _example(pfs: Sequence[Pf]) -> list[str]:
    mine = [pf for pf in pfs if pf.family.supported]
    device = mine[0].bdf if mine else "0000:6b:00.0"
    family = (mine[0].family if mine else hardware.SUPPORTED[0]).name
    return [
        *_comment(
            f"{_description('overrides')} A match has one or more of device (a BDF or a glob), family, numa_node."
        ),
        "#overrides:",
        f'#- match: {{device: "{device}"}}',
        "#  services: dc",
        f'#- match: {{family: "{family}", numa_node: 1}}',
        "#  vfs: false",
        "",
    ]


def _section(schema: dict[str, Any], key: str, *, active: bool) -> Iterator[str]:
    """A key of the top with its comments; switched off by "#" where nothing has to be decided."""
    definition = schema_check.resolved(schema, schema["properties"][key])
    off = "" if active else "#"
    yield from _comment(definition["description"])
    if "properties" in definition:
        yield f"{off}{key}:"
        for name, inner in definition["properties"].items():
            inner = schema_check.resolved(schema, inner)
            yield from _comment(inner["description"], "  ")
            yield f"{off if 'default' in inner else '#'}  {name}: {_yaml(inner.get('default', True))}"
    else:
        yield f"#{key}: {_yaml(definition.get('default', _SAMPLES.get(key)))}"
    yield ""


_SAMPLES = {"envoy": "1.36", "persist": True, "metrics": "/var/lib/node_exporter/qatprep.prom"}
"""Of the keys without a default."""


def _description(key: str) -> str:
    return str(schema_check.schema(KIND)["properties"][key]["description"])


def _comment(text: str, indent: str = "") -> Iterator[str]:
    import textwrap

    for line in textwrap.wrap(text, _WIDTH - len(indent) - 2, break_long_words=False, break_on_hyphens=False):
        yield f"{indent}# {line}"


def _yaml(value: Any) -> str:
    """One value in YAML, on one line; a mode in double quotes, as it is written everywhere."""
    import json

    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if not str(value) or str(value)[0].isdigit() else str(value)


# -- the reference of keys --------------------------------------------------------------------------------------------


def reference() -> str:
    """Every key as a table in Markdown: docs/configuration.md has it."""
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, definition in schema_check.leaves(KIND):
        default = f"`{_yaml(definition['default'])}`" if definition.get("default", "") != "" else ""
        lines.append(f"| `{key}` | {_kind(definition)} | {default} | {_cell(definition['description'])} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _kind(definition: dict[str, Any]) -> str:
    if "enum" in definition:
        return ", ".join(f"`{value}`" for value in definition["enum"])
    if "const" in definition:
        return f"`{definition['const']}`"
    kind = definition["type"]
    names = {"boolean": "`true`, `false`", "integer": "whole number", "string": "text", "array": "list"}
    return " or ".join(names[one] for one in (kind if isinstance(kind, list) else [kind]))


# -- today's node -----------------------------------------------------------------------------------------------------


def describe(facts: Facts) -> str:
    """Today's host as a configuration, in YAML: what the most PFs are, and an override for each that differs."""
    import yaml

    pfs = [pf for pf in facts.pci.pfs if pf.family.supported and pf.driver == pf.family.driver]
    restarted = any(pf.auto_reset is True for pf in pfs)
    shown = {pf.bdf: _as_values(pf, restarted) for pf in pfs}
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
        if mode & OTHERS:
            document["nodes"]["world_accessible"] = True
    text: str = yaml.safe_dump(document, sort_keys=False, default_flow_style=False)
    return text


def _as_values(pf: Pf, restarted: bool) -> dict[str, Any]:
    """`restarted`: some PF of the host has auto_reset on, so that it is said of each."""
    services = hardware.spell_services(pf.services.tokens) if isinstance(pf.services, Services) else KEEP
    bound = {vf.driver for vf in pf.vfs if isinstance(vf.driver, str)}
    driver = next((name for name in hardware.VFIO_DRIVERS if name in bound), "none" if pf.vfs else hardware.VFIO_PCI)
    values = {"services": services, "vfs": bool(pf.vfs), "driver": driver}
    return {**values, "auto_reset": pf.auto_reset} if restarted and isinstance(pf.auto_reset, bool) else values
