"""Debian trees beside the machine's own: a QEMU that knows vfio-user-pci, and a root for guests with Debian's libqat.

Both need a newer C library than Debian 12 has, so they come whole, with their own loader. Nothing is installed.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import RigError
from .extras import beside, once
from .machine import REPOSITORY
from .packages import Apt, run, unpack

QEMU_SUITES = ("trixie", "trixie-backports")
"""QEMU 10.1 is the first with vfio-user-pci; Debian 13 itself has 10.0."""
QEMU_PACKAGES = ("qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios")


@dataclass(frozen=True)
class Userland:
    """A Debian that guests can run."""

    suites: tuple[str, ...]
    firmware: str
    """The package with qat_4xxx.bin, new enough to hold it."""


USERLANDS = {
    "trixie": Userland(("trixie", "trixie-backports"), "firmware-intel-misc/trixie-backports"),  # libqat 24.02
    "sid": Userland(("sid",), "firmware-intel-misc"),  # libqat 26.08
}
DEFAULT = "trixie"

SYSTEM = (
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "diffutils", "findutils", "gawk", "grep", "gzip"),
    *("hostname", "iproute2", "kmod", "libc-bin", "mount", "passwd", "pciutils", "procps", "python3", "sed", "systemd"),
    *("systemd-sysv", "tar", "udev", "util-linux"),
)
QAT = ("libqat4", "libusdm0", "qatlib-service", "qatlib-examples", "qatengine", "openssl", "curl")


def root(cache: str, suite: str = DEFAULT) -> str:
    """The root folder of a userland, with what qatprep needs of Python. RigError when it cannot be made."""
    if suite not in USERLANDS:
        raise RigError(f"no userland {suite!r}; there are {', '.join(USERLANDS)}")
    return once(cache, f"root-{suite}", lambda directory: _root(cache, USERLANDS[suite], directory))


def _root(cache: str, userland: Userland, directory: str) -> None:
    fill(cache, userland.suites, (*SYSTEM, *QAT, userland.firmware), directory)
    # What the packages' maintainer scripts would have made.
    for name in ("passwd", "group"):
        shutil.copy(f"{directory}/usr/share/base-passwd/{name}.master", f"{directory}/etc/{name}")
    for name in ("proc", "sys", "dev", "run", "tmp", "root", "boot", "mnt"):
        os.makedirs(f"{directory}/{name}", exist_ok=True)
    if not os.path.lexists(f"{directory}/usr/bin/awk"):
        os.symlink("gawk", f"{directory}/usr/bin/awk")
    texts = {"machine-id": "0123456789abcdef0123456789abcdef\n", "hosts": "127.0.0.1 localhost\n", "resolv.conf": ""}
    for name, text in texts.items():
        with open(f"{directory}/etc/{name}", "w", encoding="utf-8") as f:
            f.write(text)
    _python_packages(directory)


def _python_packages(directory: str) -> None:
    """qatprep's dependencies for the userland's Python."""
    version = os.path.basename(os.path.realpath(f"{directory}/usr/bin/python3")).removeprefix("python")
    with open(f"{REPOSITORY}/pyproject.toml", "rb") as f:
        wanted = tomllib.load(f)["project"]["dependencies"]
    target = f"{directory}/usr/local/lib/python{version}/dist-packages"
    install_wheels(wanted, target, version)
    compile_python(directory, f"{directory}/usr/lib/python{version}", target)


def install_wheels(packages: Sequence[str], target: str, version: str) -> None:
    """Unpack wheels for another Python (3.13) and newer C library than this machine's. RigError."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile"]
    pip += ["--target", target, "--python-version", version, "--only-binary", ":all:"]
    for platform in ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"):
        pip += ["--platform", platform]
    run([*pip, *packages])


def compile_python(directory: str, *folders: str) -> None:
    """Compile what has changed in these folders, with the tree's own Python: guests need twelve times as long."""
    libraries = f"{directory}/usr/lib/x86_64-linux-gnu"
    python = [
        f"{directory}/usr/lib64/ld-linux-x86-64.so.2",
        "--library-path",
        libraries,
        f"{directory}/usr/bin/python3",
    ]
    command = [*python, "-m", "compileall", "-q", "-s", directory, "-p", "/", *folders]
    env = {**os.environ, "PYTHONHOME": f"{directory}/usr"}
    subprocess.run(command, env=env, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def qemu(cache: str) -> str:
    """The program to start for a QEMU with vfio-user-pci. RigError when there is none."""
    program = os.path.join(once(cache, "qemu-vfio-user", lambda directory: _qemu(cache, directory)), "qemu")
    done = subprocess.run([program, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r"version (\d+)\.(\d+)", done.stdout)
    if version is None or (int(version[1]), int(version[2])) < (10, 1):
        raise RigError(f"{program} is no QEMU 10.1 or newer: {(done.stdout or done.stderr).strip()[:200]}")
    return program


def _qemu(cache: str, directory: str) -> None:
    fill(cache, QEMU_SUITES, tuple(f"{p}/{QEMU_SUITES[-1]}" for p in QEMU_PACKAGES), directory)
    libraries = f"{directory}/usr/lib/x86_64-linux-gnu"
    loader = f"{directory}/usr/lib64/ld-linux-x86-64.so.2"
    folders = [libraries, *(os.path.dirname(p) for p in glob.glob(f"{libraries}/*/*.so*"))]
    path = ":".join(dict.fromkeys(folders))
    with open(f"{directory}/qemu", "w", encoding="utf-8") as f:
        f.write(f"#!/bin/sh\nexport QEMU_MODULE_DIR={libraries}/qemu\nexec {loader} --library-path {path} \\\n")
        f.write(f"    {directory}/usr/bin/qemu-system-x86_64 -L {directory}/usr/share/qemu")
        f.write(f' -L {directory}/usr/share/seabios "$@"\n')
    os.chmod(f"{directory}/qemu", 0o755)


def fill(cache: str, suites: tuple[str, ...], packages: tuple[str, ...], directory: str) -> None:
    """Unpack packages and all they depend on into a tree of their own."""
    apt = Apt(os.path.join(cache, "apt"), suites, bare=True)
    apt.update()
    with beside(directory) as debs:
        found = apt.download_with_dependencies(packages, debs)
        # base-files has the links of a merged /usr, which must be there before anything is unpacked through them.
        for deb in sorted(found, key=lambda d: not os.path.basename(d).startswith("base-files_")):
            unpack(deb, directory)
    for top in ("bin", "lib", "lib64", "sbin"):
        os.makedirs(f"{directory}/usr/{top}", exist_ok=True)
        if not os.path.lexists(f"{directory}/{top}"):
            os.symlink(f"usr/{top}", f"{directory}/{top}")
