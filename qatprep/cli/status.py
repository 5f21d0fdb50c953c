"""qatprep status: the node as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from qatprep.cli.command import App
from qatprep.cli.options import ConfigOption, Output, OutputOption, RootOption, SetOption, SimulateOption
from qatprep.cli.session import Session
from qatprep.exits import ExitCode

if TYPE_CHECKING:
    from qatprep.host.base import Host

app = App()
EVERY = 30.0
"""Seconds after which --watch looks again without an event: opening a VF is none."""


@app.command()
def status(
    ctx: typer.Context,
    as_config: Annotated[
        bool, typer.Option("--as-config", help="Print today's node in the language of the configuration.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="A line for each PF and VF.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it again whenever a device changes, and every 30 s.")
    ] = False,
    config_file: ConfigOption = "",
    setting: SetOption = None,
    root: RootOption = "/",
    simulate: SimulateOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """Show the node on one screen: verdict and proof, devices and who holds them, containers, what is still to do.

    VFs count as usable when they can serve TLS now: the PF answers and offers asym, the VF is on vfio-pci, its device
    node belongs to whom the configuration says. Exit status 3 when something is to be fixed or changed.
    """
    session: Session = ctx.obj
    host = session.host(root, simulate)
    if as_config:
        from qatprep import config, facts

        session.out.write(config.describe(facts.gather(host)))
        return ExitCode.OK
    asked = Asked(config_file, tuple(setting or ()), root, simulate)
    if watch:
        return _watch(session, host, asked, output, verbose=verbose)
    return _show(session, host, asked, output, verbose=verbose)


class Asked(NamedTuple):
    """The options that say what is looked at."""

    config_file: str
    settings: tuple[str, ...]
    root: str
    simulate: str


def _show(session: Session, host: Host, asked: Asked, output: Output, *, verbose: bool) -> ExitCode:
    from qatprep import config
    from qatprep.cli.look import look
    from qatprep.cli.open_host import same_host
    from qatprep.cli.select import to_undo
    from qatprep.engine import journal
    from qatprep.errors import QatprepError
    from qatprep.outcome import document as last_word
    from qatprep.report import status as report
    from qatprep.report.outcome import print_outcome

    wanted = config.load(host, asked.config_file, asked.settings)
    again = same_host(asked.root, asked.simulate, asked.config_file, asked.settings)
    found, judged, plan, outcome = look(host, wanted, again)
    code = outcome.exit_status(asked=True)
    try:
        runs = journal.runs(host)
    except QatprepError as e:
        session.note("; ".join(text for text in (e.message, e.hint) if text))
        runs = []
    seen = report.Seen(found, judged, plan, outcome, runs)
    if output is Output.json:
        document = report.status_document(host, seen)
        session.json({**document, "outcome": last_word(outcome, code)})
    elif session.quiet:
        print_outcome(session.console(), outcome)
    else:
        undo = to_undo(session, runs[-1].id) if runs else ""
        report.print_status(session.console(), host, seen, undo, verbose=verbose)
    return code


def _watch(session: Session, host: Host, asked: Asked, output: Output, *, verbose: bool) -> ExitCode:
    """The screen again after each event of a device, until Ctrl-C; its status is that of the last screen."""
    from qatprep.errors import InputError
    from qatprep.host.udev import Watch

    if host.simulated or not host.writable or asked.root != "/" or asked.simulate:
        raise InputError(
            f"--watch waits for events of the running kernel: {host.label} has none", "qatprep status without --watch"
        )
    if output is Output.json:
        raise InputError("--watch is for people: it prints no JSON", "qatprep status --output json, again and again")
    events = Watch()
    code = ExitCode.OK
    try:
        while True:
            session.console().clear()
            code = _show(session, host, asked, output, verbose=verbose)
            session.note(f"\nwatching PCI and VFIO devices; updated at {host.wallclock()}; Ctrl-C ends it")
            events.wait(EVERY)
    except KeyboardInterrupt:
        return code
