"""qatprep gen-conf: the files of persistence, for hosts on which nothing is run."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from qatprep.cli.command import App
from qatprep.cli.options import ConfigOption, Output, OutputOption, RootOption, SetOption, SimulateOption, YesOption
from qatprep.cli.session import Session
from qatprep.exits import ExitCode

if TYPE_CHECKING:
    from qatprep.config import NodeConfig
    from qatprep.host.base import Host
    from qatprep.report.genconf import Set

app = App()


class Form(StrEnum):
    files = "files"
    butane = "butane"
    ignition = "ignition"
    cloud_init = "cloud-init"
    kernel_arguments = "kernel-arguments"
    cdi = "cdi"


@app.command()
def gen_conf(
    ctx: typer.Context,
    form: Annotated[Form, typer.Option("--format", "-f", help="The form to print.")] = Form.files,
    write: Annotated[str, typer.Option("--write", metavar="DIR", help="Write the files below DIR instead.")] = "",
    program: Annotated[
        str, typer.Option("--program", metavar="PATH", help="Where qatprep will be on these hosts.")
    ] = "/usr/bin/qatprep",
    standalone: Annotated[
        bool, typer.Option("--standalone", help="For hosts without qatprep: a shell script prepares the devices.")
    ] = False,
    with_arguments: Annotated[
        bool, typer.Option("--with-kernel-arguments", help="Kernel arguments as part of the form, too.")
    ] = False,
    stage: Annotated[
        bool,
        typer.Option("--stage-kernel-arguments", help="Put them into this host's grub.d; update-grub is left to you."),
    ] = False,
    yes: YesOption = False,
    config_file: ConfigOption = "",
    setting: SetOption = None,
    root: RootOption = "/",
    simulate: SimulateOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """Print what bootstrap installs to keep a node prepared: for image-based hosts, on which nothing is run.

    The form cdi is this host's VFs for Podman and Docker instead (Container Device Interface).

    Nothing on the host is changed, except by --stage-kernel-arguments.
    """
    from qatprep import config
    from qatprep.errors import InputError
    from qatprep.report import genconf as report

    session: Session = ctx.obj
    host = session.host(root, simulate)
    if stage:
        from qatprep.cli.stage import stage_arguments

        return stage_arguments(session, host, yes=yes, as_json=output is Output.json)
    if form is Form.cdi:
        return _cdi(session, host, config.load(host, config_file, setting or ()), write)
    if not program.startswith("/"):
        raise InputError(f"--program {program!r} is not an absolute path", "systemd starts only those")
    what = _collect(
        config.load(host, config_file, setting or ()), program, standalone=standalone, arguments=with_arguments
    )
    if write:
        _write(session, write, what)
    elif output is Output.json:
        session.json(report.document(what))
    else:
        session.out.write(_text(form, what))
    return ExitCode.OK


def _cdi(session: Session, host: Host, wanted: NodeConfig, write: str) -> ExitCode:
    from qatprep.errors import InputError
    from qatprep.facts import gather
    from qatprep.persist import cdi
    from qatprep.runtime.memlock import needed

    if write:
        raise InputError("--write has no files of the form cdi", f"qatprep gen-conf -f cdi > {cdi.PATH}")
    document = cdi.spec(gather(host), wanted.mode)
    session.json(document)
    session.say(
        f"A container of your own: podman run --device {cdi.KIND}={document['devices'][0]['name']} "
        f"--ulimit memlock={needed(1)}:{needed(1)} ...\n"
        f"The file is {cdi.PATH}, to be made again at every boot: the groups have other numbers then."
    )
    return ExitCode.OK


def _collect(wanted: NodeConfig, program: str, *, standalone: bool, arguments: bool) -> Set:
    from qatprep import persist
    from qatprep.errors import InputError
    from qatprep.persist import arguments as kernel
    from qatprep.report.genconf import Set

    if standalone and wanted.metrics:
        raise InputError("metrics are written by qatprep itself: not with --standalone")
    files = persist.standalone_files(wanted) if standalone else persist.files(wanted, (program,))
    asked = None if standalone else persist.config_file(wanted, None)
    return Set((*((asked,) if asked else ()), *files), wanted.source, kernel.NEEDED if arguments else ())


def _text(form: Form, what: Set) -> str:
    from qatprep.persist import arguments
    from qatprep.report import genconf as report

    if form is Form.kernel_arguments:
        return arguments.describe(what.kernel_arguments or arguments.NEEDED)
    renderers = {
        Form.files: report.text,
        Form.butane: report.butane,
        Form.ignition: report.ignition,
        Form.cloud_init: report.cloud_init,
    }
    return renderers[form](what)


def _write(session: Session, directory: str, what: Set) -> None:
    """The files below a directory of this machine. InputError, and nothing written, where one is in the way."""
    from qatprep.errors import InputError, QatprepError
    from qatprep.facts.persist import is_ours
    from qatprep.host.linux import LinuxHost
    from qatprep.host.user_files import write_file
    from qatprep.persist import arguments

    here = LinuxHost()
    top = os.path.abspath(directory)
    files = {f"{top}{file.path}": (file.text, file.mode) for file in what.files}
    files[f"{top}/kernel-arguments.txt"] = (arguments.describe(what.kernel_arguments or arguments.NEEDED), 0o644)
    for path in files:
        if os.path.exists(path) and not path.endswith(".txt") and not is_ours(here.read_text(path).text):
            raise InputError(f"{path} is there, and is not qatprep's", "choose an empty directory")
    try:
        for path, (text, mode) in files.items():
            here.mkdir(os.path.dirname(path))
            write_file(path, text.encode(), mode=mode, only_regular=True)
        for path, target in what.links:
            here.mkdir(os.path.dirname(top + path))
            if not os.path.lexists(top + path):
                os.symlink(target, top + path)
    except OSError as e:
        raise QatprepError(f"cannot write below {directory!r}: {e.strerror} ({e.filename})") from e
    for path in [*files, *(top + path for path, _ in what.links)]:
        session.line(path)
