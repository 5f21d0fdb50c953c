"""Devices as a table and as a document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from qatprep.facts.base import Unknown
from qatprep.facts.bus import Function
from qatprep.facts.nodes import NodeFacts
from qatprep.facts.pci import DeviceNode, PciFacts, Pf, Services, Vf
from qatprep.hardware import VFIO_DRIVERS
from qatprep.host.base import Host
from qatprep.report.console import Console
from qatprep.report.rows import columns, row, rows
from qatprep.report.status_vfs import vf_lines
from qatprep.text import plural


def _plain(value: Any) -> Any:
    """A fact for JSON: null for absent, {"unknown": why} for what could not be read."""
    return {"unknown": value.reason} if isinstance(value, Unknown) else value


def _node(node: DeviceNode | Unknown | None, nodes: NodeFacts) -> Any:
    if not isinstance(node, DeviceNode):
        return _plain(node)
    return {
        "path": node.path,
        "uid": node.uid,
        "gid": node.gid,
        "group": nodes.group_name(node.gid),
        "mode": f"{node.mode:04o}",
    }


def _vf(vf: Vf, nodes: NodeFacts) -> dict[str, Any]:
    return {
        "device": vf.bdf,
        "index": vf.number,
        "numa_node": vf.numa_node,
        "driver": _plain(vf.driver),
        "driver_override": _plain(vf.override),
        "iommu": _plain(vf.grouped),
        "node": _node(vf.node, nodes),
        "holders": [str(holder) for holder in nodes.holders if holder.vf == vf.bdf],
    }


def _pf(pf: Pf, nodes: NodeFacts) -> dict[str, Any]:
    return {
        "device": pf.bdf,
        "family": pf.name,
        "supported": pf.family.supported,
        "numa_node": pf.numa_node,
        "driver": _plain(pf.driver),
        "state": _plain(pf.state),
        "services": sorted(pf.services.tokens) if isinstance(pf.services, Services) else _plain(pf.services),
        "iommu": _plain(pf.grouped),
        "total_vfs": _plain(pf.total_vfs),
        "num_vfs": _plain(pf.num_vfs),
        "vfs": [_vf(vf, nodes) for vf in pf.vfs],
    }


def devices_document(host: Host, pci: PciFacts, nodes: NodeFacts) -> dict[str, Any]:
    return {
        "schema": "qatprep.devices/1",
        "host": host.label,
        "pfs": [_pf(pf, nodes) for pf in pci.pfs],
        "vfs": [_vf(vf, nodes) for vf in pci.vfs],
        "others": [{"device": s.bdf, "id": f"{s.device_id:04x}", "family": s.name or None} for s in pci.strangers],
        "holders_complete": nodes.holders_complete,
    }


def _word(value: object, absent: str = "-") -> Text:
    if isinstance(value, Unknown):
        return Text("unknown", style="unknown")
    return Text(absent if value is None else str(value))


def print_devices(console: Console, host: Host, pci: PciFacts, nodes: NodeFacts, *, with_vfs: bool) -> None:
    """PFs with their VFs below them."""
    if not pci.pfs and not pci.vfs and not pci.strangers:
        console.print(f"No QAT device on {host.label}.")
        return
    print_summary(console, pci, nodes)
    console.print()
    if pci.pfs:
        header = ("PF", "family", "NUMA", "driver", "state", "services", "VFs", "bound", "held")
        columns(console, header, [_pf_row(pf, nodes) for pf in pci.pfs], {"NUMA", "VFs", "bound", "held"})
        console.print(Text("state is the driver's word; qatprep status also asks whether the device answers", "dim"))
    if with_vfs and pci.all_vfs:
        console.print()
        print_vfs(console, pci.all_vfs, nodes)
    for stranger in pci.strangers:
        name = stranger.name or "newer than this qatprep"
        console.print(
            Text(f"{stranger.bdf} 8086:{stranger.device_id:04x}: {name}, not set up by qatprep", style="warn")
        )
    if not nodes.holders_complete:
        console.print(Text("Not every process could be inspected: there may be more holders (run as root).", "dim"))


def print_summary(console: Console, pci: PciFacts, nodes: NodeFacts) -> None:
    """How many there are, and how they are set up."""
    kinds: dict[str, int] = {}
    for pf in pci.pfs:
        services = pf.services.text if isinstance(pf.services, Services) else "unknown services"
        kind = f"{pf.name} with {services}"
        kinds[kind] = kinds.get(kind, 0) + 1
    if kinds:
        row(console, "PFs", f"{len(pci.pfs)}: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}")
    rows(console, "VFs", vf_lines(pci, nodes))
    held = len({holder.vf for holder in nodes.holders})
    row(console, "held", f"{held} of {plural(len(pci.all_vfs), 'VF')}")
    overrides = {vf.override for vf in pci.all_vfs if isinstance(vf.override, str)}
    if overrides:
        row(console, "overrides", ", ".join(sorted(overrides)))


def _pf_row(pf: Pf, nodes: NodeFacts) -> list[Text | str]:
    services = Text(pf.services.text) if isinstance(pf.services, Services) else _word(pf.services)
    held = len({holder.vf for holder in nodes.holders} & {vf.bdf for vf in pf.vfs})
    return [
        pf.bdf,
        pf.name,
        _numa(pf.numa_node),
        _word(pf.driver, "none"),
        _word(pf.state),
        services,
        f"{_word(pf.num_vfs)}/{_word(pf.total_vfs)}",
        str(sum(vf.bound is True for vf in pf.vfs)),
        str(held) if held else "-",
    ]


def print_vfs(console: Console, vfs: Sequence[Vf], nodes: NodeFacts) -> None:
    """Each VF: driver, group, device node, holder."""
    header = ("VF", "PF", "driver", "group", "owner", "mode", "NUMA", "held by")
    columns(console, header, [_vf_row(vf, nodes) for vf in vfs], {"group", "NUMA"})


def _numa(node: int) -> str:
    return str(node) if node >= 0 else "-"


def _vf_row(vf: Vf, nodes: NodeFacts) -> list[Text | str]:
    group, owner, mode = "-", "-", "-"
    if isinstance(vf.node, DeviceNode):
        group = vf.node.path.rsplit("/", 1)[-1]
        owner = f"{'root' if vf.node.uid == 0 else vf.node.uid}:{nodes.group_name(vf.node.gid)}"
        mode = f"{vf.node.mode:04o}"
    holders = ", ".join(str(holder) for holder in nodes.holders if holder.vf == vf.bdf)
    driver = _word(vf.driver, "none")
    if vf.driver not in VFIO_DRIVERS:
        driver.stylize("warn")
    return [vf.bdf, vf.pf or "-", driver, group, owner, mode, _numa(vf.numa_node), holders or "-"]


def functions_document(host: Host, functions: Sequence[Function]) -> dict[str, Any]:
    return {
        "schema": "qatprep.functions/1",
        "host": host.label,
        "functions": [
            {
                "device": f.bdf,
                "id": f"{f.vendor_id:04x}:{f.device_id:04x}",
                "name": f.name,
                "driver": _plain(f.driver),
                "iommu": _plain(f.grouped),
                "numa_node": f.numa_node,
                "sriov": f.sriov,
                "class": f.kind,
                "override": _plain(f.override),
                "used_as": list(f.used_as),
                "drivers": list(f.drivers),
            }
            for f in functions
        ],
    }


def print_functions(console: Console, host: Host, functions: Sequence[Function]) -> None:
    if not functions:
        console.print(f"{host.label} shows no such PCI function.")
        return
    used = [name for f in functions for name in f.used_as]
    text = f"{len(functions)}; {sum(f.sriov for f in functions)} with SR-IOV"
    row(console, "functions", f"{text}; in use as {', '.join(used)}" if used else text)
    console.print()
    header = ["device", "id", "driver", "NUMA", "IOMMU", "SR-IOV", "used as", "override", "may drive it", "name"]
    lines = [_function_row(f) for f in functions]
    shown = [n for n, name in enumerate(header) if n < 6 or any(str(line[n]) not in ("", "-") for line in lines)]
    columns(console, [header[n] for n in shown], [[line[n] for n in shown] for line in lines], {"NUMA"})


def _function_row(f: Function) -> list[Text | str]:
    iommu = _word(f.grouped) if isinstance(f.grouped, Unknown) else Text("yes" if f.grouped else "no")
    return [
        f.bdf,
        f"{f.vendor_id:04x}:{f.device_id:04x}",
        _word(f.driver, "none"),
        _numa(f.numa_node),
        iommu,
        "yes" if f.sriov else "-",
        ", ".join(f.used_as) or "-",
        _word(f.override),
        ", ".join(f.drivers) or "-",
        f.name,
    ]
