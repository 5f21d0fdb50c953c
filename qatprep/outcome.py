"""What follows: verdict, plan and proof become the last word on a host, its next actions, and the exit status.

doctor, plan, status, bootstrap, features and metrics say what is decided here, so that no two of them disagree.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from qatprep.assess import Assessment, State, Verdict, inventory
from qatprep.checks.base import Profile
from qatprep.checks.text import BOOTSTRAP
from qatprep.exits import ExitCode
from qatprep.facts.base import Unknown
from qatprep.facts.pci import Pf, Vf
from qatprep.facts.proof import Proof, Signed, seal
from qatprep.findings import Finding, Status
from qatprep.plan.model import Plan
from qatprep.text import listed, plural


class Next(NamedTuple):
    """Something to do: a command to paste or an instruction, and what it is good for."""

    command: str
    why: str = ""


@dataclass(frozen=True)
class Standing:
    """What the proof is worth now."""

    asked: tuple[str, ...]
    """The devices (PFs; in a VM VFs) whose signatures the verdict on QAT needs."""
    holds: Mapping[str, Signed]
    void: Mapping[str, str]
    """Device -> why its signature is void."""
    cryptomb: Signed | None
    unreadable: str = ""
    """Why the proof could not be had, "" when it was or there is none."""

    @property
    def whole(self) -> bool:
        return bool(self.asked) and all(bdf in self.holds for bdf in self.asked)

    @property
    def last(self) -> str:
        """When the newest signature that holds was made, "" for none."""
        every = [*self.holds.values(), *([self.cryptomb] if self.cryptomb else [])]
        return max((signed.time for signed in every), default="")


@dataclass(frozen=True)
class Outcome:
    verdicts: tuple[Verdict, ...]
    simulated: bool
    standing: Standing
    remaining: tuple[str, ...]
    """Restarts, pods to be created again, a reboot: what clears failures and is left to a person."""
    next: tuple[Next, ...]
    failed: bool
    """Whether anything failed."""
    cleared: bool
    """Whether `remaining` clears every failure."""
    unseen: bool
    """Whether something could not be seen."""
    changes: int
    """Changes that bootstrap would make."""
    skipped: bool
    """Whether the plan skips something."""
    first: tuple[str, ...] = ()
    """What has to be done before bootstrap can change anything: who has a VF open."""
    busy: Mapping[str, str] = field(default_factory=dict)
    """PF -> what may keep it from being taken down."""
    idle: Mapping[str, str] = field(default_factory=dict)
    """Device -> the finding for which bootstrap skips it."""
    owners: Mapping[str, str] = field(default_factory=dict)
    """VF -> its PF."""
    writable: bool = True
    again: str = ""
    """The options by which another command works on the same host."""

    def advise(self, f: Finding) -> Finding:
        """A finding whose commands work as they are: on this host, and bootstrap only where it would fix it."""
        fix = tuple(here(step, self.again, writable=self.writable) for step in f.fix)
        why = self._why_not(f) if f.step else ""
        if not why:
            return replace(f, fix=fix)
        return replace(f, step="", instead=why, fix=fix if self.writable else ())

    def _why_not(self, f: Finding) -> str:
        """What to do instead of pasting bootstrap, "" where bootstrap does it."""
        run = f"qatprep {f.step}{self.again}"
        if not self.writable:
            return f"On that host: sudo qatprep {f.step}{_options(self.again, _CONFIGURING)}"
        if self.first:
            return f"First {listed(self.first)}, then: {run}"
        devices = {self.owners.get(bdf, bdf) for bdf in f.subjects}
        if busy := [self.busy[bdf] for bdf in self.busy if bdf in devices]:
            return f"First {busy[0]}, then: {run}"
        if devices and devices <= self.idle.keys():
            return f"First fix {listed(sorted({self.idle[bdf] for bdf in devices}))}; bootstrap skips it until then."
        return ""

    def exit_status(self, *, asked: bool = False, strict: bool = False, require_proof: bool = False) -> ExitCode:
        """`asked`: the verb was asked about the configuration, and changes to make or what is skipped is 3. `strict`: 3
        also for what could not be seen. `require_proof`: 3 also for what is only configured."""
        if self.failed and self.cleared and not self.changes:
            return ExitCode.REBOOT
        unmet = asked and (self.changes or self.skipped)
        unproven = require_proof and any(verdict.state is State.CONFIGURED for verdict in self.verdicts)
        return ExitCode.FINDINGS if self.failed or unmet or unproven or (strict and self.unseen) else ExitCode.OK

    def state(self, profile: Profile) -> State | None:
        return next((verdict.state for verdict in self.verdicts if verdict.subject is profile), None)


def conclude(
    judged: Assessment,
    plan: Plan,
    again: str = "",
    *,
    writable: bool = True,
    only: Callable[[str], bool] | None = None,
) -> Outcome:
    """The last word on a host. `plan` is what bootstrap would do; `again` are the options by which another command
    works on the same host; `writable` is False for pictures of a host. With `only`, failures of other devices do not
    count for the exit status."""
    standing = stand(judged)
    verdicts = tuple(_proven(verdict, judged, standing) for verdict in judged.verdicts)
    failures = [f for f in judged.failures if _counts(judged, f, only)]
    remaining = tuple(dict.fromkeys(action for f in failures for action in f.cleared_by))
    outcome = Outcome(
        verdicts,
        judged.facts.simulated,
        standing,
        remaining,
        (),
        bool(failures),
        bool(failures) and all(f.cleared_by for f in failures),
        bool(judged.report.of(Status.UNKNOWN)),
        len(plan.changes),
        bool(plan.skipped),
        tuple(stop for stop, _ in _stops(plan)),
        _busy(judged, plan),
        {item.subject: item.finding for item in plan.skipped if item.finding},
        {vf.bdf: vf.pf for vf in judged.facts.pci.all_vfs if vf.pf},
        writable,
        again,
    )
    return replace(outcome, next=tuple(_next(judged, plan, outcome, again, writable=writable)))


def _counts(judged: Assessment, f: Finding, only: Callable[[str], bool] | None) -> bool:
    if only is None or not f.subjects:
        return True
    owners = {vf.bdf: vf.pf for vf in judged.facts.pci.all_vfs}
    return any(only(owners.get(bdf) or bdf) for bdf in f.subjects)


def stand(judged: Assessment) -> Standing:
    """What the proof of this boot is worth for the devices as they are now."""
    facts = judged.facts
    devices: dict[str, Pf | Vf] = {pf.bdf: pf for pf in facts.pci.pfs if _signs(judged, pf)}
    devices |= {vf.bdf: vf for vf in facts.pci.vfs if vf.family.supported}
    proof = facts.proof
    if facts.simulated or not isinstance(proof, Proof):
        return Standing(tuple(devices), {}, {}, None, proof.reason if isinstance(proof, Unknown) else "")
    holds: dict[str, Signed] = {}
    void: dict[str, str] = {}
    for bdf, device in devices.items():
        signed = proof.devices.get(bdf)
        if signed is None:
            continue
        if why := signed.void or _changed(signed, seal(device, facts.health.of(bdf))):
            void[bdf] = why
        else:
            holds[bdf] = signed
    return Standing(tuple(devices), holds, void, proof.cryptomb)


def _signs(judged: Assessment, pf: Pf) -> bool:
    """Whether the configuration has this PF sign."""
    want = judged.config.of(pf)
    return pf.family.supported and want.vfs and (want.services is None or "asym" in want.services)


def _changed(signed: Signed, now: Mapping[str, str]) -> str:
    for name, value in now.items():
        if signed.seal.get(name) != value:
            return f"{name} changed since: {signed.seal.get(name, 'not recorded')} -> {value}"
    return ""


def _proven(verdict: Verdict, judged: Assessment, standing: Standing) -> Verdict:
    """CONFIGURED becomes READY where signatures prove it."""
    if verdict.state is not State.CONFIGURED:
        return verdict
    if verdict.subject is Profile.CRYPTOMB:
        return replace(verdict, state=State.READY, text="signed on this CPU") if standing.cryptomb else verdict
    if not standing.whole:
        return verdict
    what = "PFs" if judged.facts.pci.pfs else "VFs of this VM"
    text = f"signed on {len(standing.asked)} of {len(standing.asked)} {what}; {inventory(judged.facts)}"
    return replace(verdict, state=State.READY, text=text)


def _next(judged: Assessment, plan: Plan, outcome: Outcome, again: str, *, writable: bool) -> list[Next]:
    bootstrap = Next(f"qatprep bootstrap{again}")
    if judged.failures:
        return _repairs(judged, plan, outcome, bootstrap, again, writable=writable)
    if not plan.empty and not plan.refused and writable:
        return [bootstrap._replace(why=f"makes {plural(len(plan.changes), 'change')}")]
    if any(verdict.state is State.UNKNOWN for verdict in outcome.verdicts) and judged.facts.euid != 0:
        return [Next(f"sudo qatprep doctor{again}", "sees what an ordinary user does not")]
    if any(verdict.state is State.CONFIGURED for verdict in outcome.verdicts):
        return [prove(judged, again, writable=writable)]
    ready = [verdict.subject for verdict in outcome.verdicts if verdict.state is State.READY]
    return [Next(f"qatprep render envoy --provider {ready[0]}", "configuration for Envoy")] if ready else []


def prove(judged: Assessment, again: str, *, writable: bool = True) -> Next:
    """How a proof is had for this host."""
    sudo = "" if judged.facts.euid == 0 and not judged.facts.simulated else "sudo "
    if judged.facts.simulated:
        return Next("on hardware: sudo qatprep doctor --prove", "a simulated host cannot sign")
    if not writable:
        return Next("on that host: sudo qatprep doctor --prove", "a recorded host cannot sign")
    return Next(f"{sudo}qatprep doctor --prove{again}", "signs once on each PF")


def _repairs(
    judged: Assessment, plan: Plan, outcome: Outcome, bootstrap: Next, again: str, *, writable: bool
) -> list[Next]:
    ids = list(dict.fromkeys(f.id for f in judged.failures))
    fixed = [id for id in ids if all(f.step == BOOTSTRAP for f in judged.failures if f.id == id)]
    found = [Next(stop, reason) for stop, reason in _stops(plan)]
    found += [Next(text, "the change fails with EBUSY while it goes on") for text in set(outcome.busy.values())]
    if fixed and writable and not plan.empty:
        found.append(bootstrap._replace(why=_fixes(len(fixed), len(ids))))
    elif writable and plan.lanes and (part := _in_part(judged, outcome)):
        found.append(bootstrap._replace(why=f"fixes {part} on {plural(len(plan.lanes), 'device')}"))
    if writable:
        own = {f.fix[0]: f.id for f in judged.failures if f.fix and f.fix[0].startswith("qatprep device ")}
        found += [Next(here(command, again), f"fixes {id}") for command, id in own.items()]
    found += [Next(action, "then look again") for action in outcome.remaining if not fixed]
    if not writable and fixed:
        there = f"on that host: sudo qatprep bootstrap{_options(again, _CONFIGURING)}"
        found.append(Next(there, _fixes(len(fixed), len(ids))))
    found.append(Next(f"qatprep explain {ids[0]}", "the first cause"))
    return found


def _in_part(judged: Assessment, outcome: Outcome) -> str:
    """The ids of what bootstrap fixes on some devices and not on others."""
    return listed(sorted({f.id for f in judged.failures if outcome.advise(f).step == BOOTSTRAP}))


def _stops(plan: Plan) -> list[tuple[str, str]]:
    """Who has to let go of what, and why."""
    found = []
    for refusal in plan.refused:
        who = listed(dict.fromkeys(str(holder) for holder in refusal.holders))
        found.append((f"stop {who}" if who else f"release {refusal.subject}", refusal.reason))
    return found


def _busy(judged: Assessment, plan: Plan) -> dict[str, str]:
    """PFs that are to be taken down, and that may serve algorithms the kernel uses: those without VFs, for the driver
    gives them up when it makes VFs (qat_common/adf_sriov.c)."""
    users = judged.facts.kernel.users
    changed = {bdf for bdf, lane in plan.lanes.items() if any(change.kind == "set-services" for change in lane)}
    text = f"stop what uses QAT in the kernel ({listed(users)}: dm-crypt, IPsec or zswap)"
    free = [pf for pf in judged.facts.pci.pfs if pf.bdf in changed and pf.driver == pf.family.driver and not pf.vfs]
    return {pf.bdf: text for pf in free} if users else {}


_WITH_CONFIGURATION = ("bootstrap", "doctor", "gen-conf", "plan", "status")
_OF_A_HOST = (*_WITH_CONFIGURATION, "capture", "device", "features", "metrics", "rollback", "smoke")
_CONFIGURING = ("--config", "--set")
_CHANGING = ("bootstrap", "device", "rollback")


def here(step: str, again: str, *, writable: bool = True) -> str:
    """A step of a fix; where it is a command of qatprep's, with the options by which it works on the same host."""
    verb = step.split()[1] if step.startswith("qatprep ") and " " in step else ""
    if verb in _CHANGING and not writable:
        return f"On that host: sudo {step}{_options(again, _CONFIGURING) if verb in _WITH_CONFIGURATION else ''}"
    if verb in _WITH_CONFIGURATION:
        return step + again
    if verb not in _OF_A_HOST or " --direct" in step:  # which talks to this machine's devices and no others
        return step
    return step + _options(again, ("--root", "--simulate"))


