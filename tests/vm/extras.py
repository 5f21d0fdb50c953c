"""Folders that lie over the guest's root: Debian packages this machine need not have, unpacked."""

from __future__ import annotations

import os
import shutil

from .packages import Apt, alone, unpack

SYSTEMD = ("systemd", "systemd-sysv", "udev", "libsystemd-shared", "libsystemd0", "libudev1", "kmod", "libkmod2")
"""A systemd and udevd of one version, whatever this machine runs."""

PEERS = ("dpdk", "driverctl")
"""What binds devices elsewhere: dpdk-devbind.py and driverctl."""


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


def peers(cache: str) -> str:
    """dpdk-devbind.py and driverctl of Debian 12, and the set-up script of qatlib's newest package."""
    directory = build(cache, "peers", PEERS)
    if not os.path.exists(f"{directory}/usr/sbin/qat_init"):
        apt = Apt(os.path.join(cache, "apt"), ("sid",))
        apt.update()
        debs = f"{directory}.debs"
        for deb in apt.download(["qatlib-service"], debs):
            unpack(deb, directory, ["*/qat_init"])
        shutil.rmtree(debs)
    return directory
