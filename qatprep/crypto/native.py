"""The native module may be absent: it is not built without a C compiler. Ask here before importing it."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from functools import cache

from qatprep.errors import QatprepError
from qatprep.host.linux import LinuxHost
from qatprep.host.trust import doubt
from qatprep.version import VERSION

DEBIAN = "/usr/lib/qatprep/"
"""Where the Debian package has qatprep."""


def missing() -> tuple[str, str]:
    """What to say where the native module is missing, and how this copy of qatprep gets one."""
    machine = platform.machine()
    here = os.path.abspath(__file__)
    if not os.path.isfile(here):  # inside of the archive
        return (
            f"this qatprep.pyz has no native module that runs here ({machine})",
            f"take one that was made on {machine} by packaging/pyz.py, or install qatprep by pip, with gcc",
        )
    if here.startswith(DEBIAN):
        return (
            "this Debian package of qatprep has no native module: it was made without one",
            f"install qatprep_{VERSION}_ARCH.deb of this machine's architecture, not _all.deb",
        )
    return (
        "this installation of qatprep has no native module: it was installed without a C compiler",
        f"install gcc, then run: {shlex.quote(sys.executable)} -m pip install --force-reinstall --no-deps {_source()}",
    )


def _source() -> str:
    """What pip has to be given for the same qatprep: the place it was installed from, as pip has noted it (PEP 610)."""
    import importlib.metadata
    import json

    try:
        text = importlib.metadata.distribution("qatprep").read_text("direct_url.json")
        noted = json.loads(text or "")
        url = str(noted["url"])
        editable = "--editable " if noted.get("dir_info", {}).get("editable") else ""
    except (importlib.metadata.PackageNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return "DIRECTORY (where qatprep's sources are)"
    return editable + shlex.quote(url.removeprefix("file://"))


def require() -> None:
    """QatprepError where qatprep._native was not built or cannot be loaded."""
    try:
        from qatprep import _native  # noqa: F401
    except ImportError as e:
        # "cannot import name": it is not there. Anything else is the loader's word on one that is.
        why = "" if "cannot import name" in str(e) or "halted" in str(e) else f" ({e})"
        message, hint = missing()
        raise QatprepError(f"{message}{why}", hint) from e


@cache
def require_trusted(library: str) -> None:
    """QatprepError where root would load a library (a path, or a name that ld.so looks up) that others can change."""
    if os.geteuid() != 0:
        return
    host = LinuxHost()
    for path in [library] if "/" in library else _found(host, library):
        if why := doubt(host, os.path.abspath(path)):
            raise QatprepError(
                f"the library {path} is not loaded as root: {why}",
                "install it for the whole host (a package, or root's own in /usr/local/lib), or run this without root",
            )


def _found(host: LinuxHost, name: str) -> list[str]:
    """Where ld.so may find a library, in its order: LD_LIBRARY_PATH, then its cache (ld.so(8))."""
    folders = os.environ.get("LD_LIBRARY_PATH")
    asked = [f"{folder or '.'}/{name}" for folder in folders.replace(";", ":").split(":")] if folders else []
    listed = host.run(["/sbin/ldconfig", "-p"]).stdout.text.splitlines()
    cached = [line.rpartition(" => ")[2] for line in listed if line.split()[:1] == [name]]
    return [path for path in asked if os.path.exists(path)] + cached


def require_cryptography() -> None:
    """QatprepError where the Python package that makes keys is missing: the single file does not bring it."""
    try:
        import cryptography  # noqa: F401
    except ImportError as e:
        raise QatprepError(
            f"this Python has no package cryptography, which makes the keys ({e})",
            "install python3-cryptography, or qatprep with pip; everything else works without it",
        ) from e
