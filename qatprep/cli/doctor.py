"""qatprep doctor: what the node can do, and what is in the way."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from qatprep.cli.options import ConfigOption, Output, OutputOption, RootOption, SetOption, SimulateOption
from qatprep.cli.session import Session
from qatprep.exits import ExitCode

app = typer.Typer()


class ProfileName(StrEnum):
    """checks.base.Profile, without importing it for --help."""

    qat = "qat"
    cryptomb = "cryptomb"
    auto = "auto"


@app.command()
def doctor(
    ctx: typer.Context,
    profile: Annotated[
        ProfileName, typer.Option("--profile", "-p", help="What the node is for; auto: whichever it can do.")
    ] = ProfileName.auto,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="CHECK", help="Only this id, glob of ids (QP-IOMMU-*) or stage (iommu)."),
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option("--skip", metavar="CHECK", help="Leave out this id, glob or stage.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", "-a", help="Tell what is well, blocked and skipped, too.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what was read, and every device.")] = False,
    prove: Annotated[
        bool, typer.Option("--prove", help="Sign on one free QAT VF, without libqat (docs/direct-proof.md).")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Status 3 also for what could not be seen.")] = False,
    config_file: ConfigOption = "",
    setting: SetOption = None,
    root: RootOption = "/",
    simulate: SimulateOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """Say what this node can do, and what is in the way. Changes nothing, and needs no root to be useful.

    One broken link is one failure: what hangs on it is "blocked". Status 0 when nothing failed, 3 when something did.
    """
    from qatprep import config, facts
    from qatprep.checks.base import Profile
    from qatprep.checks.registry import evaluate
    from qatprep.cli.select import same_host
    from qatprep.findings import Status

    session: Session = ctx.obj
    host = session.host(root, simulate)
    wanted = config.load(host, config_file, setting or ())
    found = facts.gather(host)
    result = evaluate(found, wanted, Profile(profile.value), only or (), skip or ())
    if prove:
        from qatprep.cli.prove import proven

        result = proven(result, host)
    from qatprep.report import doctor as report

    if output is Output.json:
        session.json(report.document(result, found, wanted.source))
    else:
        again = same_host(root, simulate, config_file, setting or [])
        report.print_report(session.console(), result, found, wanted.source, again, every=every, verbose=verbose)
    bad = (Status.FAIL, Status.UNKNOWN) if strict else (Status.FAIL,)
    return ExitCode.FINDINGS if result.of(*bad) else ExitCode.OK
