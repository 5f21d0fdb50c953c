"""The PFs of a node as a table: equal ones share a line."""

from __future__ import annotations

from typing import NamedTuple

from rich.text import Text

from qatprep.assess import Assessment
from qatprep.facts.base import Unknown
from qatprep.facts.health import FATAL, signs_of_death
from qatprep.facts.pci import DeviceNode, Pf, Services
from qatprep.findings import Status
from qatprep.report.console import Console
from qatprep.report.fold import MOST_WIDTH
from qatprep.report.rows import columns, width_of
from qatprep.report.text import braces
from qatprep.text import plural

_RIGHT = {"NUMA", "usable", "held", "RAS errors"}
_MORE = ("driver", "heartbeat", "RAS errors", "VF driver", "owner", "mode", "signed")
"""What a wide terminal shows as well."""
_TOGETHER = 8
"""PFs of one line at most."""


class Line(NamedTuple):
    """What is said of one PF; equal ones are folded."""

    numa: int
    family: str
    services: str
    state: str
    usable: tuple[int, int]
    """VFs that can serve TLS now, of those that the PF can have."""
    held: int
    findings: tuple[str, ...]
    more: tuple[str, ...]

    @property
    def well(self) -> bool:
        return not self.findings and self.usable[0] == self.usable[1]


def print_pfs(console: Console, judged: Assessment, *, every: bool) -> None:
    """NUMA node, PFs, services, state, VFs usable and held, finding; `every` gives each PF its own line."""
    found = [(pf, line_of(judged, pf)) for pf in judged.facts.pci.pfs]
    groups: dict[tuple[Line, str], list[Pf]] = {}
    for pf, line in found:
        groups.setdefault((line, pf.bdf if every else ""), []).append(pf)
    families = sorted({line.family for _, line in found})
    name = f"PFs {families[0]}" if len(families) == 1 else "PFs"
    wide = len(families) > 1
    for most in (_TOGETHER, 4, 2, 1):
        rows = []
        for (line, _), pfs in groups.items():
            for n in range(0, len(pfs), most):
                part = pfs[n : n + most]
                rows.append(_cells(line, braces([pf.bdf for pf in part]), len(part), wide))
        header = ["NUMA", name, "services", "state", "usable", "held", "finding"]
        if width_of(header, rows) <= min(console.width, 100):
            break
    if len(found) > 8 and len(rows) > 1:
        usable, total = (sum(line.usable[n] for _, line in found) for n in (0, 1))
        held = sum(line.held for _, line in found)
        rows.append(["all", plural(len(found), "PF"), "", "", f"{usable}/{total}", _held(held), ""])
    more = [list(line.more) for (line, _), pfs in groups.items() for _ in range(0, len(pfs), most)]
    more += [[""] * len(_MORE)] * (len(rows) - len(more))
    wider = [[*row, *extra] for row, extra in zip(rows, more, strict=True)]
    if width_of([*header, *_MORE], wider) <= console.width < MOST_WIDTH:
        header, rows = [*header, *_MORE], wider
    if not any(line.findings for _, line in found):
        at = header.index("finding")
        header, rows = [*header[:at], *header[at + 1 :]], [[*row[:at], *row[at + 1 :]] for row in rows]
    columns(console, header, rows, _RIGHT)


def _cells(line: Line, bdfs: str, count: int, with_family: bool) -> list[Text | str]:
    usable, total = (count * number for number in line.usable)
    style = "ok" if line.well and total else "" if line.well else "warn" if usable else "fail"
    ids = Text(line.findings[0] if line.findings else "", "id")
    if len(line.findings) > 1:
        ids.append(f" +{len(line.findings) - 1}")
    return [
        str(line.numa) if line.numa >= 0 else "-",
        f"{bdfs} {line.family}" if with_family else bdfs,
        line.services,
        Text(line.state, "" if line.state == "up" else "fail" if line.state == "no reply" else "warn"),
        Text(f"{usable}/{total}", style),
        _held(count * line.held),
        ids,
    ]


def _held(number: int) -> str:
    return str(number) if number else "-"


def line_of(judged: Assessment, pf: Pf) -> Line:
    facts = judged.facts
    mine = {vf.bdf for vf in pf.vfs}
    total = pf.total_vfs if isinstance(pf.total_vfs, int) else len(pf.vfs)
    touching = [f for f in judged.report.findings if f.status in (Status.FAIL, Status.UNKNOWN)]
    ids = dict.fromkeys(f.id for f in touching if {pf.bdf, *mine} & set(f.subjects))
    return Line(
        pf.numa_node,
        pf.name,
        pf.services.text if isinstance(pf.services, Services) else "?" if isinstance(pf.services, Unknown) else "-",
        state_of(judged, pf),
        (sum(not judged.unusable(vf) for vf in pf.vfs), max(total, len(pf.vfs))),
        len({holder.vf for holder in facts.nodes.holders} & mine),
        tuple(ids),
        _more(judged, pf),
    )


def state_of(judged: Assessment, pf: Pf) -> str:
    """One or two words: what the driver has made of the PF."""
    facts = judged.facts
    if isinstance(pf.driver, Unknown) or isinstance(pf.state, Unknown):
        return "unknown"
    if pf.driver is None:
        return "no driver"
    if pf.driver != pf.family.driver:
        return f"on {pf.driver}"
    if signs_of_death(pf, facts.health.of(pf.bdf), facts.log):
        return "no reply"
    return pf.state or "bound"


def _more(judged: Assessment, pf: Pf) -> tuple[str, ...]:
    facts = judged.facts
    health = facts.health.of(pf.bdf)
    beats = {True: "answers", False: "silent", None: "not asked"}[health.beats]
    drivers = {str(vf.driver or "none") if not isinstance(vf.driver, Unknown) else "unknown" for vf in pf.vfs}
    nodes = {vf.node for vf in pf.vfs if isinstance(vf.node, DeviceNode)}
    owners = {f"{'root' if node.uid == 0 else node.uid}:{facts.nodes.group_name(node.gid)}" for node in nodes}
    modes = {f"{node.mode:04o}" for node in nodes}
    fatal = health.errors.get(FATAL, 0)
    signed = judged_signed(judged, pf)
    driver = pf.driver if isinstance(pf.driver, str) else "none"
    return (driver, beats, str(sum(health.errors.values()) or fatal), _one(drivers), _one(owners), _one(modes), signed)


def judged_signed(judged: Assessment, pf: Pf) -> str:
    """How many signatures of this boot are valid for it."""
    from qatprep.outcome import stand

    signed = stand(judged).holds.get(pf.bdf)
    return str(signed.right) if signed else "-"


def _one(values: set[str]) -> str:
    return values.pop() if len(values) == 1 else "mixed" if values else "-"
