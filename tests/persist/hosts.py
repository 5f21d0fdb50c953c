"""Simulated hosts that systemd runs, with qatprep installed on them."""

from __future__ import annotations

import re
import shlex

from qatprep.cli.open_host import open_host
from qatprep.facts import persist as facts
from qatprep.simulator.host import SimulatedHost
from tests.conftest import Called, qatprep

PROGRAM = "/usr/bin/qatprep"


def installed(name: str = "spr-2s", kernel: str = "") -> SimulatedHost:
    """A recorded host as if its distribution's systemd ran it and a package had brought qatprep."""
    host = open_host("/", f"{name}@{kernel}" if kernel else name)
    assert isinstance(host, SimulatedHost)
    host.tree.dir("/run/systemd/system")
    host.tree.file(PROGRAM, b"#!/usr/bin/python3\n", 0o755)
    for directory in ("/etc/systemd/system", "/etc/sysusers.d", "/etc/modules-load.d", "/etc/udev/rules.d"):
        host.tree.make_dirs(directory)
    return host


def text(host: SimulatedHost, path: str) -> str:
    return host.read_text(path).raw


def reboot(host: SimulatedHost) -> tuple[SimulatedHost, Called | None]:
    """The host after its next boot, its enabled unit run as systemd would: by the words of its ExecStart=.

    What runs it is this process; the result is None when no unit is enabled.
    """
    booted = host.reboot()
    link = booted.tree.find(f"/etc/systemd/system/multi-user.target.wants/{facts.APPLY.rsplit('/', 1)[-1]}")
    if link is None:
        return booted, None
    command = re.search(r"^ExecStart=(.*)$", text(booted, facts.APPLY), re.MULTILINE)
    assert command is not None
    words = shlex.split(command[1])
    assert words[0] == PROGRAM
    return booted, qatprep(*words[1:], host=booted)
