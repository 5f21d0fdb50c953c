"""A refusal, with all that the change would have reached: who holds what, what must stop, what is not affected.

No rich here: the low-level verbs print it too, and must not wait for a library to load.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from qatprep.facts.nodes import POD_LOGS, Holder
from qatprep.facts.pci import PciFacts
from qatprep.plan.model import Plan, Refusal
from qatprep.report.text import braces, grouped
from qatprep.text import listed, plural

if TYPE_CHECKING:
    from qatprep.facts import Facts

_LABEL = 16


def refusal_lines(
    plan: Plan, pci: PciFacts, services: Sequence[str] = (), plugin: bool = False, *, error: bool = True
) -> Iterator[str]:
    """Every refusal of a plan. `services`: units of this host that go on running; `plugin`: Intel's device plugin runs
    here; `error`: in the form of an error, not as part of a plan."""
    for n, refusal in enumerate(plan.refused):
        if n:
            yield ""
        for label, text in _rows(plan, refusal, pci, services, plugin):
            if label == "refused":
                yield f"error: refused: {text}" if error else f"{label:{_LABEL}}{text}"
            else:
                yield f"{label:{_LABEL}}{text}"


def reach(facts: Facts) -> tuple[list[str], bool]:
    """The units of this host that no such change touches, and whether Intel's device plugin runs here."""
    runtime = facts.runtime
    found = [runtime.runtime.name] if runtime.runtime and runtime.daemon_pid else []
    return [*found, *(["kubelet"] if runtime.kubelet is not None else [])], runtime.plugin is not None


def _rows(
    plan: Plan, refusal: Refusal, pci: PciFacts, services: Sequence[str], plugin: bool
) -> Iterator[tuple[str, str]]:
    held = list(dict.fromkeys(holder.vf for holder in refusal.holders))
    first = refusal.holders[0] if refusal.holders else None
    if first is None:
        yield "refused", f"{refusal.subject}: {refusal.reason}"
        return
    yield "refused", f"{refusal.subject}: {braces(held)} {'is' if len(held) == 1 else 'are'} open in {first}"
    lane = plan.lanes.get(refusal.subject, ())
    removed = any(change.kind == "remove-vfs" for change in lane)
    yield from _labelled("planned", _planned(plan, refusal, removed=removed))
    yield from _labelled("held by", _holders(refusal.holders))
    path = listed(dict.fromkeys(holder.path for holder in refusal.holders if holder.path)) or "its device node"
    what = "removing its VFs" if removed else "taking it from its driver"
    yield "cause", f"{what} would block in the kernel until {first.command} closes {path}"
    yield from _labelled("must stop", _stop(refusal.holders))
    yield "must restart", "the same, with a VF: the device nodes get new numbers" if removed else "the same, with a VF"
    pf = pci.pf(refusal.subject)
    free = len(pf.vfs) - len(held) if pf else 0
    if removed and free > 0:
        again = " and made again" if any(change.kind == "create-vfs" for change in lane) else ""
        yield "also changed", f"{plural(free, 'free VF')} of {refusal.subject} are removed{again}"
    if others := [pf for pf in pci.pfs if pf.bdf in plan.lanes and pf.bdf != refusal.subject]:
        vfs = {vf.bdf for pf in others for vf in pf.vfs}
        free_too = not any(holder.vf in vfs for item in plan.refused for holder in item.holders)
        also = ", none of whose VFs is held" if free_too else ""
        yield "changes as well", f"{plural(len(others), 'other PF')}{also}"
    yield "not affected", _others(plan, refusal, pci, services)
    if plugin:
        yield "device plugin", "re-reads the node every 5 s: no restart needed"


def _labelled(label: str, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    for n, text in enumerate(texts):
        yield ("" if n else label), text


def _planned(plan: Plan, refusal: Refusal, *, removed: bool) -> list[str]:
    lane = plan.lanes.get(refusal.subject, ())
    own = [change for change in lane if change.subject == refusal.subject and change.kind != "create-vfs"]
    texts = []
    for change, subjects in grouped(own if removed else lane):
        _, before, after, costs = change.summary
        who = "" if subjects == [refusal.subject] else f"{braces(subjects) if len(subjects) < 5 else len(subjects)} "
        cost = f": {'; '.join(costs)}" if costs else ""
        texts.append(f"{who}{change.what} {before} -> {after}{cost}")
    return texts


def _holders(holders: Sequence[Holder]) -> list[str]:
    texts = []
    for holder in holders:
        texts.append(f"{holder.vf}  {holder.path}  {holder.command}, pid {holder.pid}")
        if holder.pod:
            texts.append(f"pod {holder.pod} ({holder.container.removeprefix('pod ')}, named by {POD_LOGS})")
        else:
            texts.append(holder.container or "no pod (its cgroup names none)")
    return list(dict.fromkeys(texts))


def _stop(holders: Sequence[Holder]) -> list[str]:
    pods = list(dict.fromkeys(holder.pod for holder in holders if holder.pod))
    others = dict.fromkeys(f"{holder.command}, pid {holder.pid}" for holder in holders if not holder.pod)
    texts = [f"pod {pod}: its connections end; kubectl -n {pod.replace('/', ' delete pod ')}" for pod in pods]
    return texts + [f"{other}: its connections end" for other in others]


def _others(plan: Plan, refusal: Refusal, pci: PciFacts, services: Sequence[str]) -> str:
    pfs = [pf for pf in pci.pfs if pf.bdf not in plan.lanes and pf.bdf != refusal.subject]
    parts = [f"{plural(len(pfs), 'other PF')} with {plural(sum(len(pf.vfs) for pf in pfs), 'VF')}"] if pfs else []
    return "; ".join([*parts, *services]) or "nothing else on this host uses QAT"
