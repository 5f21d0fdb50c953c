"""From a configuration to a node that is so: look, plan, change, look again, and go back when anything is not as it
should.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

from qatprep.engine.journal import Run, last_run, runs
from qatprep.engine.run import Failure, Progress, RunFailed, Runner, effective, locked, undo_run
from qatprep.errors import QatprepError, Unconfirmed
from qatprep.facts.nodes import Holder
from qatprep.host.base import Host
from qatprep.plan.model import Plan
from qatprep.steps.base import Change
from qatprep.text import did_you_mean

if TYPE_CHECKING:
    from qatprep.assess import Assessment, Skipped
    from qatprep.config import NodeConfig
    from qatprep.facts import Facts
    from qatprep.facts.health import HealthFacts
    from qatprep.findings import Finding

BOOT = "boot"
"""The command of runs that only do again, at a boot, what an earlier run did (engine/boot.py)."""

_LOOKS = 4
"""Times that a plan is made again: once a module is loaded, and again for PFs that its driver could not start."""

Status = Literal[
    "unchanged", "planned", "refused", "declined", "unconfirmed", "applied", "rolled back", "partial", "interrupted"
]


class Result(NamedTuple):
    """How a bootstrap ended."""

    status: Status
    plan: Plan
    """What was to be done, as it was known before."""
    made: tuple[Change, ...] = ()
    """What was done, in order (also when it was undone after)."""
    run: str = ""
    """The journal's id, "" when nothing was begun."""
    failure: Failure | None = None
    skipped: tuple[Skipped, ...] = ()
    """Devices that could not be prepared for something that is broken above them."""
    not_undone: tuple[str, ...] = ()
    """What could not be undone, and why."""
    findings: tuple[Finding, ...] = ()
    """What the checks found afterwards."""
    resumed: str = ""
    """An earlier run that was cut off, and that this one went on from, or (a verb of device) undid first."""
    facts: Facts | None = None
    """The last look at the node, after which nothing was changed; None for a verb of device, and where it was."""


def bootstrap(
    host: Host,
    config: NodeConfig | None,
    *,
    only: Callable[[str], bool] | None = None,
    command: str = "bootstrap",
    progress: Progress | None = None,
    confirm: Callable[[Plan], bool] | None = None,
    planner: Callable[[frozenset[str]], Plan] | None = None,
) -> Result:
    """Make the configuration (the defaults when None) true. Never half: what fails is rolled back.

    `confirm` sees the plan before anything is done, and may raise Unconfirmed. `planner` replaces the configuration
    where a verb asks for something of its own (device bind); it is given the PFs whose driver was tried without
    success, and must look at the host itself. Raises Locked, NeedsRoot, or QatprepError when the host cannot be
    changed at all.
    """
    own = None if planner is not None else _Planner(host, config, only)
    plan_now = planner or own
    assert plan_now is not None
    with locked(host):
        undone = _undo_cut_off(host, command, progress) if planner is not None else ""
        plan = plan_now(frozenset())
        if plan.refused:
            return Result("refused", plan, skipped=plan.skipped)
        if plan.empty:
            return Result("unchanged", plan, skipped=plan.skipped, resumed=undone, facts=own.facts if own else None)
        try:
            if confirm is not None and not confirm(plan):
                return Result("declined", plan, skipped=plan.skipped, resumed=undone)
        except Unconfirmed as e:
            why = Failure(None, e.message, e.hint)
            return Result("unconfirmed", plan, failure=why, skipped=plan.skipped, resumed=undone)
        resumed = undone or cut_off(host)
        runner = Runner(host, command, progress)
        try:
            final = _make(runner, plan, plan_now)
            findings = _look_again(own, final) if own else ()
            if not runner.made:  # only attempts, and all of them without success: nothing that a rollback should undo
                runner.rollback()
                return Result("unchanged", plan, (), runner.id, None, final.skipped, (), findings, resumed)
            runner.finish(restored=plan.restores)
        except RunFailed as e:
            return _back(runner, plan, "rolled back", e.failure, resumed)
        except KeyboardInterrupt:
            return _back(runner, plan, "interrupted", Failure(None, "interrupted", ""), resumed)
        except QatprepError as e:
            if not runner.id:
                raise  # nothing was begun
            return _back(runner, plan, "rolled back", Failure(None, e.message, e.hint), resumed)
        except Exception as e:
            back = _back(runner, plan, "rolled back", Failure(None, str(e), ""), resumed)
            e.add_note("; ".join(back.not_undone) or "what had been changed is undone")
            raise
        facts = own.facts if own else None
        return Result("applied", plan, runner.made, runner.id, None, final.skipped, (), findings, resumed, facts)


