"""Which host a command works on: this machine, a directory, a host file, or one of the simulated hosts."""

from __future__ import annotations

import os
from collections.abc import Sequence

from qatprep.errors import InputError
from qatprep.host.base import Host


def open_host(root: str = "/", simulate: str = "", state: str = "") -> Host:
    """The host that --root and --simulate name. InputError, saying what there is, when there is no such host.

    `state` is a file that keeps a simulated host between calls; without one every call begins with it as recorded.
    """
    if simulate:
        if root != "/":
            raise InputError(
                f"--root {root!r} and --simulate {simulate!r} exclude each other", "give one of the two, or none"
            )
        return _simulated(simulate, state)
    if root != "/" and os.path.isfile(root):
        from qatprep.host.capture import Capture
        from qatprep.host.manifest import load

        return Capture(load(root), f"host file {root}")
    if root != "/" and not os.path.isdir(root):
        raise InputError(
            f"--root {root!r}: there is no such directory or file",
            "give the root of a mounted host (for example /host in a container) or a host file",
        )
    from qatprep.host.linux import LinuxHost

    return LinuxHost(root)


def _simulated(simulate: str, state: str) -> Host:
    from qatprep.host.manifest import load
    from qatprep.simulator.host import SimulatedHost
    from qatprep.simulator.kernel import Kernel
    from qatprep.simulator.scenarios import scenario

    name, at, kernel = simulate.partition("@")
    if at:
        Kernel(kernel).require_modelled()
    chosen = scenario(name)
    host: SimulatedHost
    if state:
        from qatprep.simulator.state_file import KeptHost

        host = KeptHost(state, name, lambda: load(chosen.host_file), kernel, chosen.kernel)
    else:
        host = SimulatedHost(load(chosen.host_file), kernel or chosen.kernel)
    host.label = f"simulated {name}, kernel {host.kernel.release}"
    return host


def same_host(root: str, simulate: str, config_file: str = "", settings: Sequence[str] = ()) -> str:
    """The options by which another verb works on the same host with the same configuration."""
    words = [
        word for name, value in (("--simulate", simulate), ("--config", config_file)) if value for word in (name, value)
    ]
    words += ["--root", root] if root != "/" else []
    words += [word for setting in settings for word in ("--set", setting)]
    if not words:
        return ""
    import shlex

    return "".join(f" {shlex.quote(word)}" for word in words)
