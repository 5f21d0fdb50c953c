"""How qatprep is called on a host: what a unit of that host has to start."""

from __future__ import annotations

import os
import sys

from qatprep import json_input
from qatprep.host.base import Host
from qatprep.host.trust import doubt
from qatprep.text import gated

CANDIDATES = ("/usr/bin/qatprep", "/usr/local/bin/qatprep", "/opt/qatprep/bin/qatprep")
"""Where packages and people put it, for hosts that are not the machine we run on."""


def launcher(host: Host) -> tuple[str, ...]:
    """The absolute path of qatprep on that host, with the arguments before the verb; () where it is not known.

    On this machine it is the program that runs now; of a recorded host it is recorded. Below another root only a file
    found there counts.
    """
    from qatprep.host.linux import LinuxHost
    from qatprep.host.values import META

    inner = getattr(host, "inner", None)
    if isinstance(inner, Host):
        return launcher(inner)  # host is a Recorder
    if isinstance(host, LinuxHost) and host.root == "/":
        return _this_program(sys.argv[0], sys.executable)
    try:
        recorded = gated(json_input.loads(host.read_text(f"{META}/program").raw))
    except (OSError, ValueError):
        recorded = None
    if isinstance(recorded, list):
        return tuple(str(word) for word in recorded)
    for path in CANDIDATES:
        try:
            found = host.stat(path)
        except OSError:
            continue
        if found.kind == "file" and found.mode & 0o111:
            return (path,)
    return ()


def program_doubt(host: Host, program: tuple[str, ...]) -> str:
    """Why root must not run `program` at boot, "" when nobody but root can change what it runs.

    Of this machine that is the program, its interpreter, and every folder Python takes code from; of a recorded host
    what was recorded; of another host the program's own file.
    """
    from qatprep.host.linux import LinuxHost
    from qatprep.host.values import META

    inner = getattr(host, "inner", None)
    if isinstance(inner, Host):
        return program_doubt(inner, program)
    known: set[str] = set()
    paths = [word for word in program if word.startswith("/")]
    if isinstance(host, LinuxHost) and host.root == "/":
        paths += _code()
    else:
        try:
            return str(host.read_text(f"{META}/program-doubt")).removesuffix("\\n")
        except OSError:
            pass
    return next((why for path in paths if (why := doubt(host, path, root_only=True, known=known))), "")


def _code() -> list[str]:
    """Where this process has its interpreter and its code from. The working folder, which `python -m` puts on the
    path, is another one at boot."""
    here = os.getcwd()
    folders = {os.path.abspath(entry) for entry in sys.path if entry and os.path.abspath(entry) != here}
    files = {module.__file__ for module in list(sys.modules.values()) if getattr(module, "__file__", None)}
    return [sys.executable, *sorted(folders), *sorted(os.path.abspath(file) for file in files if file)]


def _this_program(argv0: str, python: str) -> tuple[str, ...]:
    path = os.path.abspath(argv0)
    name = os.path.basename(path)
    if name.startswith("qatprep") and os.path.isfile(path):
        if os.access(path, os.X_OK):
            return (path,)
        if name.endswith((".pyz", ".py")):
            return (python, path)
    return (python, "-m", "qatprep")
