"""qatprep features: what the node can do, as labels for Kubernetes."""

from __future__ import annotations

from typing import Annotated

import typer

from qatprep.cli.command import App
from qatprep.cli.options import ConfigOption, Output, OutputOption, RootOption, SetOption, SimulateOption
from qatprep.cli.session import Session
from qatprep.exits import ExitCode

app = App()

FILE = "/etc/kubernetes/node-feature-discovery/features.d/qatprep"
"""Read by NFD's `local` source: docs/usage/customization-guide.md, "Feature files"."""
READY = "/run/qatprep/ready"
"""There while the devices are as configured. Below /run, so that no boot begins with it."""


@app.command()
def features(
    ctx: typer.Context,
    write: Annotated[bool, typer.Option("--write", help=f"Write {FILE}, and {READY} while QAT is prepared.")] = False,
    expire: Annotated[
        int, typer.Option("--expire", metavar="MINUTES", min=0, help="The labels lapse then; 0: never.")
    ] = 0,
    config_file: ConfigOption = "",
    setting: SetOption = None,
    root: RootOption = "/",
    simulate: SimulateOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """Print labels for node-feature-discovery: what doctor says, in a few words for the scheduler.

    With --write also the file that a device plugin's init container waits for.
    """
    from qatprep import config
    from qatprep.cli.look import look
    from qatprep.errors import NeedsRoot
    from qatprep.host.trust import require
    from qatprep.report import features as report

    session: Session = ctx.obj
    host = session.host(root, simulate)
    wanted = config.load(host, config_file, setting or ())
    found, _, plan, outcome = look(host, wanted)
    has_qat = bool(found.pci.pfs or found.pci.vfs)
    prepared = has_qat and plan.empty and not plan.skipped and not plan.refused
    labels = report.labels(outcome, found, wanted, prepared=prepared)
    text = report.feature_file(labels, report.later(host.wallclock(), expire) if expire else "")
    if write:
        if host.euid != 0:
            raise NeedsRoot(f"{FILE} is root's", "run it with sudo, or without --write to see the labels")
        for path in (FILE, READY):
            host.mkdir(path.rsplit("/", 1)[0])
            require(host, path, "the file")
        host.replace(FILE, text.encode())
        if prepared:
            host.replace(READY, b"")
        elif host.exists(READY):
            host.unlink(READY)
    if output is Output.json:
        session.json(report.document(host.label, labels, prepared=prepared, written=write))
    elif not write:
        session.out.write(text)
    return ExitCode.OK
