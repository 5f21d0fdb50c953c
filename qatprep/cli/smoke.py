"""qatprep smoke: sign on what the node has, and check every signature."""

from __future__ import annotations

from typing import Annotated

import typer

from qatprep.cli.options import DeviceOption, Output, OutputOption, RootOption, SimulateOption
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
    device: DeviceOption = None,
    root: RootOption = "/",
    simulate: SimulateOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    from qatprep.cli.look import named
    from qatprep.crypto.prove import prove
    from qatprep.facts import gather
    from qatprep.report import crypto as report

    session: Session = ctx.obj
    host = session.host(root, simulate)
    found = gather(host)
    done = prove(host, found, "smoke", named(found, device or []), provider)
    result = done.report
    if done.why_not:
        session.say(f"the proof was not written: {done.why_not}")
    if output is Output.json:
        session.json(report.smoke_document(result))
    else:
        report.print_smoke(session.console(), result)
    return ExitCode.OK if result.ok else ExitCode.FINDINGS
