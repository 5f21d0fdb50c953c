"""qatprep inspect: what a running Envoy, a log or a manifest says. Reads only, and repeats no secrets."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from qatprep.cli.command import App
from qatprep.cli.options import Output, OutputOption
from qatprep.cli.session import Session
from qatprep.errors import InputError
from qatprep.exits import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qatprep.findings import Finding
    from qatprep.mesh.inspect.handshake import Series
    from qatprep.mesh.inspect.judge.handshake import Proof
    from qatprep.mesh.inspect.source import Input

app = App(no_args_is_help=True, help="Read config dumps, statistics, logs and manifests; try a handshake.")

Place = Annotated[str, typer.Argument(metavar="FILE|URL|-", help="A file, http://127.0.0.1:15000, or - for a pipe.")]


class Expected(StrEnum):
    any = "any"
    qat = "qat"
    cryptomb = "cryptomb"


class Buckets(StrEnum):
    cumulative = "cumulative"
    disjoint = "disjoint"


@app.command("config-dump")
def config_dump(
    ctx: typer.Context,
    place: Place = "-",
    expect: Annotated[Expected, typer.Option("--expect", help="What every TLS listener is to use.")] = Expected.any,
    output: OutputOption = Output.human,
) -> ExitCode:
    """Does each TLS listener really sign through QAT or CryptoMB, with which key, and what if it cannot?"""
    from qatprep.mesh.inspect import config_dump as dumps
    from qatprep.mesh.inspect import source
    from qatprep.mesh.inspect.judge.config_dump import judge
    from qatprep.mesh.provider import Kind
    from qatprep.report import inspect as report

    session: Session = ctx.obj
    url = source.is_url(place) and not source.has_path(place)
    given = source.read(source.admin_url(place, "/config_dump") if url else place)
    dump = dumps.parse(given)
    findings = judge(dump, None if expect is Expected.any else Kind(expect.value))
    if output is Output.json:
        session.json(report.dump_document(given.name, dump, findings))
    else:
        report.print_dump(session.console(), dump, findings)
    return _status(findings)


@app.command()
def stats(
    ctx: typer.Context,
    place: Place = "-",
    before: Annotated[
        str, typer.Option("--before", metavar="FILE", help="An earlier reading: show what changed since.")
    ] = "",
    interval: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", help="Read twice, and show the rates.")
    ] = 0.0,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="SECONDS", help="Time between --before and now, for rates.")
    ] = 0.0,
    envoy_version: Annotated[
        str, typer.Option("--envoy-version", metavar="VERSION", help="What buckets mean changed in 1.38.")
    ] = "",
    buckets: Annotated[
        Buckets | None, typer.Option("--buckets", help="What the buckets are, where the text does not say.")
    ] = None,
    signs: Annotated[
        float,
        typer.Option("--signs", metavar="PER-SECOND", help="RSA-2048 signatures of one CPU here (qatprep bench rsa)."),
    ] = 0.0,
    workers: Annotated[int, typer.Option("--workers", metavar="N", help="Envoy's worker threads.")] = 0,
    output: OutputOption = Output.human,
) -> ExitCode:
    """CryptoMB's queue sizes in plain words, and whether clients resume sessions. Takes every form Envoy has."""
    from qatprep.mesh.inspect import source
    from qatprep.mesh.inspect import stats as statistics
    from qatprep.mesh.inspect.histogram import Form, queues
    from qatprep.mesh.inspect.judge.stats import judge
    from qatprep.report import inspect as report

    session: Session = ctx.obj
    version = _version(envoy_version) if envoy_version else None
    url = source.is_url(place)
    if interval and not url:
        raise InputError("--interval reads twice, which needs an address", "give http://127.0.0.1:15000, or --before")
    if interval and before:
        raise InputError("--interval and --before both give an earlier reading", "give one of them")
    if not 0 <= interval <= 3600 or not 0 <= seconds <= 1e9:
        raise InputError("a time of 0 to 3600 seconds was expected")
    if url and version is None:
        version = _ask_version(place)
    found = statistics.parse(_fetch(place))
    span = seconds
    if interval:
        span = _pause(interval)
        found = statistics.parse(_fetch(place)).minus(found)
    elif before:
        found = found.minus(statistics.parse(source.read(before)))
    found.concurrency = workers or found.concurrency
    sizes = queues(found.histograms, version, Form(buckets.value) if buckets else None)
    rate = statistics.Rate(span, found.concurrency or 0, signs) if span else None
    findings = judge(found, sizes, rate)
    if output is Output.json:
        session.json(report.stats_document(found.name, found, sizes, rate, findings))
    else:
        report.print_stats(session.console(), found, sizes, rate, findings)
    return _status(findings)


def _fetch(place: str) -> Input:
    from urllib.parse import quote

    from qatprep.mesh.inspect import source
    from qatprep.mesh.inspect.stats import FILTER

    if source.is_url(place) and not source.has_path(place):
        path = f"/stats?histogram_buckets=detailed&filter={quote(FILTER, safe='')}"
        return source.read(source.admin_url(place, path))
    return source.read(place)


def _pause(seconds: float) -> float:
    """Wait; how long it really was."""
    import time

    begin = time.monotonic()
    time.sleep(seconds)
    return time.monotonic() - begin


