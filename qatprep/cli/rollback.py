"""qatprep rollback: undo what a run changed."""

from __future__ import annotations

from typing import Annotated

import typer

from qatprep.cli import complete
from qatprep.cli.command import App
from qatprep.cli.options import Output, OutputOption, RootOption, SimulateOption, YesOption
from qatprep.cli.session import Session
from qatprep.exits import ExitCode

app = App()


@app.command()
def rollback(
    ctx: typer.Context,
    run: Annotated[
        str,
        typer.Argument(
            help="A run's id, or all; the last one that stands, unless given.", autocompletion=complete.runs
        ),
    ] = "",
    list_runs: Annotated[bool, typer.Option("--list", help="List the runs this host remembers.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only say what would be undone.")] = False,
    yes: YesOption = False,
    root: RootOption = "/",
    simulate: SimulateOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """Undo what a run changed, newest change first. With no id: the last run, and those cut off just before it."""
    from qatprep.cli.ask import agreed
    from qatprep.engine import bootstrap, journal
    from qatprep.engine.run import locked, undo_run
    from qatprep.errors import QatprepError
    from qatprep.report import rollback as report
    from qatprep.report.progress import Watcher

    session: Session = ctx.obj
    host = session.host(root, simulate)
    as_json = output is Output.json
    if list_runs:
        known = journal.runs(host)
        if as_json:
            session.json(report.runs_document(known, host))
        else:
            report.print_runs(session.console(), known, host)
        for each in known:
            if each.problem:
                session.say(each.problem)
        return ExitCode.OK
    chain = bootstrap.undoable(host, run)
    if not chain:
        if as_json:
            session.json(report.rollback_document(host.label, "unchanged", [], []))
        else:
            session.line("Nothing to undo.")
        return ExitCode.OK
    if not as_json and not session.quiet:
        report.print_chain(session.console(), chain, host)
    if check:
        if as_json:
            session.json(report.rollback_document(host.label, "planned", chain, []))
        return ExitCode.FINDINGS
    if not (yes or agreed((), "Undo this?")):
        if as_json:
            session.json(report.rollback_document(host.label, "declined", chain, []))
        else:
            session.line("Nothing was changed.")
        return ExitCode.OK
    not_undone: list[str] = []
    with locked(host):
        if bootstrap.undoable(host, run) != chain:
            raise QatprepError("another qatprep changed this host meanwhile", "look again: qatprep rollback --check")
        held = bootstrap.held_by(host, chain)
        if held:
            if as_json:
                session.json(report.rollback_document(host.label, "refused", chain, [], held))
            lines = "; ".join(f"{holder.vf} is held by {holder}" for holder in held)
            raise QatprepError(
                f"refused, VFs that would go are in use: {lines}",
                "stop these processes (drain the pods), then run this again",
            )
        with Watcher(session.talk(), quiet=as_json) as watcher:
            for each in chain:
                not_undone += undo_run(host, each, watcher)
    status = "partial" if not_undone else "rolled back"
    session.code = ExitCode.PARTIAL if not_undone else ExitCode.OK
    if as_json:
        session.json(report.rollback_document(host.label, status, chain, not_undone))
    else:
        report.print_outcome(session.console(), chain, not_undone)
    return session.code