class _Planner:
    """Plans for a configuration, and the facts that the last of them was made from."""

    def __init__(self, host: Host, config: NodeConfig | None, only: Callable[[str], bool] | None) -> None:
        from qatprep.config import NodeConfig

        self.host = host
        self.config = config or NodeConfig()
        self.only = only
        self.facts: Facts | None = None

    def __call__(self, tried: frozenset[str]) -> Plan:
        return self._plan(self.facts.health if self.facts else None, tried)[1]

    def judged(self, skipped: frozenset[str]) -> tuple[Assessment, Plan]:
        """A look that asks the devices for their health again."""
        return self._plan(None, skipped)

    def _plan(self, health: HealthFacts | None, tried: frozenset[str]) -> tuple[Assessment, Plan]:
        from qatprep.assess import assess
        from qatprep.facts import gather
        from qatprep.plan.node import make_plan

        self.facts = gather(self.host, health)
        judged = assess(self.facts, self.config)
        return judged, make_plan(judged, self.only, tried)


def cut_off(host: Host) -> str:
    """The id of the last run when it was cut off (killed, or power was lost), else ""."""
    last = last_run(host)
    return last.id if last and last.cut_off else ""


def _undo_cut_off(host: Host, command: str, progress: Progress | None) -> str:
    """Undo the last run where it was this command, and was cut off at this boot; its id, "" where there is none.

    A verb that works from what it finds (VFs made again as they were) would find what the cut-off one has left.
    """
    last = last_run(host)
    if last is None or not last.cut_off or last.command != command or last.boot != host.boot_id():
        return ""
    if held := held_by(host, [last]):
        names = "; ".join(f"{holder.vf} is held by {holder}" for holder in held)
        raise QatprepError(
            f"run {last.id} ({command}) was cut off and has to be undone first, but VFs are in use: {names}",
            "stop these processes (drain the pods), then run this again",
        )
    if not_undone := undo_run(host, last, progress):
        raise QatprepError(
            f"run {last.id} ({command}) was cut off, and could not be undone: {'; '.join(not_undone)}",
            f"when the cause is gone: qatprep rollback {last.id}",
        )
    return last.id


def _make(runner: Runner, plan: Plan, plan_now: Callable[[frozenset[str]], Plan]) -> Plan:
    """Make the plan's changes; the plan that was followed in the end, its lanes known rather than forecast."""
    for _ in range(_LOOKS):
        for change in plan.host:
            runner.execute({"": [change]})
        if not plan.forecast:
            break
        plan = plan_now(frozenset(change.subject for change in runner.tried))
        if plan.refused:
            raise RunFailed(Failure(None, plan.refused[0].reason, ""))
    else:
        waiting = ", ".join(plan.lanes)
        raise RunFailed(Failure(None, f"the driver does not run for {waiting}, although its module is loaded", ""))
    runner.execute(plan.lanes)
    for change in plan.finish:
        runner.execute({"": [change]})
    return plan


