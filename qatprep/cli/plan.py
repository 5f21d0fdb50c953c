"""qatprep plan: every change that bootstrap would make, and what it costs."""

from __future__ import annotations

from typing import Annotated

import typer

from qatprep.cli.command import App
from qatprep.cli.options import ConfigOption, DeviceOption, Output, OutputOption, RootOption, SetOption, SimulateOption
from qatprep.cli.session import Session
from qatprep.exits import ExitCode

app = App()


@app.command()
def plan(
    ctx: typer.Context,
    device: DeviceOption = None,
    config_file: ConfigOption = "",
    setting: SetOption = None,
    diff: Annotated[bool, typer.Option("--diff", help="Show before and after of each subject.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show each VF.")] = False,
    root: RootOption = "/",
    simulate: SimulateOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """Show every change that bootstrap would make. Changes nothing; status 3 when there is something to do."""
    from qatprep import config
    from qatprep.cli.look import look
    from qatprep.cli.open_host import same_host
    from qatprep.cli.select import chooser

    session: Session = ctx.obj
    host = session.host(root, simulate)
    wanted = config.load(host, config_file, setting or ())
    again = same_host(root, simulate, config_file, setting or [])
    found, _, result, outcome = look(host, wanted, again, only=lambda facts: chooser(facts, device or []))
    session.warn(config.unmatched(wanted, found))
    config.demand(wanted, found.pci.pfs, chooser(found, device or []))
    code = outcome.exit_status(asked=True)
    from qatprep.outcome import document
    from qatprep.report import plan as report
    from qatprep.report.outcome import print_outcome
    from qatprep.report.refusal import reach, refusal_lines
    from qatprep.report.rows import LABEL

    if output is Output.json:
        session.json(
            {
                **report.plan_document(result, host.label, wanted.source, diff=diff),
                "outcome": document(outcome, code),
            }
        )
    else:
        console = session.console()
        if not session.quiet:
            if result.empty and not result.skipped and not result.refused:
                console.print(
                    report.idle(result.skipped, host.label, qat=found.has_qat, failed=outcome.failed), style="ok"
                )
            else:
                report.print_plan(console, result, found, wanted.source, verb="plan", every=verbose)
            if diff:
                report.print_plan_diff(console, result, every=verbose)
            for line in refusal_lines(result, found.pci, *reach(found), error=False):
                console.say(line, hang=LABEL)
            console.print()
        print_outcome(console, outcome)
    return code
