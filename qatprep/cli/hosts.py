"""qatprep hosts: the hosts that --simulate knows."""

from __future__ import annotations

from typing import Annotated

import typer

from qatprep.cli import complete
from qatprep.cli.command import App
from qatprep.cli.options import Output, OutputOption
from qatprep.cli.session import Session
from qatprep.exits import ExitCode

app = App()


@app.command()
def hosts(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="[HOST]", help="Show the full story of this host.", autocompletion=complete.hosts)
    ] = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """List the hosts that --simulate knows, or tell the story of one."""
    from qatprep.report import hosts as report
    from qatprep.simulator.scenarios import scenario, scenarios

    session: Session = ctx.obj
    found = [scenario(name)] if name else scenarios()
    if output is Output.json:
        session.json(report.document(found))
    elif name:
        report.print_story(session.console(), found[0])
    else:
        report.print_hosts(session.console(), found)
    return ExitCode.OK
