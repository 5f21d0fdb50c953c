"""qatprep status: the node as it is."""

from __future__ import annotations

from typing import Annotated

import typer

from qatprep.cli.options import ConfigOption, Output, OutputOption, RootOption, SetOption, SimulateOption
from qatprep.cli.session import Session
from qatprep.exits import ExitCode

app = typer.Typer()


@app.command()
def status(
    ctx: typer.Context,
    as_config: Annotated[
        bool, typer.Option("--as-config", help="Print today's node in the language of the configuration.")
    ] = False,
    config_file: ConfigOption = "",
    setting: SetOption = None,
    root: RootOption = "/",
    simulate: SimulateOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """Show the node as it is, its last run, and whether it has drifted from the configuration (status 3 when it
    has).
    """
    from qatprep import config, facts
    from qatprep.engine import journal
    from qatprep.errors import QatprepError
    from qatprep.plan.node import make_plan
    from qatprep.report import status as report

    session: Session = ctx.obj
    host = session.host(root, simulate)
    found = facts.gather(host)
    if as_config:
        session.out.write(config.describe(found))
        return ExitCode.OK
    wanted = config.load(host, config_file, setting or ())
    plan = make_plan(found, wanted)
    try:
        runs = journal.runs(host)
    except QatprepError as e:
        session.say("; ".join(text for text in (e.message, e.hint) if text))
        runs = []
    if output is Output.json:
        session.json(report.status_document(host, found, plan, wanted.source, runs))
    else:
        report.print_status(session.console(), host, found, plan, wanted.source, runs)
    return ExitCode.OK if plan.empty and not plan.skipped and not plan.refused else ExitCode.FINDINGS
