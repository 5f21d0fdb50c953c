"""qatprep report: the node on one page, to send to somebody."""

from __future__ import annotations

from typing import Annotated

import typer

from qatprep.cli.command import App
from qatprep.cli.options import ConfigOption, RootOption, SetOption, SimulateOption
from qatprep.cli.session import Session
from qatprep.exits import ExitCode
from qatprep.text import in_ascii

app = App()


@app.command()
def report(
    ctx: typer.Context,
    html: Annotated[str, typer.Option("--html", metavar="FILE", help="Write it as one HTML page; - for stdout.")] = "",
    markdown: Annotated[
        str, typer.Option("--markdown", metavar="FILE", help="Write it as Markdown; - for stdout.")
    ] = "",
    measured: Annotated[
        list[str] | None,
        typer.Option(
            "--measured",
            metavar="FILE",
            help="Draw these numbers: the JSON of bench rsa, bench aes or tune; may be repeated.",
        ),
    ] = None,
    title: Annotated[str, typer.Option("--title", metavar="TEXT", help="Name the node so in the report.")] = "",
    config_file: ConfigOption = "",
    setting: SetOption = None,
    root: RootOption = "/",
    simulate: SimulateOption = "",
) -> ExitCode:
    """Write the node on one page: verdict, topology, findings with their fixes, plan, proof, environment.

    The HTML page loads nothing from anywhere and holds no script. Changes nothing; the exit status is doctor's.
    """
    from qatprep import config
    from qatprep.cli.look import look
    from qatprep.cli.open_host import same_host
    from qatprep.cli.select import name_of
    from qatprep.errors import InputError
    from qatprep.report.page import numbers
    from qatprep.report.page.content import content

    if not html and not markdown:
        raise InputError("report has nothing to write", "give --html FILE or --markdown FILE, with - for stdout")
    if html == "-" and markdown == "-":
        raise InputError("--html - and --markdown - both write to stdout", "give one of them a FILE")
    session: Session = ctx.obj
    charts = numbers.charts(measured or [])
    host = session.host(root, simulate)
    wanted = config.load(host, config_file, setting or ())
    again = same_host(root, simulate, config_file, setting or [])
    found, judged, plan, outcome = look(host, wanted, again)
    shown = content(
        judged, plan, outcome, again=again, time=host.wallclock(), name_of=name_of(found), charts=charts, title=title
    )
    if html:
        from qatprep.report.page import html as as_html

        _write(session, html, as_html.page(shown))
    if markdown:
        from qatprep.report.page import markdown as as_markdown

        _write(session, markdown, as_markdown.page(shown))
    return outcome.exit_status()


def _write(session: Session, path: str, text: str) -> None:
    from qatprep.host.user_files import write_file

    if path == "-":
        session.out.write(in_ascii(text.replace("→", "->")) if session.ascii else text)
        return
    write_file(path, text.encode())
    session.say(f"written to {path}")
