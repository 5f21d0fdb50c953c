"""qat-emulator fetch: libqat of a Debian suite, unpacked into a folder. Nothing is installed."""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess

from qat_emulator.errors import EmulatorError

PACKAGES = ("libqat4", "libusdm0", "qatlib-examples", "qatengine", "openssl")
LEFT_OUT = re.compile(r"^(debconf|cdebconf|dpkg|adduser|passwd|systemd|init-system-helpers|sysvinit|perl)")
"""Packages that only matter when something is installed."""
KEYRINGS = ("/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp")
DEADLINE = 600.0
"""Seconds for one call of apt."""


def fetch(suite: str, folder: str) -> str:
    """Unpack the packages and what they need into folder/root, from the archive this machine's apt uses.

    What is there is not fetched again. Gives the folder for --tree. EmulatorError.
    """
    base = os.path.abspath(folder)
    root = f"{base}/root"
    if os.path.isdir(root):
        return root
    for part in ("state/lists/partial", "cache/archives/partial", "packages"):
        os.makedirs(f"{base}/{part}", exist_ok=True)
    keyring = next((path for path in KEYRINGS if os.path.exists(path)), "")
    with open(f"{base}/sources.list", "w", encoding="utf-8") as f:
        f.write(f"deb{f' [signed-by={keyring}]' if keyring else ''} {archive()} {suite} main\n")
    options = [
        f"Dir::State={base}/state",
        "Dir::State::status=/dev/null",
        f"Dir::Cache={base}/cache",
        f"Dir::Etc::sourcelist={base}/sources.list",
        "Dir::Etc::sourceparts=/dev/null",
        "Acquire::Languages=none",
        "APT::Architecture=amd64",
        "APT::Sandbox::User=root",
    ]
    words = [word for option in options for word in ("-o", option)]
    _run(["apt-get", "-qq", *words, "update"])
    only = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
    depends = _run(["apt-cache", *words, "depends", "--recurse", *only, *PACKAGES])
    wanted = {line for line in depends.splitlines() if re.match(r"[a-z0-9]", line) and not LEFT_OUT.match(line)}
    _run(["apt-get", "-qq", *words, "download", *sorted(wanted)], cwd=f"{base}/packages")
    for package in sorted(glob.glob(f"{base}/packages/*.deb")):
        _run(["dpkg-deb", "-x", package, f"{root}.new"])
    os.rename(f"{root}.new", root)
    for part in ("packages", "state", "cache"):
        shutil.rmtree(f"{base}/{part}")
    return root


def archive() -> str:
    """Where this machine's apt has Debian's main component from. EmulatorError."""
    listed = _run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT)", "Created-By: Packages"])
    for line in listed.splitlines():
        uri, _, component = line.partition(" ")
        if component == "main" and uri.rstrip("/").endswith("/debian"):
            return uri
    raise EmulatorError("this machine's apt has no Debian source with a main component", "fetch on a Debian machine")


def _run(argv: list[str], cwd: str | None = None) -> str:
    try:
        done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=DEADLINE, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise EmulatorError(f"{argv[0]}: {problem}", "fetch needs apt-get, apt-cache and dpkg-deb") from problem
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise EmulatorError(f"{argv[0]} ended with status {done.returncode}: {lines[-1] if lines else ''}")
    return done.stdout
