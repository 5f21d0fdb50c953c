"""Debian packages without installing them: a private apt state, download, unpack.

The archive is the one this machine's apt already uses; only the suite is ours to choose. Nothing below /etc, /var or
/usr is changed and no root is needed.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence

from .errors import RigError

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
COMPONENTS = "main non-free-firmware"
LISTS_AGE = 24 * 3600.0
"""Seconds after which package lists are fetched again."""


def archives() -> tuple[str, str]:
    """The URIs of the Debian archive and of its security archive, from this machine's apt sources.

    QATPREP_VM_MIRROR (the part before /debian) says it where the sources do not. RigError when neither does.
    """
    mirror = os.environ.get("QATPREP_VM_MIRROR", "").rstrip("/")
    if mirror:
        return f"{mirror}/debian", f"{mirror}/debian-security"
    uris: list[str] = []
    for path in [
        "/etc/apt/sources.list",
        *glob.glob("/etc/apt/sources.list.d/*.list"),
        *glob.glob("/etc/apt/sources.list.d/*.sources"),
    ]:
        try:
            with open(path, encoding="utf-8") as f:
                text = f.read()
        except OSError:
            continue
        uris += re.findall(r"^(?:URIs:\s*|deb\s+(?:\[[^\]]*\]\s+)?)(\S+)", text, re.MULTILINE)
    plain = [u.rstrip("/") for u in uris]
    main = next((u for u in plain if u.endswith("/debian")), "")
    security = next((u for u in plain if u.endswith("/debian-security")), "")
    if not main:
        raise RigError(
            "this machine's apt sources name no Debian archive: the rig is made of Debian packages",
            "run it on Debian, or set QATPREP_VM_MIRROR to the part of a mirror's address before /debian",
        )
    return main, security or main.removesuffix("/debian") + "/debian-security"


@contextlib.contextmanager
def alone(cache: str) -> Iterator[None]:
    """One process at a time builds in a cache."""
    os.makedirs(cache, exist_ok=True)
    with open(os.path.join(cache, "lock"), "w", encoding="utf-8") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


class Apt:
    """apt for some suites, with everything it writes below `directory`.

    `bare`: as if this machine had no packages, so that dependencies are complete; else those it has are left out.
    """

    def __init__(self, directory: str, suites: Sequence[str], *, bare: bool = False) -> None:
        self.directory = os.path.join(directory, "+".join(suites))
        self.suites = suites
        self.sources = os.path.join(self.directory, "rig.sources")
        self.options: list[str] = []
        for key, value in {
            "Dir::State": f"{self.directory}/state",
            "Dir::Cache": f"{self.directory}/cache",
            "Dir::Etc::sourcelist": self.sources,
            "Dir::Etc::sourceparts": "-",
            "Dir::Etc::preferencesparts": "-",
            "APT::Sandbox::User": "root",
        }.items():
            self.options += ["-o", f"{key}={value}"]
        if bare:
            self.options += ["-o", "Dir::State::status=/dev/null"]

    def update(self) -> None:
        """Fetch the package lists unless those we have are fresh."""
        lists = os.path.join(self.directory, "state/lists")
        stamp = os.path.join(self.directory, "updated")
        if os.path.exists(stamp) and time.time() - os.path.getmtime(stamp) < LISTS_AGE:
            return
        os.makedirs(os.path.join(lists, "partial"), exist_ok=True)
        os.makedirs(os.path.join(self.directory, "cache/archives/partial"), exist_ok=True)
        main, security = archives()
        with open(self.sources, "w", encoding="utf-8") as f:
            for suite in self.suites:
                uri = security if suite.endswith("-security") else main
                f.write(f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: {COMPONENTS}\nSigned-By: {KEYRING}\n\n")
        run(["apt-get", "-qq", *self.options, "update"])
        with open(stamp, "w", encoding="utf-8"):
            pass

    def depends(self, package: str) -> list[str]:
        """What the newest version of a package depends on directly. RigError when there is no such package."""
        text = run(["apt-cache", *self.options, "depends", "--important", package]).stdout
        return re.findall(r"^\s*\|?Depends: ([^<\s]+)", text, re.MULTILINE)

    def digests(self, package: str) -> list[str]:
        """SHA-256 of each version of a package, from the archive's signed index."""
        text = run(["apt-cache", *self.options, "show", package]).stdout
        return re.findall(r"^SHA256: (\w+)", text, re.MULTILINE)

    def download(self, packages: Iterable[str], into: str) -> list[str]:
        """Fetch packages into a directory; the paths of the .deb files."""
        os.makedirs(into, exist_ok=True)
        run(["apt-get", "-qq", *self.options, "download", *packages], cwd=into)
        return sorted(glob.glob(os.path.join(into, "*.deb")))

    def download_with_dependencies(self, packages: Sequence[str], into: str) -> list[str]:
        """Fetch packages and what of their dependencies this machine has not installed."""
        os.makedirs(os.path.join(into, "partial"), exist_ok=True)
        archive = ["-o", f"Dir::Cache::archives={into}", "-o", "Debug::NoLocking=1"]
        options = [*self.options, *archive, "--no-install-recommends", "--download-only"]
        run(["apt-get", "-qq", "-y", *options, "install", "--reinstall", *packages])
        return sorted(glob.glob(os.path.join(into, "*.deb")))


def unpack(deb: str, into: str, patterns: Sequence[str] = ()) -> None:
    """Unpack a .deb, or only the members that match `patterns` (as tar --wildcards knows them)."""
    os.makedirs(into, exist_ok=True)
    if not patterns:
        run(["dpkg-deb", "-x", deb, into])
        return
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as tar:
        # Members that are in another package of the same set make tar complain, so its status says nothing.
        subprocess.run(
            ["tar", "-x", "-C", into, "--wildcards", *patterns],
            stdin=tar.stdout,
            stderr=subprocess.DEVNULL,
            check=False,
        )


def run(argv: Sequence[str], *, cwd: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end. RigError with the last lines it wrote when it is missing or fails."""
    try:
        done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise RigError(f"{argv[0]} is not installed", "python3 tests/vm/rig.py setup") from None
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-12:])
        raise RigError(f"{' '.join(argv[:3])} ... ended with status {done.returncode}:\n{said}")
    return done