def _options(again: str, names: Sequence[str]) -> str:
    """Of the options by which another command works on the same host, those with these names, each after a blank."""
    words = shlex.split(again)
    pairs = [words[n : n + 2] for n in range(0, len(words), 2) if words[n] in names]
    return "".join(f" {shlex.join(pair)}" for pair in pairs)


def _fixes(some: int, every: int) -> str:
    if some == every:
        return "fixes it" if every == 1 else f"fixes all {every}"
    return f"fixes {some} of {every}"


def document(outcome: Outcome, code: ExitCode) -> dict[str, Any]:
    """The same in every document that has a verdict."""
    standing = outcome.standing
    return {
        "verdicts": [verdict_document(verdict) for verdict in outcome.verdicts],
        "simulated": outcome.simulated,
        "proof": {
            "time": standing.last,
            "asked": list(standing.asked),
            "holds": list(standing.holds),
            "void": dict(standing.void),
            "cryptomb": standing.cryptomb is not None,
            "unreadable": standing.unreadable,
        },
        "remaining": list(outcome.remaining),
        "next": [item._asdict() for item in outcome.next],
        "exit": int(code),
    }


def verdict_document(verdict: Verdict) -> dict[str, str]:
    return {"for": str(verdict.subject), "state": str(verdict.state), "text": verdict.text, "first": verdict.first}


def proof_lines(outcome: Outcome) -> Sequence[str]:
    """What is said about the proof, for people: one line, or one for each cause why it is void."""
    standing = outcome.standing
    if standing.unreadable:
        return [f"unknown: {standing.unreadable}"]
    if standing.void:
        causes: dict[str, list[str]] = {}
        for bdf, why in standing.void.items():
            causes.setdefault(why, []).append(bdf)
        return [f"void for {listed(bdfs)}: {why}" for why, bdfs in causes.items()]
    if not standing.last:
        return ["none: a simulated host cannot sign" if outcome.simulated else "none since boot"]
    signed = [*standing.holds.values(), *([standing.cryptomb] if standing.cryptomb else [])]
    total = sum(item.right for item in signed)
    newest = max(signed, key=lambda item: item.time)
    missing = [bdf for bdf in standing.asked if bdf not in standing.holds]
    rest = f"; not for {listed(missing)}" if missing and standing.holds else ""
    return [f"{newest.time}, {newest.by}: {total} signatures right{rest}"]
