"""qatprep bootstrap: make the node ready."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

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
    from qatprep.engine.bootstrap import Result
    from qatprep.plan.model import Plan

app = typer.Typer()


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
    from qatprep import config, facts
    from qatprep.cli.ask import agreed
    from qatprep.cli.select import chooser, name_of, to_undo
    from qatprep.engine.bootstrap import Result
    from qatprep.engine.bootstrap import bootstrap as run
    from qatprep.plan.node import make_plan
    from qatprep.report import plan as report
    from qatprep.report.progress import Watcher

    session: Session = ctx.obj
    host = session.host(root, simulate)
    wanted = config.load(host, config_file, setting or ())
    if boot:
        from qatprep.cli.boot import at_boot
        from qatprep.errors import InputError

        if check or diff or device:
            raise InputError("--boot takes the whole node and changes it: not with --check, --diff or --device")
        return at_boot(session, host, wanted, as_json=output is Output.json)
    found = facts.gather(host)
    for text in config.unmatched(wanted, found):
        session.say(text)
    only = chooser(found, device or [])
    config.demand(wanted, found.pci.pfs, only)
    as_json = output is Output.json
    console, talk = session.console(), session.talk()

    def show(plan: Plan) -> None:
        if not as_json:
            report.print_plan(console, plan, f"Plan for {host.label}", name_of(found), every=verbose)
            if diff:
                report.print_diff(console, plan)

    if check:
        plan = make_plan(found, wanted, only)
        result = Result(
            "refused" if plan.refused else "unchanged" if plan.empty else "planned", plan, skipped=plan.skipped
        )
        if not plan.empty or plan.skipped:
            show(plan)
    else:
        watcher = Watcher(talk, quiet=as_json)

        def confirm(plan: Plan) -> bool:
            show(plan)
            if not (yes or host.simulated or agreed(plan.costs, f"Make these {len(plan.changes)} changes?")):
                return False
            watcher.expect(plan)
            return True

        with watcher:
            result = run(host, wanted, only=only, progress=watcher, confirm=confirm)
    smoke_ok = True
    session.code = _code(result, smoke_ok)
    document = report.result_document(result, host.label, wanted.source, check=check, diff=diff)
    if not as_json and not (check and result.status == "planned"):
        undo = to_undo(session, result.run, root, simulate)
        report.print_result(console, result, host.label, undo, qat=found.has_qat)
    if not check and wanted.smoke and not no_smoke and result.status in ("applied", "unchanged"):
        smoke_ok = _smoke(session, host, document, as_json=as_json)
    session.code = _code(result, smoke_ok)
    if as_json:
        session.json({**document, "exit": int(session.code)})
    return session.code


def _code(result: Result, smoke_ok: bool) -> ExitCode:
    code = OF_STATUS[result.status]
    if code is ExitCode.OK and (result.skipped or not smoke_ok):
        return ExitCode.FINDINGS
    return code


def _smoke(session: Session, host: object, document: dict[str, object], *, as_json: bool) -> bool:
    """The smoke run: what was prepared is used once."""
    from qatprep.crypto import smoke
    from qatprep.host.base import Host
    from qatprep.report import crypto

    assert isinstance(host, Host)
    result = smoke.run(smoke.Provider.auto, host)
    if host.simulated and not as_json:
        session.line("Smoke run: not on a simulated host; `qatprep smoke` signs on this machine.")
    elif as_json:
        document["smoke"] = crypto.smoke_document(result)
    else:
        crypto.print_smoke(session.console(), result)
    return result.ok or host.simulated
