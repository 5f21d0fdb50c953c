"""qatprep metrics: the node for Prometheus."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from qatprep.cli.command import App
from qatprep.cli.options import ConfigOption, RootOption, SetOption, SimulateOption
from qatprep.cli.session import Session
from qatprep.exits import ExitCode

app = App()


@app.command()
def metrics(
    ctx: typer.Context,
    write: Annotated[
        str, typer.Option("--write", metavar="FILE", help="Replace FILE at once, as a whole; its name ends in .prom.")
    ] = "",
    config_file: ConfigOption = "",
    setting: SetOption = None,
    root: RootOption = "/",
    simulate: SimulateOption = "",
) -> ExitCode:
    """Print the node as metrics in Prometheus' text format: findings, drift, PFs, VFs, last run.

    Status 0 whatever the node is like: what to make of it is for the alerts (docs/alerts.yaml).
    """
    from qatprep import config
    from qatprep.cli.look import look
    from qatprep.engine import journal
    from qatprep.errors import QatprepError
    from qatprep.report.prometheus import render

    session: Session = ctx.obj
    host = session.host(root, simulate)
    wanted = config.load(host, config_file, setting or ())
    _, judged, plan, outcome = look(host, wanted)
    try:
        runs = journal.runs(host)
    except QatprepError as e:
        session.say(f"{e.message}; nothing is said about runs")
        runs = None
    text = render(judged, plan, outcome, runs)
    if write:
        _write(write, text)
    else:
        session.out.write(text)
    return ExitCode.OK


def _write(path: str, text: str) -> None:
    """A regular file of this machine, whichever host was looked at, replaced as a whole.

    The collector must never read half a file, nor one that is not called *.prom (node_exporter, collector/textfile.go).
    """
    from qatprep.errors import InputError, QatprepError
    from qatprep.host.linux import LinuxHost
    from qatprep.host.trust import require
    from qatprep.host.user_files import write_file

    if not path.endswith(".prom"):
        raise InputError(f"--write {path!r}: the textfile collector reads only files whose name ends in .prom")
    folder = os.path.dirname(os.path.abspath(path))
    if os.geteuid() == 0:
        # The folder may be the collector's own; who can exchange the folder itself says where root writes.
        require(LinuxHost(), os.path.dirname(folder), "the folder above the metrics")
    if not os.path.isdir(folder):
        raise QatprepError(
            f"cannot write {path!r}: there is no directory {folder!r}",
            "make it, or name the one that node_exporter was given by --collector.textfile.directory",
        )
    write_file(path, text.encode(), only_regular=True)
