"""Kernel arguments, and how each boot loader is given them. As text and files; nothing here changes a host."""

from __future__ import annotations

from dataclasses import dataclass

from qatprep.facts.persist import MARKER

NEEDED = ("intel_iommu=on",)
"""For kernels that leave Intel's IOMMU off unless told (CONFIG_INTEL_IOMMU_DEFAULT_OFF, as many distributions build
them). Harmless where it is on, and on AMD, whose IOMMU is on wherever the firmware offers one."""

GRUB_SNIPPET = "/etc/default/grub.d/90-qatprep.cfg"
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
    """Every way there is. Each needs a reboot."""
    line = " ".join(arguments)
    quoted = ", ".join(f'"{argument}"' for argument in arguments)
    return (
        Way(
            "GRUB, Debian and Ubuntu",
            ("update-grub",),
            GRUB_SNIPPET,
            f"# {MARKER}: kernel arguments for QAT. Read by update-grub.\n"
            f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {line}"\n',
        ),
        Way("GRUB with boot loader entries, Fedora and RHEL", (f'grubby --update-kernel=ALL --args="{line}"',)),
        Way(
            "systemd-boot with kernel-install",
            (f"sed -i '1s/$/ {line}/' /etc/kernel/cmdline", "kernel-install add-all"),
        ),
        Way(
            "rpm-ostree: Fedora CoreOS, Silverblue, RHEL for Edge",
            tuple(f"rpm-ostree kargs --append-if-missing={argument}" for argument in arguments),
        ),
        Way("bootc images, at build time", (), BOOTC, f"# {MARKER}\nkargs = [{quoted}]\n"),
    )


def describe(arguments: tuple[str, ...] = NEEDED) -> str:
    """All ways as text for people."""
    out = [
        f"Kernel arguments: {' '.join(arguments)}",
        "Needed where the kernel leaves the IOMMU off by itself (qatprep doctor --only iommu tells on the node).",
        "One of these, as the host boots, then a reboot:",
    ]
    for way in ways(arguments):
        out += ["", f"{way.loader}:"]
        if way.path:
            out += [f"    file {way.path}:", *(f"        {line}" for line in way.text.splitlines())]
        out += [f"    {command}" for command in way.commands]
    return "\n".join(out) + "\n"
