"""qatprep capture: this node in one file, with nothing private in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qatprep.cli.options import ConfigOption, Output, OutputOption, RootOption, SetOption, SimulateOption
from qatprep.cli.session import Session
from qatprep.exits import ExitCode

if TYPE_CHECKING:
    from qatprep.config import NodeConfig
    from qatprep.host.base import Host
    from qatprep.host.record import Recorder

app = typer.Typer()

EXTRA = (
    "/etc/os-release",
    "/proc/version",
    "/proc/modules",
    "/etc/sysconfig/qat",
    "/sys/bus/pci/drivers_autoprobe",
    "/sys/module/vfio_pci/parameters/ids",
    "/sys/module/vfio_pci/parameters/disable_denylist",
    "/sys/module/intel_qat/version",
    "/sys/class/dmi/id/product_name",
    "/sys/class/dmi/id/bios_version",
    "/sys/class/dmi/id/bios_date",
)
"""What nothing in qatprep reads, and people who read a bug report ask for."""
DEBUG_FILES = ("dev_cfg", "fw_counters", "pm_status", "cnv_errors")
"""Of each device's directory in debugfs. Not heartbeat/status: reading that asks the device, and the survey has
(facts/health.py)."""
_DEBUG_DEADLINE = 1.0


@app.command()
def capture(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="Where to write it; stdout unless given.")] = "",
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
    from qatprep.host.record import Recorder
    from qatprep.host.redact import redact
    from qatprep.report import capture as report

    session: Session = ctx.obj
    if output is Output.json and not file:
        raise InputError("--output json tells about a capture: name the FILE it is written to")
    host = session.host(root, simulate)
    began = host.now()
    recorder = Recorder(host)
    recorder.prefetch()
    survey(recorder, config.load(recorder, config_file, setting or ()))
    extra(recorder)
    names = _names(host)
    text, removed = redact(recorder.tree, recorder.touched, names, _groups(recorder, config_file, setting or []))
    if file:
        from qatprep.host.user_files import write_file

        write_file(file, text.encode(), mode=0o600)
    else:
        session.out.write(text)
    seconds = host.now() - began
    if output is Output.json:
        session.json(report.document(file, text, removed, seconds, host.label))
    else:
        for line in report.lines(file, text, removed, seconds, euid=host.euid):
            session.say(line)
    return ExitCode.OK


def survey(recorder: Recorder, wanted: NodeConfig) -> None:
    """Look at everything that the read-only verbs look at: doctor, plan, status, device list, rollback --list."""
    from qatprep import facts
    from qatprep.checks.base import Profile
    from qatprep.checks.registry import evaluate
    from qatprep.engine import journal
    from qatprep.errors import QatprepError
    from qatprep.facts import bus
    from qatprep.plan.node import make_plan

    found = facts.gather(recorder)
    for profile in Profile:
        evaluate(found, wanted, profile)
    make_plan(found, wanted)
    recorder.boot_id()
    bus.everything(recorder)
    try:
        journal.runs(recorder)
    except QatprepError:
        return  # not readable, or from another version: recorded as far as it went


def extra(recorder: Recorder) -> None:
    """Files for people. What is not there, or blocks, is passed over."""
    from qatprep.facts.base import Unknown, names
    from qatprep.hardware import DEBUGFS

    for path in EXTRA:
        _touch(recorder, path)
    listed = names(recorder, DEBUGFS)
    directories = [] if isinstance(listed, Unknown) else [f"{DEBUGFS}/{n}" for n in listed if n.startswith("qat_")]
    recorder.read_all([f"{d}/{name}" for d in directories for name in DEBUG_FILES], deadline=_DEBUG_DEADLINE)


def _touch(recorder: Recorder, path: str) -> None:
    try:
        recorder.read(path, deadline=_DEBUG_DEADLINE)
    except OSError:
        return


def _names(host: Host) -> tuple[str, ...]:
    """What this host is called: never recorded, only known so that it can be taken out."""
    found = []
    for path in ("/proc/sys/kernel/hostname", "/etc/hostname", "/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            text = host.read_text(path, limit=4096).strip()
        except OSError:
            continue
        first, _, domain = text.partition(".")
        found += [text, first, f".{domain}" if domain else ""] if not text.startswith("#") else []
    try:
        resolver = host.read_text("/etc/resolv.conf", limit=1 << 16)
    except OSError:
        resolver = ""
    for line in resolver.splitlines():
        words = line.split()
        found += [f".{word.strip('.')}" for word in words[1:] if words[0] in ("search", "domain")]
    return tuple(dict.fromkeys(name for name in found if name and not any(c.isspace() for c in name)))


def _groups(recorder: Recorder, config_file: str, settings: list[str]) -> set[str]:
    from qatprep import config

    return {"root", "qat", config.load(recorder, config_file, settings).group}