def _ask_version(place: str) -> tuple[int, int] | None:
    """From /server_info of the same server; None where it does not say."""
    from qatprep import json_input
    from qatprep.errors import QatprepError
    from qatprep.mesh.inspect import source

    try:
        answer = json_input.loads(source.fetch(source.admin_url(place, "/server_info"), limit=4 << 20, deadline=5))
        parts = str(answer.get("version", "")).split("/")
        return _version(parts[1]) if len(parts) > 1 else None
    except (QatprepError, ValueError, AttributeError):
        return None


def _version(text: str) -> tuple[int, int]:
    parts = text.lstrip("v").split(".")
    if len(parts) < 2 or not all(part.isdigit() and len(part) < 5 for part in parts[:2]):
        raise InputError(f"{text!r} is no Envoy version", "for example 1.38")
    return int(parts[0]), int(parts[1])


@app.command()
def log(ctx: typer.Context, place: Place = "-", output: OutputOption = Output.human) -> ExitCode:
    """Lines of a pod that does not start, of Envoy, containerd or the kernel: each with its cause and what to do."""
    from qatprep.mesh.inspect import logs, source
    from qatprep.mesh.inspect.judge.logs import judge
    from qatprep.report import inspect as report

    session: Session = ctx.obj
    found = logs.read(source.STDIN if place == "-" else place, source.lines(place))
    findings = judge(found)
    if output is Output.json:
        session.json(report.log_document(found, findings))
    else:
        report.print_log(session.console(), found, findings)
    return _status(findings)


@app.command()
def manifest(ctx: typer.Context, place: Place = "-", output: OutputOption = Output.human) -> ExitCode:
    """Mistakes that schemas miss, in YAML for Kubernetes, Istio or Envoy."""
    from qatprep.mesh.inspect import manifest as manifests
    from qatprep.mesh.inspect import source
    from qatprep.mesh.inspect.judge.manifest import judge
    from qatprep.report import inspect as report

    session: Session = ctx.obj
    found = manifests.parse(source.read(place, limit=manifests.LARGEST, hint="a manifest is smaller than that"))
    judgement = judge(found)
    if output is Output.json:
        session.json(report.manifest_document(found, judgement))
    else:
        report.print_manifest(session.console(), found, judgement)
    return _status(judgement.findings)


@app.command()
def handshake(
    ctx: typer.Context,
    place: Annotated[str, typer.Argument(metavar="HOST:PORT", help="The TLS server, for example localhost:9000.")],
    ca: Annotated[str, typer.Option("--ca", metavar="FILE", help="Verify its certificate with these.")] = "",
    server_name: Annotated[
        str, typer.Option("--server-name", metavar="NAME", help="Ask for this name (SNI) instead of HOST.")
    ] = "",
    count: Annotated[int, typer.Option("--count", metavar="N", help="Handshakes, one after the other.")] = 5,
    resume: Annotated[bool, typer.Option("--resume", help="Offer the session of the handshake before.")] = False,
    admin: Annotated[str, typer.Option("--admin", metavar="URL", help="Its Envoy's: did the provider sign?")] = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """Does the server answer, with which certificate and TLS version, how long does each handshake take, who signs?"""
    from qatprep.mesh.inspect import handshake as handshakes
    from qatprep.mesh.inspect.judge.handshake import judge
    from qatprep.report import handshake as report

    session: Session = ctx.obj
    where = handshakes.target(place, server_name)
    signed: Proof | None = None

    def run() -> Series:
        return handshakes.run(where, ca=ca, count=count, resume=resume)

    if admin:
        series, signed = _with_admin(admin, run)
    else:
        series = run()
    findings = judge(series, signed)
    if output is Output.json:
        session.json(report.document(series, signed, findings))
    else:
        report.show(session.console(), series, signed, findings)
    return _status(findings)


_FLUSH = 11.0
"""Seconds to wait for histograms: Envoy adds to them every stats_flush_interval, 5 s unless configured."""


def _with_admin(admin: str, run: Callable[[], Series]) -> tuple[Series, Proof]:
    """Handshakes between two readings of Envoy's statistics."""
    import time

    from qatprep.mesh.inspect import config_dump as dumps
    from qatprep.mesh.inspect import source
    from qatprep.mesh.inspect import stats as statistics
    from qatprep.mesh.inspect.judge.handshake import Signer, proof

    if not source.is_url(admin):
        raise InputError(f"--admin {admin!r} is no http address", "for example http://127.0.0.1:9001")
    server = source.admin_url(admin, "")
    dump = dumps.parse(source.read(server + "/config_dump"))
    before = statistics.parse(_fetch(server))
    series = run()
    end = time.monotonic() + _FLUSH
    while True:
        found = proof(series, dump, statistics.parse(_fetch(server)).minus(before))
        # Only CryptoMB's histogram comes late; all else is known at once.
        if found.provider != "cryptomb" or found.signer is Signer.PROVIDER or time.monotonic() > end:
            return series, found
        time.sleep(1)


def _status(findings: Sequence[Finding]) -> ExitCode:
    from qatprep.findings import Status, worst

    return ExitCode.FINDINGS if worst(findings) is Status.FAIL else ExitCode.OK
