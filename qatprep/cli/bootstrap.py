"""qatprep bootstrap: make the node ready."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qatprep.cli.command import App
from qatprep.cli.options import (
    ConfigOption,
    DeviceOption,
    Output,
    OutputOption,
    RootOption,
    SetOption,
    SimulateOption,
    YesOption,
)
from qatprep.cli.session import Session
from qatprep.exits import OF_STATUS, ExitCode

if TYPE_CHECKING:
    from qatprep.crypto.prove import Proven
    from qatprep.facts import Facts
    from qatprep.host.base import Host
    from qatprep.plan.model import Plan

app = App()


@app.command()
def bootstrap(
    ctx: typer.Context,
    device: DeviceOption = None,
    config_file: ConfigOption = "",
    setting: SetOption = None,
    check: Annotated[bool, typer.Option("--check", help="Only say what would change.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Show before and after of each subject.")] = False,
    no_smoke: Annotated[bool, typer.Option("--no-smoke", help="Leave out the smoke run at the end.")] = False,
    yes: YesOption = False,
    boot: Annotated[
        bool, typer.Option("--boot", help="As the unit does at boot: prepare what can be, leave out what fails.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show each VF.")] = False,
    root: RootOption = "/",
    simulate: SimulateOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """Make the node ready: modules, services, VFs, binding, device nodes, and a smoke run at the end.

    Every change is written to a journal, read back, and undone again when one fails. A second run changes nothing.
    Kernel arguments and the BIOS are never touched.
    """
    from qatprep import config
    from qatprep.cli.ask import agreed, say_unconfirmed
    from qatprep.cli.look import look, signed
    from qatprep.cli.open_host import same_host
    from qatprep.cli.select import chooser, to_undo
    from qatprep.engine.bootstrap import Result
    from qatprep.engine.bootstrap import bootstrap as run
    from qatprep.outcome import document as last_word
    from qatprep.report import plan as report
    from qatprep.report.outcome import print_outcome
    from qatprep.report.progress import Watcher
    from qatprep.report.refusal import reach, refusal_lines

    session: Session = ctx.obj
    host = session.host(root, simulate)
    wanted = config.load(host, config_file, setting or ())
    if boot:
        from qatprep.cli.boot import at_boot
        from qatprep.errors import InputError

        if check or diff or device:
            raise InputError("--boot takes the whole node and changes it: not with --check, --diff or --device")
        return at_boot(session, host, wanted, as_json=output is Output.json, no_smoke=no_smoke)
    again = same_host(root, simulate, config_file, setting or [])
    seen = look(host, wanted, again, only=lambda facts: chooser(facts, device or []))
    found = seen.facts
    session.warn(config.unmatched(wanted, found))
    only = chooser(found, device or [])
    config.demand(wanted, found.pci.pfs, only)
    as_json = output is Output.json
    console, talk = session.console(), session.talk()

    def show(plan: Plan) -> None:
        if not as_json and not session.quiet:
            report.print_plan(console, plan, found, wanted.source, verb="bootstrap", every=verbose)
            if diff:
                report.print_plan_diff(console, plan, every=verbose)

    if check:
        plan = seen.plan
        result = Result(
            "refused" if plan.refused else "unchanged" if plan.empty else "planned", plan, skipped=plan.skipped
        )
        if not plan.empty or plan.skipped:
            show(plan)
    else:
        watcher = Watcher(talk, quiet=as_json)

        def confirm(plan: Plan) -> bool:
            show(plan)
            if not (yes or agreed(plan.costs, f"Make these {len(plan.changes)} changes?")):
                return False
            watcher.expect(plan)
            return True

        with watcher:
            result = run(host, wanted, only=only, progress=watcher, confirm=confirm)
    session.code = OF_STATUS[result.status]
    say_unconfirmed(session, result)
    document = report.result_document(result, host.label, wanted.source, check=check, diff=diff)
    for line in refusal_lines(result.plan, found.pci, *reach(found)) if not as_json else ():
        session.say_row(line)
    if not as_json and result.status not in ("planned", "unconfirmed"):
        undo = to_undo(session, result.run)
        failed = seen.outcome.failed
        report.print_result(console, result, host.label, undo, qat=found.has_qat, failed=failed, again=again)
    done = None
    if not check and result.status in ("applied", "unchanged"):
        if result.made and wanted.smoke and not no_smoke:
            done = _sign(session, host, result.facts, document, as_json=as_json)
        seen = look(host, wanted, again, facts=None if done else result.facts, only=lambda facts: only)
        seen = signed(host, seen, done.findings, again) if done else seen
    if check or (session.code is ExitCode.OK and result.status != "declined"):
        session.code = seen.outcome.exit_status(asked=True)
        if done and not done.report.ok and session.code is ExitCode.OK:
            session.code = ExitCode.FINDINGS
    if as_json:
        document["outcome"] = last_word(seen.outcome, session.code)
        session.json({**document, "exit": int(session.code)})
    elif result.status in ("planned", "refused", "unchanged", "applied"):
        console.print()
        print_outcome(console, seen.outcome)
    return session.code


def _sign(
    session: Session, host: Host, facts: Facts | None, document: dict[str, object], *, as_json: bool
) -> Proven | None:
    """Sign on what was prepared, and keep the proof. None where nothing can be signed."""
    from qatprep.crypto.prove import prove
    from qatprep.facts import gather
    from qatprep.report import crypto

    if host.simulated:
        return None
    done = prove(host, facts or gather(host), "bootstrap")
    if as_json:
        document["smoke"] = crypto.smoke_document(done.report)
    else:
        crypto.print_smoke(session.console(), done.report)
    if done.why_not:
        session.say(f"the proof was not written: {done.why_not}")
    return done
