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
    """Show the node as it is, its verdict, its last run, and whether it has drifted from the configuration (status 3
    when it has, or when something is to be fixed).
    """
    from qatprep import config, facts
    from qatprep.cli.look import look
    from qatprep.cli.select import same_host
    from qatprep.engine import journal
    from qatprep.errors import QatprepError
    from qatprep.outcome import document as last_word
    from qatprep.report import status as report

    session: Session = ctx.obj
    host = session.host(root, simulate)
    found = facts.gather(host)
    if as_config:
        session.out.write(config.describe(found))
        return ExitCode.OK
    wanted = config.load(host, config_file, setting or ())
    again = same_host(root, simulate, config_file, setting or [])
    _, _, plan, outcome = look(host, wanted, again, facts=found)
    code = outcome.exit_status(asked=True)
    try:
        runs = journal.runs(host)
    except QatprepError as e:
        session.say("; ".join(text for text in (e.message, e.hint) if text))
        runs = []
    if output is Output.json:
        document = report.status_document(host, found, plan, wanted.source, runs)
        session.json({**document, "outcome": last_word(outcome, code)})
    else:
        report.print_status(session.console(), host, found, plan, outcome, wanted.source, runs)
    return code
