"""Folders that lie over the guest's root: Debian packages this machine need not have, unpacked."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil

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
    directory = os.path.join(cache, "extras", name)
    with alone(cache):
        if not os.path.exists(f"{directory}.done"):
            _build(cache, directory, packages, suites)
    return directory


def _build(cache: str, directory: str, packages: tuple[str, ...], suites: tuple[str, ...]) -> None:
    apt = Apt(os.path.join(cache, "apt"), suites)
    apt.update()
    debs = f"{directory}.debs"
    for old in (directory, debs):
        shutil.rmtree(old, ignore_errors=True)
    for deb in apt.download_with_dependencies(packages, debs):
        unpack(deb, directory)
    # On a merged /usr (as this machine has it) /lib is a link; a folder of that name would hide everything below it.
    for top in ("bin", "lib", "lib64", "sbin"):
        if os.path.isdir(f"{directory}/{top}") and os.path.islink(f"/{top}"):
            shutil.copytree(f"{directory}/{top}", f"{directory}/usr/{top}", symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(f"{directory}/{top}")
    shutil.rmtree(debs)
    with open(f"{directory}.done", "w", encoding="utf-8"):
        pass


def newer_qemu(cache: str) -> str:
    """The program to start for a QEMU of Debian 12's backports, unpacked. RigError when there is none."""
    directory = os.path.join(cache, "extras", "qemu")
    program = f"{directory}/qemu"
    with alone(cache):
        if not os.path.exists(program):
            apt = Apt(os.path.join(cache, "apt"), ("bookworm-backports",))
            apt.update()
            debs = f"{directory}.debs"
            for deb in apt.download(QEMU, debs):
                unpack(deb, directory)
            shutil.rmtree(debs)
            modules = f"{directory}/usr/lib/x86_64-linux-gnu/qemu"
            firmware = f"-L {directory}/usr/share/qemu -L {directory}/usr/share/seabios"
            with open(program, "w", encoding="utf-8") as f:
                f.write(f"#!/bin/sh\nexport QEMU_MODULE_DIR={modules}\n")
                f.write(f'exec {directory}/usr/bin/qemu-system-x86_64 {firmware} "$@"\n')
            os.chmod(program, 0o755)
    return program


def peers(cache: str, kit: Kit) -> str:
    """The programs of PEERS; and the indexes that depmod makes of all modules of the kernel, as a node has them.

    The kit has only the modules that a guest needs, and whoever looks up modules (lspci -k, modprobe, qatprep) has less
    to look through than on a node.
    """
    directory = os.path.join(cache, "extras", f"peers-{kit.release}")
    with alone(cache):
        if not os.path.exists(f"{directory}.done"):
            _peers(cache, kit, directory)
    return directory


def _peers(cache: str, kit: Kit, directory: str) -> None:
    debs, whole = f"{directory}.debs", f"{directory}.modules"
    for old in (directory, debs, whole):
        shutil.rmtree(old, ignore_errors=True)
    newest = Apt(os.path.join(cache, "apt"), ("sid",))
    newest.update()
    for package, program in PEERS.items():
        for deb in newest.download([package], f"{debs}/{package}"):
            unpack(deb, directory, [program])
    apt = Apt(os.path.join(cache, "apt"), kit.kernel.suites)
    apt.update()
    for deb in apt.download([name.format(r=kit.release) for name in kit.kernel.image], f"{debs}/kernel"):
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
    os.makedirs(f"{directory}/{INDEX}")
    for index in glob.glob(f"{tree}/modules.*"):
        shutil.copy(index, f"{directory}/{INDEX}")
    for old in (debs, whole):
        shutil.rmtree(old)
    with open(f"{directory}.done", "w", encoding="utf-8"):
        pass
