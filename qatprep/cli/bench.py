"""qatprep bench: what signs and encrypts how fast on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from qatprep.cli.command import App
from qatprep.cli.options import Output, OutputOption
from qatprep.cli.session import Session
from qatprep.crypto.keys import KeyKind
from qatprep.exits import ExitCode
from qatprep.host.base import Host

app = App(no_args_is_help=True, help="Measure signing and encryption on this machine, side by side.")

ChartOption = Annotated[str, typer.Option("--chart", metavar="FILE", help="Draw it, too: FILE.svg or FILE.png.")]
LibraryOption = Annotated[
    str,
    typer.Option("--library", metavar="PATH", help="The crypto_mb to use, or bundled (default: all that are here)."),
]
KeysOption = Annotated[
    list[KeyKind], typer.Option("--key", metavar="KIND", help="rsa-2048, rsa-3072, rsa-4096 or p-256; again for more.")
]


@app.command()
def rsa(
    ctx: typer.Context,
    key: KeysOption = [KeyKind.RSA_2048, KeyKind.RSA_3072, KeyKind.RSA_4096],  # noqa: B006  # typer copies it
    workers: Annotated[
        list[int], typer.Option("--workers", min=1, max=512, metavar="THREADS", help="Threads; again for more.")
    ] = [1],  # noqa: B006
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, max=1000, metavar="N", help="Turns each provider gets.")
    ] = 5,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.01, max=60, metavar="SECONDS", help="Length of a turn.")
    ] = 0.3,
    library: LibraryOption = "",
    chart: ChartOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """Signatures a second of all that signs here: crypto_mb, OpenSSL, BoringSSL, cryptography, qatengine, QAT."""
    from qatprep.measure import bench
    from qatprep.report import bench as report
    from qatprep.report import charts
    from qatprep.report.meter import Meter

    session: Session = ctx.obj
    host = this_machine(session)
    charts.check(chart)
    with Meter(session.talk(), "bench rsa") as meter:
        result = bench.rsa(host, key, workers, rounds=rounds, seconds=seconds, wanted=library, progress=meter)
    if chart:
        from qatprep.host.user_files import write_file

        write_file(chart, charts.rsa(result, chart))
    if output is Output.json:
        session.json(report.rsa_document(result))
    else:
        report.print_rsa(session.console(), result)
    if result.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.FINDINGS if any(row.trouble for row in result.rows) else ExitCode.OK


@app.command()
def aes(
    ctx: typer.Context,
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=100, metavar="N", help="Rounds of 20 s each.")] = 3,
    openssl: Annotated[str, typer.Option("--openssl", metavar="PROGRAM", help="The openssl to run.")] = "openssl",
    chart: ChartOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """AES-GCM with and without this CPU's vector AES: Table 3 of the service mesh paper, measured here."""
    from qatprep.measure import aes as bench
    from qatprep.report import bench as report
    from qatprep.report import charts
    from qatprep.report.meter import Meter

    session: Session = ctx.obj
    host = this_machine(session)
    charts.check(chart)

    def first(notes: tuple[str, ...]) -> None:
        if output is not Output.json:
            report.print_notes(session.console(), notes)

    with Meter(session.talk(), "bench aes") as meter:
        result = bench.aes(host, openssl=openssl, rounds=rounds, progress=meter, first=first)
    if chart:
        from qatprep.host.user_files import write_file

        write_file(chart, charts.aes(result, chart))
    if output is Output.json:
        session.json(report.aes_document(result))
    else:
        report.print_aes(session.console(), result)
    return ExitCode.INTERRUPTED if result.interrupted else ExitCode.OK


@app.command()
def queue(
    ctx: typer.Context,
    key: Annotated[
        KeyKind, typer.Option("--key", metavar="KIND", help="rsa-2048, rsa-3072, rsa-4096 or p-256.")
    ] = KeyKind.RSA_2048,
    workers: Annotated[int, typer.Option("--workers", min=1, max=512, metavar="THREADS", help="Threads.")] = 1,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, max=1000, metavar="N", help="Turns each of the two gets.")
    ] = 15,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.01, max=60, metavar="SECONDS", help="Length of a turn.")
    ] = 0.1,
    library: LibraryOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """What the CryptoMB queue costs: kept full, against the bare crypto_mb loop."""
    from qatprep.measure import bench
    from qatprep.report import bench as report

    session: Session = ctx.obj
    this_machine(session)
    result = bench.queue(key, workers, rounds=rounds, seconds=seconds, wanted=library)
    if output is Output.json:
        session.json(report.queue_document(result))
    else:
        report.print_queue(session.console(), result)
    return ExitCode.OK


def this_machine(session: Session) -> Host:
    """The running machine: nothing else can be measured. InputError where the session has another host."""
    from qatprep.errors import InputError

    host = session.host("/", "")
    if host.simulated:
        raise InputError(f"{host.label} cannot be measured: only the running machine can")
    return host
