"""systemd's own judges, those of Debian 13: udevadm verify came with systemd 254.

    python -m tests.persist.tools

unpacks them below ~/.cache/qatprep/systemd-tools (QATPREP_SYSTEMD_TOOLS); nothing is installed. They run by their own
dynamic loader, so that they need nothing of the machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.vm.errors import RigError
from tests.vm.packages import Apt, unpack

SUITE = "trixie"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"


def directory() -> Path:
    given = os.environ.get("QATPREP_SYSTEMD_TOOLS")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qatprep" / "systemd-tools"


def ready() -> bool:
    return (directory() / "done").exists()


def make() -> Path:
    """Fetch and unpack them. RigError when that cannot be."""
    top = directory()
    shutil.rmtree(top, ignore_errors=True)
    apt = Apt(str(top / "apt"), [SUITE])
    apt.update()
    wanted: set[str] = set()
    todo = ["udev", "systemd"]
    while todo:
        package = todo.pop()
        if package not in wanted:
            wanted.add(package)
            todo += apt.depends(package)
    for deb in apt.download(sorted(wanted), str(top / "debs")):
        unpack(
            deb,
            str(top / "root"),
            ["./usr/bin/*", "./usr/lib/x86_64-linux-gnu/*", "./usr/lib/systemd/*", "./usr/sbin/*"],
        )
    shutil.rmtree(top / "debs")
    shutil.rmtree(top / "apt")
    (top / "done").touch()
    return top


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One of the tools, e.g. run("udevadm", "verify", path)."""
    root = directory() / "root"
    libraries = f"{root / _LIBRARIES}:{root / _LIBRARIES / 'systemd'}"
    loader = [str(root / _LIBRARIES / "ld-linux-x86-64.so.2"), "--library-path", libraries]
    return subprocess.run(
        [*loader, str(root / "usr/bin" / program), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0"},
    )


def main() -> int:
    try:
        print(make())
    except RigError as e:
        print(f"no judges for what is installed: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
