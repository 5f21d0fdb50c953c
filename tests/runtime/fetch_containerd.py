"""Get the real containerd binaries of several Debian suites into a cache directory, without installing anything.

    python tests/runtime/fetch_containerd.py [DIRECTORY]

The directory is $QATPREP_CONTAINERD, else ~/.cache/qatprep/containerd. Packages come from where this machine's own apt
gets its own, through private apt sources, lists and caches; what is there is not fetched again. Needs apt and dpkg.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

SUITES = {"bookworm": "1.6", "trixie": "1.7", "sid": "2."}
"""Debian's suites, and how the version of their containerd begins."""
KEYRINGS = ("/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp")


class Unavailable(Exception):
    """The packages cannot be had here, and why."""


def directory() -> Path:
    """Where the binaries are kept."""
    given = os.environ.get("QATPREP_CONTAINERD")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qatprep" / "containerd"


def binary(suite: str, base: Path | None = None) -> Path | None:
    """The containerd of a suite in the cache, or None."""
    path = (base or directory()) / suite / "root" / "usr" / "bin" / "containerd"
    return path if path.is_file() else None


def mirror() -> str:
    """The URI this machine's apt has Debian's main component from. Unavailable where it has none."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise Unavailable("apt-get and dpkg-deb are needed")
    listed = _run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    )
    for line in listed.splitlines():
        words = line.split()
        if len(words) == 3 and words[2] == "main" and words[0].rstrip("/").endswith("/debian"):
            return words[0]
    raise Unavailable("this machine's apt has no Debian source with a main component")


def fetch(suite: str, base: Path, uri: str) -> Path:
    """Unpack the containerd package of a suite. Unavailable, with apt's words, when that fails."""
    found = binary(suite, base)
    if found is not None:
        return found
    home = base / suite
    for part in ("state/lists/partial", "cache/archives/partial", "packages"):
        (home / part).mkdir(parents=True, exist_ok=True)
    keyring = next((path for path in KEYRINGS if os.path.exists(path)), "")
    signed = f" [signed-by={keyring}]" if keyring else ""
    (home / "sources.list").write_text(f"deb{signed} {uri} {suite} main\n")
    options = [
        f"Dir::State={home}/state",
        "Dir::State::status=/dev/null",
        f"Dir::Cache={home}/cache",
        f"Dir::Etc::sourcelist={home}/sources.list",
        "Dir::Etc::sourceparts=/dev/null",
        "Acquire::Languages=none",
        "APT::Sandbox::User=root",
    ]
    apt = ["apt-get", "-qq", *(word for option in options for word in ("-o", option))]
    _run([*apt, "update"])
    _run([*apt, "download", "containerd"], cwd=home / "packages")
    packages = sorted((home / "packages").glob("containerd_*.deb"))
    if not packages:
        raise Unavailable(f"apt gave no containerd package for {suite}")
    _run(["dpkg-deb", "-x", str(packages[-1]), str(home / "root.new")])
    (home / "root.new").rename(home / "root")
    shutil.rmtree(home / "packages")
    shutil.rmtree(home / "state")
    unpacked = binary(suite, base)
    if unpacked is None:
        raise Unavailable(f"the containerd package of {suite} has no /usr/bin/containerd")
    return unpacked


def _run(argv: list[str], cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise Unavailable(f"{argv[0]}: {e}") from e
    if done.returncode:
        raise Unavailable(
            f"{argv[0]} {argv[-1]}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ''}"
        )
    return done.stdout


def main() -> int:
    base = Path(sys.argv[1]) if len(sys.argv) > 1 else directory()
    try:
        uri = mirror()
        for suite in SUITES:
            print(f"{suite}: {fetch(suite, base, uri)}")
    except Unavailable as e:
        print(f"no containerd to test against: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
