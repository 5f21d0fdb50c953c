"""Devices as a table and as a document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from qatprep.facts.base import Unknown
from qatprep.facts.bus import Function
from qatprep.facts.nodes import NodeFacts
from qatprep.facts.pci import DeviceNode, PciFacts, Pf, Services, Vf
from qatprep.hardware import VFIO_DRIVERS
from qatprep.host.base import Host
from qatprep.report.console import print_table
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
    if pci.pfs:
        table = Table(box=None, pad_edge=False, title=f"PFs of {host.label}", title_justify="left", title_style="id")
        for column, justify in (
            ("device", "left"), ("family", "left"), ("NUMA", "right"), ("driver", "left"), ("state", "left"),
            ("services", "left"), ("VFs", "right"), ("ready", "right"), ("held", "right"),
        ):  # fmt: skip
            table.add_column(column, no_wrap=True, justify="right" if justify == "right" else "left")
        for pf in pci.pfs:
            services = Text(pf.services.text) if isinstance(pf.services, Services) else _word(pf.services)
            ready = sum(vf.bound is True for vf in pf.vfs)
            held = len({holder.vf for holder in nodes.holders} & {vf.bdf for vf in pf.vfs})
            table.add_row(
                pf.bdf, pf.name, _numa(pf.numa_node), _word(pf.driver, "none"), _word(pf.state), services,
                f"{_word(pf.num_vfs)}/{_word(pf.total_vfs)}", str(ready), str(held) if held else "-",
            )  # fmt: skip
        print_table(console, table)
    vfs = pci.all_vfs if with_vfs else ()
    if vfs:
        console.print()
        table = Table(box=None, pad_edge=False, title=plural(len(vfs), "VF"), title_justify="left", title_style="id")
        for column in ("device", "PF", "driver", "group", "owner", "mode", "NUMA", "held by"):
            table.add_column(
                column, no_wrap=column != "held by", justify="right" if column in ("group", "NUMA") else "left"
            )
        for vf in vfs:
            _vf_row(table, vf, nodes)
        print_table(console, table)
    for stranger in pci.strangers:
        name = stranger.name or "newer than this qatprep"
        console.print(
            Text(f"{stranger.bdf} 8086:{stranger.device_id:04x}: {name}, not set up by qatprep", style="warn")
        )
    if not nodes.holders_complete:
        console.print(Text("Not every process could be looked into: there may be more holders (run as root).", "dim"))


def _numa(node: int) -> str:
    return str(node) if node >= 0 else "-"


def _vf_row(table: Table, vf: Vf, nodes: NodeFacts) -> None:
    group, owner, mode = "-", "-", "-"
    if isinstance(vf.node, DeviceNode):
        group = vf.node.path.rsplit("/", 1)[-1]
        owner = f"{'root' if vf.node.uid == 0 else vf.node.uid}:{nodes.group_name(vf.node.gid)}"
        mode = f"{vf.node.mode:04o}"
    holders = ", ".join(str(holder) for holder in nodes.holders if holder.vf == vf.bdf)
    driver = _word(vf.driver, "none")
    if vf.driver not in VFIO_DRIVERS:
        driver.stylize("warn")
    table.add_row(vf.bdf, vf.pf or "-", driver, group, owner, mode, _numa(vf.numa_node), holders or "-")


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
            }
            for f in functions
        ],
    }


def print_functions(console: Console, host: Host, functions: Sequence[Function]) -> None:
    if not functions:
        console.print(f"{host.label} shows no PCI functions.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("device", "id", "driver", "NUMA", "IOMMU", "SR-IOV", "name"):
        table.add_column(column, no_wrap=column != "name", justify="right" if column == "NUMA" else "left")
    for f in functions:
        iommu = _word(f.grouped) if isinstance(f.grouped, Unknown) else Text("yes" if f.grouped else "no")
        table.add_row(
            f.bdf, f"{f.vendor_id:04x}:{f.device_id:04x}", _word(f.driver, "none"), _numa(f.numa_node), iommu,
            "yes" if f.sriov else "-", f.name,
        )  # fmt: skip
    print_table(console, table)
