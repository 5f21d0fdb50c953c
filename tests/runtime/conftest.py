"""The real containerd binaries, fetched once; tests that need them skip, saying why, where there are none."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from qatprep.runtime.containerd import Version, parse_version
from qatprep.runtime.dry_run import DumpFailed
from tests.tools import CONTAINERD, Unavailable, get


@dataclass(frozen=True)
class Containerd:
    """One real containerd."""

    suite: str
    path: Path
    version: Version

    def dump(self, config: Path) -> str:
        """`containerd --config FILE config dump`. DumpFailed with its words."""
        argv = [str(self.path), "--config", str(config), "config", "dump"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd="/")
        if done.returncode:
            raise DumpFailed(done.stderr.strip().splitlines()[-1])
        return done.stdout

    def trial(self, directory: Path) -> Callable[[str, str], str]:
        """What qatprep.runtime.dry_run calls a Dump, with its trial files in `directory`."""

        def dump(main: str, drop_in: str) -> str:
            piece = directory / "trial.piece"
            piece.write_text(drop_in)
            config = directory / "trial.main"
            config.write_text(main.replace("@DROPIN@", str(piece)))
            try:
                return self.dump(config)
            finally:
                piece.unlink()
                config.unlink()

        return dump


@pytest.fixture(scope="session", params=list(CONTAINERD))
def containerd(request: pytest.FixtureRequest) -> Containerd:
    """The containerd of each Debian suite. QATPREP_OFFLINE=1 uses only what is in the cache."""
    suite: str = request.param
    try:
        path = get(f"containerd-{suite}") / "root" / "usr" / "bin" / "containerd"
    except Unavailable as e:
        pytest.skip(f"no containerd to test against: {e}")
    said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60, check=False)
    if said.returncode:
        pytest.skip(f"the containerd of {suite} does not run here: {said.stderr.strip()[:200]}")
    version = parse_version(said.stdout)
    assert version is not None, said.stdout
    assert f"{version.major}.{version.minor}".startswith(CONTAINERD[suite])
    return Containerd(suite, path, version)
