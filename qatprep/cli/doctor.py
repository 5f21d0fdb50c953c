"""qatprep doctor: what the node can do, and what is in the way."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from qatprep.cli import complete
from qatprep.cli.command import App
from qatprep.cli.options import ConfigOption, Output, OutputOption, RootOption, SetOption, SimulateOption
from qatprep.cli.session import Session
from qatprep.exits import ExitCode

app = App()


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
        typer.Option(
            "--only",
            metavar="CHECK",
            help="Only this id, glob of ids (QP-IOMMU-*) or stage (iommu).",
            autocompletion=complete.findings,
        ),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(
            "--skip", metavar="CHECK", help="Leave out this id, glob or stage.", autocompletion=complete.findings
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", "-a", help="Show what is ok, blocked and skipped, too.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what was read, and every device.")] = False,
    short: Annotated[bool, typer.Option("--short", help="One line for each finding, and the verdict.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Status 3 also for what could not be seen.")] = False,
    require_proof: Annotated[
        bool, typer.Option("--require-proof", help="Status 3 also for what is configured, but has not signed.")
    ] = False,
    prove: Annotated[
        bool, typer.Option("--prove", help="Sign on the CPU and on each PF first, and keep the proof. Opens VFs.")
    ] = False,
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device", "-d", metavar="BDF", help="With --prove: sign here although pods may be given its VFs."
        ),
    ] = None,
    junit: Annotated[
        str, typer.Option("--junit", metavar="FILE", help="Write the findings as JUnit XML, too, for a CI system.")
    ] = "",
    config_file: ConfigOption = "",
    setting: SetOption = None,
    root: RootOption = "/",
    simulate: SimulateOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """Say what this node can do, and what is in the way. Changes nothing, and needs no root to be useful.

    One broken link is one failure: what depends on it is "blocked". Status 0 when nothing failed, 3 when something
    did, 6 when restarts or a reboot that are listed clear all that failed.
    """
    from qatprep import config
    from qatprep.cli.look import look, narrowed
    from qatprep.cli.open_host import same_host
    from qatprep.errors import InputError

    session: Session = ctx.obj
    host = session.host(root, simulate)
    wanted = config.load(host, config_file, setting or ())
    again = same_host(root, simulate, config_file, setting or [])
    seen = look(host, wanted, again)
    done = None
    if prove:
        from qatprep.cli.look import named, signed
        from qatprep.crypto import prove as prover
        from qatprep.crypto.smoke import elsewhere

        if why_not := elsewhere(host):
            raise InputError(f"--prove signs on the running machine: {why_not}")
        done = prover.prove(host, seen.facts, "doctor --prove", named(seen.facts, device or []))
        seen = signed(host, look(host, wanted, again), done.findings, again)
    elif device:
        raise InputError("--device says where --prove signs", "qatprep device list shows single devices")
    if profile is not ProfileName.auto or only or skip:
        seen = narrowed(host, seen, profile.value, only or (), skip or (), again)
        seen = signed(host, seen, done.findings, again) if done else seen
    code = seen.outcome.exit_status(strict=strict, require_proof=require_proof)
    if junit:
        from qatprep.host.user_files import write_file
        from qatprep.report import junit as as_junit

        text = as_junit.document(seen.judged, seen.outcome, strict=strict, require_proof=require_proof)
        write_file(junit, text.encode())
    from qatprep.report import doctor as report
    from qatprep.report.outcome import print_outcome

    if output is Output.json:
        document = report.document(seen.judged, seen.outcome, code)
        if done:
            from qatprep.report.crypto import smoke_document

            document["smoke"] = smoke_document(done.report)
        session.json(document)
    else:
        if done:
            from qatprep.report.crypto import print_smoke

            print_smoke(session.console(), done.report)
            session.line()
        if session.quiet:
            print_outcome(session.console(), seen.outcome)
        else:
            report.print_report(
                session.console(), seen.judged, seen.outcome, again, every=every, verbose=verbose, short=short
            )
    if done and done.why_not:
        session.say(f"the proof was not written: {done.why_not}")
    return ExitCode.FINDINGS if done and not done.report.ok and code is ExitCode.OK else code
