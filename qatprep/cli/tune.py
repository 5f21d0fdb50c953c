"""qatprep tune: whether to accelerate on this node, with what, and with which poll delay."""

from __future__ import annotations

from typing import Annotated

import typer

from qatprep.cli.bench import ChartOption, LibraryOption, this_machine
from qatprep.cli.command import App
from qatprep.cli.options import Output, OutputOption
from qatprep.cli.session import Session
from qatprep.crypto.keys import KeyKind
from qatprep.exits import ExitCode
from qatprep.text import json_text

app = App()


@app.command(help="Find out whether to accelerate on this node, with what, and with which poll delay.")
def main(
    ctx: typer.Context,
    key: Annotated[
        KeyKind, typer.Option("--key", metavar="KIND", help="rsa-2048, rsa-3072, rsa-4096 or p-256.")
    ] = KeyKind.RSA_2048,
    workers: Annotated[
        int,
        typer.Option(
            "--workers", min=0, max=512, metavar="THREADS", help="Envoy's worker threads (default: one a usable CPU)."
        ),
    ] = 0,
    certificates: Annotated[
        int,
        typer.Option(
            "--certificates",
            metavar="N",
            min=1,
            max=4096,
            help="TLS contexts with a private key of their own (listeners, SDS secrets, clusters): a queue each.",
        ),
    ] = 1,
    rate: Annotated[
        float, typer.Option("--rate", min=0, metavar="PER-SECOND", help="Handshakes a second the node must stand.")
    ] = 0.0,
    p99: Annotated[float, typer.Option("--p99", min=0, metavar="MS", help="What 99 % of them may take at most.")] = 0.0,
    poll_delay: Annotated[
        list[int], typer.Option("--poll-delay", min=1, max=999, metavar="MS", help="Delays to try; again for more.")
    ] = [1, 2, 5, 10, 20],  # noqa: B006  # typer copies it
    load: Annotated[
        list[float],
        typer.Option("--load", min=1, metavar="PER-SECOND", help="Operations a second to try; again for more."),
    ] = [],  # noqa: B006
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.03, max=600, metavar="SECONDS", help="Length of the load at each point.")
    ] = 1.0,
    library: LibraryOption = "",
    save_to: Annotated[
        str, typer.Option("--save", metavar="FILE", help="Write the result as JSON, for `qatprep render --tune FILE`.")
    ] = "",
    chart: ChartOption = "",
    every: Annotated[bool, typer.Option("--all", help="Show every load, not only the one the advice is for.")] = False,
    output: OutputOption = Output.human,
) -> ExitCode:
    from qatprep.host.user_files import write_file
    from qatprep.measure import tune
    from qatprep.measure.advise import Goal
    from qatprep.report import charts
    from qatprep.report import tune as report
    from qatprep.report.meter import Meter

    session: Session = ctx.obj
    host = this_machine(session)
    charts.check(chart)
    with Meter(session.talk(), "tune") as meter:
        result = tune.tune(
            host,
            key,
            workers=workers,
            certificates=certificates,
            goal=Goal(rate, p99 / 1000),
            delays_ms=sorted(set(poll_delay)),
            loads=load,
            seconds=seconds,
            wanted=library,
            progress=meter,
        )
    document = report.tune_document(result)
    if save_to:
        write_file(save_to, json_text(document).encode())
    if chart:
        write_file(chart, charts.tune(result, chart))
    if output is Output.json:
        session.json(document)
    else:
        report.print_tune(session.console(), result, every=every)
    if result.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.FINDINGS if result.failed else ExitCode.OK
