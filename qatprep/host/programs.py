"""Running the host's own programs (modprobe, groupadd, systemctl): the only place that imports `sh`."""

from __future__ import annotations

import os

from qatprep.host.base import RunResult


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
        return RunResult(tuple(argv), 127, "", f"{argv[0]}: not found in {path}")
    environment = {"PATH": path, "LC_ALL": "C", "HOME": os.environ.get("HOME", "/")}
    try:
        done = sh.Command(program)(
            *argv[1:],
            _env=environment,
            _in=os.devnull,
            _timeout=deadline,
            _ok_code=list(range(256)),
            _return_cmd=True,
            _tty_out=False,
        )
    except sh.TimeoutException:
        return RunResult(tuple(argv), 124, "", f"{argv[0]}: not finished after {deadline:g} seconds, ended")
    except sh.ErrorReturnCode as e:  # a signal
        return RunResult(tuple(argv), 128 + abs(e.exit_code), _text(e.stdout), _text(e.stderr))
    return RunResult(tuple(argv), done.exit_code, _text(done.stdout), _text(done.stderr))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
