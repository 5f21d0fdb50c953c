"""Folders that lie over the guest's root: Debian packages this machine need not have, unpacked."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Callable

from .kernels import Kit
from .packages import Apt, alone, run, unpack

SYSTEMD = ("systemd", "systemd-sysv", "udev", "libsystemd-shared", "libsystemd0", "libudev1", "kmod", "libkmod2")
"""A systemd and udevd of one version, whatever this machine runs."""

PEERS = {"dpdk": "*/dpdk-devbind.py", "driverctl": "*/driverctl", "qatlib-service": "*/qat_init"}
"""What binds devices elsewhere: newest packages, and the program that is wanted of each."""

QEMU = ("qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios")
"""A QEMU that knows igb (since 8.0), which Debian 12's own does not."""

INDEX = "usr/share/rig-modules"
"""Where the indexes of the kernel package's whole module tree are in the peers' folder."""


def build(
    cache: str, name: str, packages: tuple[str, ...], suites: tuple[str, ...] = ("bookworm", "bookworm-security")
) -> str:
    """The folder with these packages and what they need that this machine has not. RigError when there is none."""
    return once(cache, name, lambda directory: _unpacked(_apt(cache, suites), packages, directory))


def once(cache: str, name: str, make: Callable[[str], None]) -> str:
    """A folder of the cache that is made when it is not there, or was not finished."""
    directory = os.path.join(cache, "extras", name)
    with alone(cache):
        if not os.path.exists(f"{directory}.done"):
            shutil.rmtree(directory, ignore_errors=True)
            os.makedirs(directory)
            make(directory)
            with open(f"{directory}.done", "w", encoding="utf-8"):
                pass
    return directory


def beside(directory: str) -> tempfile.TemporaryDirectory[str]:
    """For what is large and soon gone: /tmp may be small."""
    return tempfile.TemporaryDirectory(dir=os.path.dirname(directory))


def _apt(cache: str, suites: tuple[str, ...]) -> Apt:
    apt = Apt(os.path.join(cache, "apt"), suites)
    apt.update()
    return apt


def _unpacked(apt: Apt, packages: tuple[str, ...], directory: str) -> None:
    with beside(directory) as debs:
        for deb in apt.download_with_dependencies(packages, debs):
            unpack(deb, directory)
    # On a merged /usr (as this machine has it) /lib is a link; a folder of that name would hide everything below it.
    for top in ("bin", "lib", "lib64", "sbin"):
        if os.path.isdir(f"{directory}/{top}") and os.path.islink(f"/{top}"):
            shutil.copytree(f"{directory}/{top}", f"{directory}/usr/{top}", symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(f"{directory}/{top}")


def newer_qemu(cache: str) -> str:
    """The program to start for a QEMU of Debian 12's backports, unpacked. RigError when there is none."""
    return os.path.join(once(cache, "qemu", lambda directory: _qemu(cache, directory)), "qemu")


def _qemu(cache: str, directory: str) -> None:
    with beside(directory) as debs:
        for deb in _apt(cache, ("bookworm-backports",)).download(QEMU, debs):
            unpack(deb, directory)
    modules = f"{directory}/usr/lib/x86_64-linux-gnu/qemu"
    firmware = f"-L {directory}/usr/share/qemu -L {directory}/usr/share/seabios"
    with open(f"{directory}/qemu", "w", encoding="utf-8") as f:
        f.write(f"#!/bin/sh\nexport QEMU_MODULE_DIR={modules}\n")
        f.write(f'exec {directory}/usr/bin/qemu-system-x86_64 {firmware} "$@"\n')
    os.chmod(f"{directory}/qemu", 0o755)


def peers(cache: str, kit: Kit) -> str:
    """The programs of PEERS; and the indexes that depmod makes of all modules of the kernel, as a node has them.

    The kit has only the modules that a guest needs, and whoever looks up modules (lspci -k, modprobe, qatprep) has less
    to look through than on a node.
    """
    return once(cache, f"peers-{kit.release}", lambda directory: _peers(cache, kit, directory))


def _peers(cache: str, kit: Kit, directory: str) -> None:
    with beside(directory) as debs:
        for package, program in PEERS.items():
            for deb in _apt(cache, ("sid",)).download([package], f"{debs}/{package}"):
                unpack(deb, directory, [program])
    with beside(directory) as whole:
        _index(cache, kit, whole)
        os.makedirs(f"{directory}/{INDEX}")
        for index in glob.glob(f"{whole}/lib/modules/{kit.release}/modules.*"):
            shutil.copy(index, f"{directory}/{INDEX}")


def _index(cache: str, kit: Kit, whole: str) -> None:
    """Unpack all modules of the kernel's packages, the kit's in the place of theirs, and let depmod index them."""
    with beside(whole) as debs:
        names = [name.format(r=kit.release) for name in kit.kernel.image]
        for deb in _apt(cache, kit.kernel.suites).download(names, debs):
            unpack(deb, whole, ["*/lib/modules/*"])
    if os.path.isdir(f"{whole}/usr/lib"):
        os.rename(f"{whole}/usr/lib", f"{whole}/lib")
    tree = f"{whole}/lib/modules/{kit.release}"
    ours = os.path.realpath(kit.path("modules"))
    for folder, _, files in os.walk(ours):
        for file in files:
            if file.endswith(".ko"):  # in the place of the package's, which is compressed
                place = os.path.join(tree, os.path.relpath(folder, ours))
                os.makedirs(place, exist_ok=True)
                for suffix in (".xz", ".zst"):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(f"{place}/{file}{suffix}")
                shutil.copy(os.path.join(folder, file), place)
    run(["depmod", "-b", whole, kit.release])
