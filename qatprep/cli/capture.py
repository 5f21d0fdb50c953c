"""qatprep capture: this node in one file, with nothing private in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from qatprep.cli.command import App
from qatprep.cli.options import ConfigOption, Output, OutputOption, RootOption, SetOption, SimulateOption
from qatprep.cli.session import Session
from qatprep.exits import ExitCode

if TYPE_CHECKING:
    from qatprep.config import NodeConfig
    from qatprep.host.record import Recorder

app = App()


@app.command()
def capture(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="Where to write it; stdout unless given.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace FILE where it is there already.")] = False,
    config_file: ConfigOption = "",
    setting: SetOption = None,
    root: RootOption = "/",
    simulate: SimulateOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """Record this node into one file that every read-only verb can look at instead: --root FILE.

    Names of hosts and users, addresses, machine ids and secrets are taken out. Run it as root for all there is; read it
    before you send it: it is text.
    """
    from qatprep import config
    from qatprep.errors import InputError
    from qatprep.host.captured import extra, names
    from qatprep.host.record import Recorder
    from qatprep.host.redact import redact
    from qatprep.report import capture as report

    session: Session = ctx.obj
    if output is Output.json and not file:
        raise InputError("--output json describes a capture: name the FILE it is written to")
    if file and not force and os.path.isfile(file) and os.path.getsize(file):
        raise InputError(f"{file!r} is there already", "name another file, or replace it: --force")
    host = session.host(root, simulate)
    began = host.now()
    recorder = Recorder(host)
    recorder.prefetch()
    survey(recorder, config.load(recorder, config_file, setting or ()))
    extra(recorder)
    text, removed = redact(recorder.tree, recorder.touched, names(host), _groups(recorder, config_file, setting or []))
    if file:
        from qatprep.host.user_files import write_file

        write_file(file, text.encode(), mode=0o600)
    else:
        session.out.write(text)
    seconds = host.now() - began
    if output is Output.json:
        session.json(report.document(file, text, removed, seconds, host.label))
    else:
        for line in report.lines(file, text, removed, seconds, host):
            session.say(line)
    return ExitCode.OK


def survey(recorder: Recorder, wanted: NodeConfig) -> None:
    """Look at everything that the read-only verbs look at: doctor, plan, status, device list, rollback --list."""
    from qatprep import facts
    from qatprep.assess import assess
    from qatprep.checks.base import Profile
    from qatprep.engine import journal
    from qatprep.errors import QatprepError
    from qatprep.facts import bus
    from qatprep.plan.node import make_plan

    found = facts.gather(recorder)
    for profile in Profile:
        make_plan(assess(found, wanted, profile))
    recorder.boot_id()
    bus.everything(recorder)
    try:
        journal.runs(recorder)
    except QatprepError:
        return  # not readable, or from another version: recorded as far as it went


def _groups(recorder: Recorder, config_file: str, settings: list[str]) -> set[str]:
    from qatprep import config

    return {"root", "qat", config.load(recorder, config_file, settings).group}
