"""Kernel arguments, and how each boot loader is given them: the one table for doctor's fixes, gen-conf and staging.

As text and files; nothing here changes a host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qatprep.facts.boot_loader import GRUB_SNIPPETS, KERNEL_CMDLINE, BootLoader, Kind
from qatprep.facts.persist import MARKER

NEEDED = ("intel_iommu=on",)
"""For kernels that leave Intel's IOMMU off unless told (CONFIG_INTEL_IOMMU_DEFAULT_OFF, as many distributions build
them). Harmless where it is on, and on AMD, whose IOMMU is on wherever the firmware offers one."""

GRUB_SNIPPET = f"{GRUB_SNIPPETS}/90-qatprep.cfg"
BOOTC = "/usr/lib/bootc/kargs.d/90-qatprep.toml"
COUNT = "/var/lib/qatprep/kernel-arguments.json"
"""The boots at which arguments were staged."""


@dataclass(frozen=True)
class Way:
    """How one kind of host is given kernel arguments."""

    loader: str
    commands: tuple[str, ...]
    path: str = ""
    """A file that belongs to it, "" for none."""
    text: str = ""


def ways(arguments: tuple[str, ...] = NEEDED) -> tuple[Way, ...]:
    """Every way there is of adding arguments. Each needs a reboot."""
    line = " ".join(arguments)
    quoted = ", ".join(f'"{argument}"' for argument in arguments)
    append = f"sed -i '1s/$/ {line}/' {KERNEL_CMDLINE}"
    return (
        Way(
            "GRUB, Debian and Ubuntu",
            ("update-grub",),
            GRUB_SNIPPET,
            f"# {MARKER}: kernel arguments for QAT. Read by update-grub.\n"
            f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {line}"\n',
        ),
        Way("GRUB with boot loader entries, Fedora and RHEL", _grubby(arguments, ())),
        Way("systemd-boot with kernel-install", (append, _INSTALL)),
        Way("proxmox-boot-tool with systemd-boot", (append, _REFRESH)),
        Way("rpm-ostree: Fedora CoreOS, Silverblue, RHEL for Edge", _rpm_ostree(arguments, ())),
        Way("bootc images, at build time", (), BOOTC, f"# {MARKER}\nkargs = [{quoted}]\n"),
    )


_INSTALL = "kernel-install add-all"
_REFRESH = "proxmox-boot-tool refresh"


def _grubby(add: Sequence[str], remove: Sequence[str]) -> tuple[str, ...]:
    words = [f'--args="{" ".join(add)}"'] if add else []
    words += [f'--remove-args="{" ".join(remove)}"'] if remove else []
    return (f"grubby --update-kernel=ALL {' '.join(words)}",)


def _rpm_ostree(add: Sequence[str], remove: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"rpm-ostree kargs --append-if-missing={argument}" for argument in add) + tuple(
        f"rpm-ostree kargs --delete-if-present={argument}" for argument in remove
    )


def rewrite_grub(loader: BootLoader) -> str:
    """The command by which GRUB's grub.cfg is written again from /etc/default/grub."""
    path = loader.grub_cfg or "/boot/grub/grub.cfg"
    if path.startswith("/boot/grub/"):
        return "update-grub" if loader.debian else f"grub-mkconfig -o {path}"
    return f"grub2-mkconfig -o {path}"


def change(loader: BootLoader, add: Sequence[str] = (), remove: Sequence[str] = ()) -> tuple[str, ...]:
    """How arguments are changed on a host that this boot loader booted; what follows is a reboot."""
    parts = (f"add {' '.join(add)}" if add else "", f"remove {' '.join(remove)}" if remove else "")
    what = " and ".join(part for part in parts if part)
    if loader.kind is Kind.BLS:
        return _grubby(add, remove)
    if loader.kind is Kind.GRUB:
        return (f"In GRUB_CMDLINE_LINUX of {loader.edited} {what}.", rewrite_grub(loader))
    if loader.kind in (Kind.SYSTEMD_BOOT, Kind.PROXMOX):
        written = _REFRESH if loader.kind is Kind.PROXMOX else _INSTALL
        return (f"In {KERNEL_CMDLINE} {what}, then have the boot entries written again:", written)
    if loader.kind is Kind.OSTREE and loader.rpm_ostree:
        return _rpm_ostree(add, remove)
    if loader.kind is Kind.OSTREE:
        return (f"In the image that this host was made from {what} ({BOOTC}), and deploy it: bootc upgrade",)
    return (f"What booted this host is not recognised: by its own means {what} on the kernel command line.",)


def stageable(loader: BootLoader, arguments: tuple[str, ...] = NEEDED) -> Way | None:
    """The way by which qatprep itself may stage arguments on this host; None where it has no file for them."""
    if loader.kind is not Kind.GRUB or rewrite_grub(loader) != "update-grub":
        return None
    return next(way for way in ways(arguments) if way.path == GRUB_SNIPPET)


def describe(arguments: tuple[str, ...] = NEEDED) -> str:
    """All ways as text for people."""
    out = [
        f"Kernel arguments: {' '.join(arguments)}",
        "Needed where the kernel leaves the IOMMU off by itself.",
        "On the node qatprep doctor --only iommu tells.",
        "One of these, as the host boots, then a reboot:",
    ]
    for way in ways(arguments):
        out += ["", f"{way.loader}:"]
        if way.path:
            out += [f"    file {way.path}:", *(f"        {line}" for line in way.text.splitlines())]
        out += [f"    {command}" for command in way.commands]
    return "\n".join(out) + "\n"
