"""Facts in, report out: runs the checks, and blocks what depends on something broken.

What a failure breaks depends on what it is about. One about devices takes these (a PF with its VFs) out of every check
that needs the failed one, directly or not; the other devices are judged on. One about the whole host blocks all such
checks.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from qatprep.checks.base import Check, Context, Profile, Stage
from qatprep.checks.table import BY_ID, CHECKS, select
from qatprep.checks.text import BOOTSTRAP
from qatprep.config import NodeConfig
from qatprep.errors import InputError
from qatprep.facts import Facts
from qatprep.findings import CRASH, LOOKED, SEEN, Evidence, Finding, Status, worst
from qatprep.findings.pages import Page, pages
from qatprep.text import plural


@dataclass(frozen=True)
class Report:
    """What doctor has to say about one host."""

    profile: Profile
    """As it was asked for."""
    judged: tuple[Profile, ...]
    """What the node was judged for: qat, cryptomb or both."""
    findings: tuple[Finding, ...]
    """In the order of the checks; of one check, what it found first, then what it could not look at."""
    every: tuple[Finding, ...]
    """The same with what was looked at only because the checks that were asked for need it."""
    left_out: frozenset[str]
    """Ids that --only and --skip kept out of the report."""

    @property
    def worst(self) -> Status:
        """fail, unknown, warn or ok: the worst that was found."""
        return worst(self.findings)

    def of(self, *statuses: Status) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.status in statuses)

    def ids(self, status: Status) -> tuple[str, ...]:
        """The ids with that status, each once, in order."""
        return tuple(dict.fromkeys(f.id for f in self.of(status)))


@dataclass
class _Broken:
    """What a check and everything above it found broken: ids of the failures that began it."""

    host: set[str] = field(default_factory=set)
    devices: dict[str, set[str]] = field(default_factory=dict)

    def add(self, other: _Broken) -> None:
        self.host |= other.host
        for bdf, ids in other.devices.items():
            self.devices.setdefault(bdf, set()).update(ids)

    def roots(self, bdfs: Iterable[str] = ()) -> tuple[str, ...]:
        ids = self.host.union(*(self.devices.get(bdf, set()) for bdf in bdfs))
        return tuple(sorted(ids, key=_position))


_ORDER = {check.id: n for n, check in enumerate(CHECKS)}


def _position(id: str) -> int:
    return _ORDER.get(id, len(_ORDER))


def evaluate(
    facts: Facts,
    config: NodeConfig,
    profile: Profile = Profile.AUTO,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
) -> Report:
    """Judge a host. `only` and `skip` are ids, globs or stages; what `only` needs is checked but not reported.

    InputError for a name that is none, or when nothing is left to do.
    """
    chosen = select(only) if only else frozenset(BY_ID)
    skipped = select(skip)
    judged = (Profile.QAT, Profile.CRYPTOMB) if profile is Profile.AUTO else (profile,)
    checks = [check for check in CHECKS if check.profiles & set(judged)]
    told = [check for check in checks if check.id in chosen]
    elsewhere = [page for page in pages().values() if page.id in chosen and page.id not in BY_ID]
    if not told and not elsewhere:
        raise InputError(
            f"--only {','.join(only)} names no check of the profile {profile}",
            "leave --profile out, or name another one",
        )
    wanted = _with_needs(told)
    findings: list[Finding] = []
    shown: list[Finding] = []
    state: dict[str, _Broken] = {}
    no_device = profile is Profile.AUTO and _no_qat_at_all(facts)
    for check in checks:
        if check.id not in wanted:
            continue
        upstream = _Broken()
        for need in check.needs:
            upstream.add(state.get(need, _Broken()))
        if check.id in skipped:
            results = [_left_out(check, "left out by --skip")]
        elif no_device and Profile.QAT in check.profiles:
            results = [_left_out(check, "there is no QAT device on this host")]
        else:
            results = _run(check, Context(facts, config, profile, findings=tuple(findings)), upstream)
            results = [_weigh(facts, profile, f) for f in results]
        state[check.id] = _behind(facts, upstream, results)
        findings += results
        if check.id in chosen:
            shown += results
    shown += map(_of_page, elsewhere)
    left_out = frozenset(c.id for c in checks) - frozenset(c.id for c in told if c.id not in skipped)
    return Report(profile, judged, tuple(shown), tuple(findings), left_out)


def _of_page(page: Page) -> Finding:
    """What only a dump, a log or a signature tells: not judged here, and explained all the same."""
    cause, how = " ".join(page.section("What it means")), " ".join(page.section("How it is found"))
    fix = page.section("How to fix")
    return Finding(page.id, Status.SKIPPED, page.title, evidence=(Evidence("found by", how),), cause=cause, fix=fix)


def _no_qat_at_all(facts: Facts) -> bool:
    pci = facts.pci
    return isinstance(pci.visible, bool) and not (pci.pfs or pci.vfs or pci.strangers)


def _with_needs(checks: Iterable[Check]) -> set[str]:
    wanted: set[str] = set()
    todo = list(checks)
    while todo:
        check = todo.pop()
        if check.id not in wanted:
            wanted.add(check.id)
            todo += [BY_ID[id] for id in check.needs]
    return wanted


def _left_out(check: Check, why: str) -> Finding:
    return Finding(check.id, Status.SKIPPED, check.title, cause=why)


def _run(check: Check, whole: Context, upstream: _Broken) -> list[Finding]:
    """What one check finds, and what it cannot look at for something upstream."""
    try:
        if check.applies is not None and not check.applies(whole):
            return [_left_out(check, _absent(check, whole))]
        ctx = replace(whole, broken=frozenset(upstream.devices))
        blind = _blind(check, whole, upstream)
        if upstream.host:
            return [*blind, _blocked(check, _about(check, whole), upstream.roots())]
        left = _about(check, ctx)
        lost = _lost(whole, upstream, _about(check, whole), left)
        if check.about is not None and not left:
            if upstream.devices:
                return [*blind, _blocked(check, tuple(lost), upstream.roots(upstream.devices))]
            return [_left_out(check, _absent(check, whole))]
        found = list(check.run(ctx))
        if not any(f.status is not Status.OK for f in found):
            found = found or [Finding(check.id, Status.OK, check.title, left, _saw(check, ctx))]
        found += blind
        if lost and check.about is not None:
            found.append(_blocked(check, tuple(lost), upstream.roots(lost)))
        return found
    except Exception as e:
        return [_crash(check, e)]


def _saw(check: Check, ctx: Context) -> tuple[Evidence, ...]:
    """What a check that passed looked at, and what it saw: every count against its whole."""
    if check.saw is not None:
        return (Evidence(SEEN, check.saw(ctx)),)
    if check.looked is not None:
        return (Evidence(LOOKED, check.looked(ctx)),)
    if check.about is None:
        return ()
    looked = set(check.about(ctx))
    kinds = (("PF", [pf.bdf for pf in ctx.facts.pci.pfs]), ("VF", [vf.bdf for vf in ctx.facts.pci.all_vfs]))
    counts = [f"{len(looked & set(bdfs))} of {plural(len(bdfs), noun)}" for noun, bdfs in kinds if looked & set(bdfs)]
    return (Evidence(LOOKED, ", ".join(counts)),) if counts else ()


def _blind(check: Check, whole: Context, upstream: _Broken) -> list[Finding]:
    """What cannot be read of devices for which all that is broken upstream is what bootstrap fixes: it would go on with
    them, so it is reported although the check is blocked."""
    if not (upstream.host or upstream.devices) or check.about is None:
        return []
    given = {f.id for f in whole.findings if f.status is Status.FAIL and f.step != BOOTSTRAP}
    if given & upstream.host:
        return []
    hopeless = {bdf for bdf, ids in upstream.devices.items() if given & ids}
    kept = set(_about(check, replace(whole, broken=frozenset(upstream.devices)))) if not upstream.host else set()
    found = check.run(replace(whole, broken=frozenset(hopeless)))
    return [f for f in found if f.status is Status.UNKNOWN and f.subjects and not kept & set(f.subjects)]


def _about(check: Check, ctx: Context) -> tuple[str, ...]:
    return tuple(check.about(ctx)) if check.about is not None else ()


def _lost(ctx: Context, upstream: _Broken, everything: tuple[str, ...], left: tuple[str, ...]) -> list[str]:
    """What a check would look at if it were not broken; a broken PF counts for the VFs it does not have yet."""
    kept = set(left)
    lost = [bdf for bdf in everything if bdf not in kept]
    named = {*lost, *kept}
    for bdf in upstream.devices:
        pf = ctx.facts.pci.pf(bdf) if bdf not in named else None
        if pf is not None and not any(vf.bdf in named for vf in pf.vfs):
            lost.append(bdf)
    return lost


def _blocked(check: Check, subjects: tuple[str, ...], roots: tuple[str, ...]) -> Finding:
    return Finding(check.id, Status.BLOCKED, check.title, subjects=subjects, blocked_by=roots)


NOTHING = "nothing that it checks is here"
"""Where a check does not say what it lacks; no host that is known does."""
_ABSENT: dict[Stage, tuple[str, Callable[[Facts], bool]]] = {
    Stage.PERSISTENCE: ("no systemd", lambda facts: facts.persist.systemd is False),
    Stage.MEMLOCK: ("no container runtime", lambda facts: facts.runtime.runtime is None),
    Stage.RUNTIME: ("no container runtime", lambda facts: facts.runtime.runtime is None),
    Stage.KUBERNETES: ("no Kubernetes", lambda facts: not facts.kubernetes.here),
    Stage.MESH: ("no container runtime", lambda facts: facts.runtime.runtime is None),
}
"""What a stage needs to have a meaning on a host, and how its absence shows."""


def _absent(check: Check, ctx: Context) -> str:
    """What a check that has no meaning on this host would need: named, so that nobody takes it for looked at."""
    facts = ctx.facts
    if Profile.CRYPTOMB not in check.profiles and not facts.has_qat:
        return "no device here that qatlib drives"
    name, missing = _ABSENT.get(check.stage, ("", lambda facts: False))
    if missing(facts):
        return str(name)
    if check.about is not None and not facts.pci.pfs and not _about(check, ctx):
        return "a VM sees VFs without their PF"
    return check.absent(ctx) if check.absent is not None else NOTHING


def _crash(check: Check, error: Exception) -> Finding:
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else "?"
    return Finding(
        CRASH,
        Status.FAIL,
        f"the check {check.id} itself failed: {type(error).__name__} at {where}",
        evidence=(Evidence(check.id, f"{type(error).__name__}: {error}"),),
        cause=f"A check itself failed: a bug in qatprep. It is unknown whether {check.title}.",
        fix=("Report it with the line above and a capture of this host.", f"qatprep doctor --skip {check.id}"),
    )


def _weigh(facts: Facts, profile: Profile, f: Finding) -> Finding:
    """With profile auto, what rules out only one of the two ways is not a failure of a node that has the other."""
    if profile is not Profile.AUTO or f.status is not Status.FAIL or f.id == CRASH:
        return f
    stage = BY_ID[f.id].stage
    if (stage is Stage.CPU and facts.has_qat) or (stage is Stage.DEVICE and not facts.has_qat):
        return replace(f, status=Status.WARN, weighed=True)
    return f


def _behind(facts: Facts, upstream: _Broken, results: list[Finding]) -> _Broken:
    """What is broken for the checks that need this one."""
    broken = _Broken()
    broken.add(upstream)
    for f in results:
        if f.status is not Status.FAIL or f.id == CRASH:
            continue
        if not f.subjects:
            broken.host.add(f.id)
        for bdf in f.subjects:
            pf = facts.pci.pf(bdf)
            for taken in (bdf, *(vf.bdf for vf in (pf.vfs if pf else ()))):
                broken.devices.setdefault(taken, set()).add(f.id)
    return broken