def _look_again(planner: _Planner, plan: Plan) -> tuple[Finding, ...]:
    """Judge the result by the same checks as doctor, once udev has settled. RunFailed when the configuration does
    not hold.
    """
    planner.host.settle()
    skipped = frozenset(item.subject for item in plan.skipped)
    prepared = frozenset(plan.lanes)
    judged, again = planner.judged(skipped)
    findings = judged.wrong(prepared - skipped)
    if findings:
        first = findings[0]
        where = f" ({', '.join(first.subjects)})" if first.subjects else ""
        evidence = "; ".join(f"{e.path}: {e.value}" for e in first.evidence[:2])
        raise RunFailed(
            Failure(None, f"{first.id}: {first.title}{where}, although every change succeeded", evidence or first.cause)
        )
    todo = [change for name, lane in again.lanes.items() if name in prepared for change in lane]
    todo += again.finish
    if todo:
        raise RunFailed(Failure(todo[0], f"after everything was done this is still to do: {todo[0]}", ""))
    return findings


def _back(runner: Runner, plan: Plan, status: Status, failure: Failure, resumed: str) -> Result:
    clean = runner.rollback()
    return Result(
        status if clean else "partial",
        plan,
        runner.made,
        runner.id,
        failure,
        plan.skipped,
        tuple(runner.not_undone),
        (),
        resumed,
    )


EVERY = "all"
"""In place of a run's id: every run that stands."""


def undoable(host: Host, run_id: str = "") -> list[Run]:
    """The runs that `rollback` would undo, newest first: the one named or EVERY, else the last, with cut-off ones
    before it.

    A run at boot counts as the run whose work it did again: both are undone. InputError for a run that there is not,
    and for one on whose changes a later run has built; QatprepError for a journal that cannot be read.
    """
    known = runs(host)
    if run_id == EVERY:
        if problems := [run.problem for run in known if run.problem]:
            raise QatprepError(
                f"{problems[0]}; what that run changed is not known", "name the runs: qatprep rollback --list"
            )
        return [run for run in reversed(known) if run.standing]
    if run_id:
        return _named(host, known, run_id)
    chain: list[Run] = []
    for run in reversed(known):
        if run.problem and not chain:
            raise QatprepError(
                f"{run.problem}; what that run changed is not known",
                "move this file away to undo the run before it, or name a run: qatprep rollback --list",
            )
        if run.problem:
            break
        if not run.standing:
            continue
        if chain and not (run.cut_off or chain[-1].command == BOOT):
            break
        chain.append(run)
    return chain


def _named(host: Host, known: list[Run], run_id: str) -> list[Run]:
    from qatprep.errors import InputError

    ids = [run.id for run in known]
    if run_id not in ids:
        hint = did_you_mean(run_id, ids, "qatprep rollback --list shows them")
        raise InputError(f"there is no run {run_id!r} on {host.label}", hint)
    at = ids.index(run_id)
    run = known[at]
    if run.problem:
        raise QatprepError(run.problem)
    if not run.standing:
        return []
    subjects = _subjects(host, run)
    over = [later for later in known[at + 1 :] if later.standing and subjects & _subjects(host, later)]
    built = [later for later in over if later.command != BOOT]
    if built:
        last = built[-1]
        raise InputError(
            f"run {last.id} ({last.command}) changed the same since: {min(subjects & _subjects(host, last))}",
            f"undo it first: qatprep rollback {last.id}",
        )
    return [*reversed(over), run]


def _subjects(host: Host, run: Run) -> set[str]:
    return {entry.change.subject for entry in effective(host, run)}


def held_by(host: Host, chain: list[Run]) -> tuple[Holder, ...]:
    """Who has a VF open that undoing these runs would take away."""
    from qatprep.facts import nodes, pci

    found = pci.gather(host)
    taken = [entry.change for run in chain for entry in effective(host, run) if not entry.change.spares_holders]
    subjects = {change.subject for change in taken}
    doomed = {vf.bdf for vf in found.all_vfs if vf.bdf in subjects or vf.pf in subjects}
    holders, _ = nodes.holders(host, found.all_vfs)
    return tuple(holder for holder in holders if holder.vf in doomed)
