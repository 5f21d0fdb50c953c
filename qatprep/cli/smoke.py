"""qatprep smoke: sign on what the node has, and check every signature."""

from __future__ import annotations

from typing import Annotated

import typer

from qatprep.cli.command import App
from qatprep.cli.options import DeviceOption, Output, OutputOption, RootOption, SimulateOption
from qatprep.cli.session import Session
from qatprep.crypto import smoke
from qatprep.errors import InputError
from qatprep.exits import ExitCode
from qatprep.host.base import Host

app = App()


@app.command(help="Sign with RSA on what the node has, and check every signature.")
def main(
    ctx: typer.Context,
    provider: Annotated[
        smoke.Provider, typer.Option("--provider", help="What must sign; auto: whatever the node has.")
    ] = smoke.Provider.auto,
    device: DeviceOption = None,
    direct: Annotated[
        bool, typer.Option("--direct", help="Prove a QAT VF without libqat: talk to it through VFIO.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="With --direct: every VF that is not in use.")] = False,
    record: Annotated[
        str, typer.Option("--record", metavar="FILE", help="With --direct: keep each step and register value.")
    ] = "",
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
    if direct:
        return _direct(session, provider, host, every, record, output)
    if every or record:
        raise InputError(f"{'--all' if every else '--record'} goes with --direct")
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


def _direct(
    session: Session, provider: smoke.Provider, host: Host, every: bool, record: str, output: Output
) -> ExitCode:
    from contextlib import ExitStack

    from qatprep.crypto import smoke_direct
    from qatprep.crypto.direct_record import Record
    from qatprep.crypto.prover import Prover
    from qatprep.report import direct as report
    from qatprep.report.meter import Meter

    if provider not in (smoke.Provider.qat, smoke.Provider.auto):
        raise InputError(f"--direct proves QAT VFs, not {provider}", "leave out --provider, or give qat")
    if why_not := smoke.elsewhere(host):
        raise InputError(f"--direct signs on the running machine: {why_not}")
    with ExitStack() as stack:
        keep = stack.enter_context(Record(record)).keep if record else None
        prover = stack.enter_context(Prover())
        progress = stack.enter_context(Meter(session.talk(), "VFs")) if every else None
        result = smoke_direct.run(host, every=every, prover=prover, keep=keep, progress=progress)
    if output is Output.json:
        session.json(report.document(result, host.label))
    else:
        report.print_report(session.console(), result, every=every)
    return ExitCode.OK if result.ok else ExitCode.FINDINGS
