"""The running kernel: release, command line (running and staged), build options, lockdown, debugfs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qatprep.facts.base import Unknown, names, read_line, unknown
from qatprep.hardware import DEBUGFS
from qatprep.host.base import Host

GRUB_CFGS = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")
"""Written by update-grub or grub2-mkconfig, from /etc/default/grub."""
BOOT_ENTRIES = "/boot/loader/entries"

_GRUB_LINE = re.compile(r"^\s*(?:export\s+)?GRUB_CMDLINE_LINUX(?:_DEFAULT)?\+?=(.*)$")


@dataclass(frozen=True)
class StagedArguments:
    """Kernel arguments that a boot loader's file holds for the next boot."""

    path: str
    tokens: tuple[str, ...]


@dataclass(frozen=True)
class KernelFacts:
    release: str
    version: tuple[int, int, int] | Unknown
    """As the release begins; distribution patches make features differ, so it only ever explains."""
    build: str
    """uname -v: Debian tells its real stable version only there (the release is 6.1.0-30-amd64 for 6.1.124)."""
    cmdline: tuple[str, ...] | Unknown
    staged: tuple[StagedArguments, ...]
    hidden: dict[str, Unknown]
    """The boot loader's files that could not be read, and why: what they stage is not known. grub.cfg is often 0600,
    /boot/loader/entries 0700."""
    config: dict[str, str] | Unknown
    """CONFIG_X -> "y", "m" or a value; what is not set is absent. From /boot/config-<release>."""
    lockdown: str | Unknown | None
    """"none", "integrity" or "confidentiality"; None where the kernel has no lockdown."""
    debugfs: bool | Unknown
    """Whether debugfs is mounted at its place and may be listed."""

    def argument(self, name: str) -> tuple[str, ...]:
        """Every value given for one argument on the running command line, comma lists taken apart.

        "intel_iommu=on,sm_on" gives ("on", "sm_on"): never match substrings.
        """
        return () if isinstance(self.cmdline, Unknown) else argument(self.cmdline, name)


def argument(tokens: tuple[str, ...], name: str) -> tuple[str, ...]:
    """The comma-separated values of `name=` in command line tokens; dashes and underscores are the same."""
    wanted = name.replace("-", "_")
    values: list[str] = []
    for token in tokens:
        key, equals, value = token.partition("=")
        if equals and key.replace("-", "_") == wanted:
            values.extend(value.split(","))
    return tuple(values)


def gather(host: Host) -> KernelFacts:
    release = read_line(host, "/proc/sys/kernel/osrelease")
    if not isinstance(release, str):
        release = ""
    staged, hidden = _staged(host)
    return KernelFacts(
        release=release,
        version=parse_version(release),
        build=build if isinstance(build := read_line(host, "/proc/sys/kernel/version"), str) else "",
        cmdline=_cmdline(host),
        staged=staged,
        hidden=hidden,
        config=_config(host, release),
        lockdown=_lockdown(host),
        debugfs=_debugfs(host),
    )


def version(host: Host) -> tuple[int, int, int] | Unknown:
    """The version alone, for who needs no more."""
    release = read_line(host, "/proc/sys/kernel/osrelease")
    return parse_version(release) if isinstance(release, str) else release or Unknown("no kernel release is shown")


def parse_version(release: str) -> tuple[int, int, int] | Unknown:
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", release)
    if match is None:
        return Unknown(f"/proc/sys/kernel/osrelease: {release[:60]!r} does not begin with a version")
    return int(match[1]), int(match[2]), int(match[3] or 0)


def _cmdline(host: Host) -> tuple[str, ...] | Unknown:
    text = read_line(host, "/proc/cmdline")
    if text is None:
        return Unknown("/proc/cmdline: not there")
    return text if isinstance(text, Unknown) else tuple(text.split())


def _config(host: Host, release: str) -> dict[str, str] | Unknown:
    path = f"/boot/config-{release}"
    try:
        text = host.read_text(path)
    except OSError as e:
        return unknown(e)
    pairs = (line.split("=", 1) for line in text.splitlines() if line.startswith("CONFIG_") and "=" in line)
    return {key: value.strip('"') for key, value in pairs}


def _lockdown(host: Host) -> str | Unknown | None:
    """The bracketed word of /sys/kernel/security/lockdown (security/lockdown/lockdown.c)."""
    text = read_line(host, "/sys/kernel/security/lockdown")
    if text is None or isinstance(text, Unknown):
        return text
    match = re.search(r"\[(\w+)\]", text)
    return match[1] if match else Unknown(f"/sys/kernel/security/lockdown: {text[:60]!r}")


def _debugfs(host: Host) -> bool | Unknown:
    entries = names(host, DEBUGFS)
    return entries if isinstance(entries, Unknown) else bool(entries)


def _staged(host: Host) -> tuple[tuple[StagedArguments, ...], dict[str, Unknown]]:
    """What the boot loader's own files will hand to the next kernel; the files a person edits come last."""
    found: list[StagedArguments] = []
    hidden: dict[str, Unknown] = {}

    def text(path: str) -> str | None:
        read = read_line(host, path)
        if isinstance(read, Unknown):
            hidden[path] = read
            return None
        return read

    def listed(directory: str, suffix: str) -> list[str]:
        entries = names(host, directory)
        if isinstance(entries, Unknown):
            hidden[directory] = entries
            return []
        return [f"{directory}/{name}" for name in entries if name.endswith(suffix)]

    for path in GRUB_CFGS:
        if match := re.search(r"^\s*linux(?:efi|16)?\s+\S+\s*(.*)$", text(path) or "", re.MULTILINE):
            found.append(StagedArguments(path, tuple(match[1].split())))
    for path in listed(BOOT_ENTRIES, ".conf"):
        if match := re.search(r"^options\s+(.*)$", text(path) or "", re.MULTILINE):
            found.append(StagedArguments(path, tuple(match[1].split())))
    whole = text("/etc/kernel/cmdline")
    if whole is not None:
        found.append(StagedArguments("/etc/kernel/cmdline", tuple(whole.split())))
    for path in ["/etc/default/grub", *listed("/etc/default/grub.d", ".cfg")]:
        tokens: list[str] = []
        for line in (text(path) or "").splitlines():
            match = _GRUB_LINE.match(line)
            if match:
                tokens += match[1].strip().strip("\"'").split()
        if tokens:
            found.append(StagedArguments(path, tuple(tokens)))
    return tuple(found), hidden
