"""qatprep smoke: sign on what the node has, and check every signature."""

from __future__ import annotations

from typing import Annotated

import typer

from qatprep.cli.options import Output, OutputOption, RootOption, SimulateOption
from qatprep.cli.session import Session
from qatprep.crypto import smoke
from qatprep.exits import ExitCode

app = typer.Typer()


@app.command(help="Sign with RSA on what the node has, and check every signature.")
def main(
    ctx: typer.Context,
    provider: Annotated[
        smoke.Provider, typer.Option("--provider", help="What must sign; auto: whatever the node has.")
    ] = smoke.Provider.auto,
    root: RootOption = "/",
    simulate: SimulateOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    from qatprep.report import crypto as report

    session: Session = ctx.obj
    result = smoke.run(provider, session.host(root, simulate))
    if output is Output.json:
        session.json(report.smoke_document(result))
    else:
        report.print_smoke(session.console(), result)
    return ExitCode.OK if result.ok else ExitCode.FINDINGS
