"""Running the host's own programs (modprobe, groupadd, systemctl): the only place that imports `sh`."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from qatprep.host.base import RunResult
from qatprep.host.child import POLL
from qatprep.text import Foreign


def run(argv: list[str], root: str, deadline: float) -> RunResult:
    """Run `argv` with no input and LC_ALL=C, below `root` by chroot when that is not "/".

    The exit status is 127 when the program is not there, 124 when `deadline` (seconds) passed and it was ended.
    """
    import shutil

    import sh

    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    if root != "/":
        argv = ["chroot", root, *argv]
    program = shutil.which(argv[0], path=path)
    if program is None:
        return RunResult(tuple(argv), 127, Foreign(""), Foreign(f"{argv[0]}: not found in {path}"))
    environment = {"PATH": path, "LC_ALL": "C", "HOME": os.environ.get("HOME", "/")}
    running = sh.Command(program)(
        *argv[1:],
        _env=environment,
        _in=b"",
        _ok_code=list(range(256)),
        _tty_out=False,
        _bg=True,
        _bg_exc=False,
        _cwd="/",  # as a service has it: containerd 1.6 looks for relative imports there
        _new_session=True,  # Ctrl-C in our terminal is for us: rmmod must not end partway
    )
    end = time.monotonic() + deadline
    while running.is_alive():
        if time.monotonic() > end:
            # What waits in the kernel for the holder of a device does not die of it: nobody waits for its end.
            with contextlib.suppress(ProcessLookupError):
                running.signal_group(signal.SIGKILL)
            late = Foreign(f"{argv[0]}: not finished after {deadline:g} seconds, ended")
            return RunResult(tuple(argv), 124, Foreign(""), late)
        time.sleep(POLL)
    try:
        running.wait()
    except sh.ErrorReturnCode as e:  # a signal
        return RunResult(tuple(argv), 128 + abs(e.exit_code), Foreign(e.stdout), Foreign(e.stderr))
    return RunResult(tuple(argv), running.exit_code, Foreign(running.stdout), Foreign(running.stderr))
