"""qatprep config init|check|show: make, check and show the configuration."""

from __future__ import annotations

import typer

from qatprep.cli.command import App
from qatprep.cli.options import ConfigOption, Output, OutputOption, RootOption, SetOption, SimulateOption
from qatprep.cli.session import Session
from qatprep.exits import ExitCode

app = App(no_args_is_help=True, help="Make, check and show the configuration of this node.")


@app.command()
def init(ctx: typer.Context, root: RootOption = "/", simulate: SimulateOption = "") -> ExitCode:
    """Print a configuration file for this node: every key with its default and what it means, and the node's devices.

    Changes nothing. Use it as: qatprep config init > /etc/qatprep.yaml
    """
    from qatprep import facts
    from qatprep.config.writing import commented

    session: Session = ctx.obj
    host = session.host(root, simulate)
    session.out.write(commented(facts.gather(host), host.label))
    return ExitCode.OK


@app.command()
def check(
    ctx: typer.Context,
    config_file: ConfigOption = "",
    setting: SetOption = None,
    root: RootOption = "/",
    simulate: SimulateOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """Report all mistakes of the configuration at once, and what this node's devices cannot do (status 2).

    Changes nothing.
    """
    from qatprep import config, facts
    from qatprep.report import config as report

    session: Session = ctx.obj
    host = session.host(root, simulate)
    found = facts.gather(host)
    pfs = [pf for pf in found.pci.pfs if pf.family.supported]
    mistakes: tuple[config.Mistake, ...] = ()
    wanted: config.NodeConfig | None
    try:
        wanted = config.load(host, config_file, setting or ())
    except config.ConfigError as e:
        wanted, mistakes = e.config, e.mistakes
    warnings = config.unmatched(wanted, found) if wanted else []
    try:
        if wanted:
            config.demand(wanted, pfs)
    except config.ConfigError as e:
        mistakes += e.mistakes
    source = wanted.source if wanted else config_file or config.PATH
    if mistakes and output is not Output.json:
        session.warn(warnings)
        raise config.ConfigError(mistakes)
    if output is Output.json:
        session.json(report.check_document(host.label, source, mistakes, warnings))
    else:
        session.warn(warnings)
        session.line(report.fits(source, len(pfs), host.label, len(warnings)))
    return ExitCode.USAGE if mistakes else ExitCode.OK


@app.command()
def show(
    ctx: typer.Context,
    config_file: ConfigOption = "",
    setting: SetOption = None,
    root: RootOption = "/",
    simulate: SimulateOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """Show the value of every key, and where it comes from: a default, a line of a file, or --set."""
    from qatprep import config, facts
    from qatprep.config.writing import pf_rows, rows
    from qatprep.report import config as report

    session: Session = ctx.obj
    host = session.host(root, simulate)
    wanted = config.load(host, config_file, setting or ())
    keys, pfs = rows(wanted), pf_rows(wanted, facts.gather(host).pci.pfs)
    if output is Output.json:
        session.json(report.show_document(host.label, wanted.source, keys, pfs))
    else:
        report.print_show(session.console(), keys, pfs)
    return ExitCode.OK
