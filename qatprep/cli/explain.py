"""qatprep explain: what a finding means, and the schema of a document, offline."""

from __future__ import annotations

from typing import Annotated

import typer

from qatprep.cli import complete
from qatprep.cli.command import App
from qatprep.cli.options import Output, OutputOption
from qatprep.cli.session import Session
from qatprep.exits import ExitCode

app = App()


@app.command()
def explain(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="[ID|STAGE|DOCUMENT]",
            help="An id (QP-SVC-001), a glob (QP-IOMMU-*), a stage (iommu) or a JSON document (qatprep.doctor/1).",
            autocompletion=complete.findings,
        ),
    ] = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """Tell what a finding means, why it matters, how it is found and how to fix it. Lists all ids without one.

    Of a JSON document, named as its "schema" names it, print the JSON Schema.
    """
    from qatprep import schema_check
    from qatprep.findings.pages import find, pages
    from qatprep.report import explain as report

    session: Session = ctx.obj
    if name.startswith(schema_check.PREFIX):
        session.json(schema_check.schema(schema_check.kind(name)))
        return ExitCode.OK
    found = find(name) if name else list(pages().values())
    if output is Output.json:
        session.json(report.document(found))
        return ExitCode.OK
    console = session.console()
    if not name:
        report.print_list(console, found)
        return ExitCode.OK
    for n, page in enumerate(found):
        if n:
            console.print()
            console.print()
        report.print_page(console, page)
    return ExitCode.OK
