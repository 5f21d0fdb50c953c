"""The boot loader that booted this host, and the kernel arguments that its files hold for the next boot.

Which one booted is seen from traces it left in the running system: files of others may be next to it.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from qatprep.facts.base import Unknown, exists, names, read_text
from qatprep.host.base import Host
from qatprep.text import printable

GRUB_CFGS = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")
"""Written by update-grub or grub2-mkconfig, from /etc/default/grub."""
BOOT_ENTRIES = "/boot/loader/entries"
GRUB_DEFAULT = "/etc/default/grub"
GRUB_SNIPPETS = "/etc/default/grub.d"
KERNEL_CMDLINE = "/etc/kernel/cmdline"
_ENTRIES = (BOOT_ENTRIES, "/efi/loader/entries", "/boot/efi/loader/entries")
"""Where systemd-boot's partition is mounted: kernel-install(8)."""
_EFI = "/boot/efi/EFI"
_LOADER_INFO = "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
"""Four bytes of attributes, then UTF-16: "systemd-boot 257", "GRUB 2.12" (systemd.io/BOOT_LOADER_INTERFACE)."""

_GRUB_LINE = re.compile(r"^\s*(?:export\s+)?GRUB_CMDLINE_LINUX(?:_DEFAULT)?\+?=(.*)$")
_LINUX = re.compile(r"^\s*linux(?:efi|16)?\s+\S+\s*(.*)$", re.MULTILINE)
_BLS = re.compile(r"^\s*blscfg\b", re.MULTILINE)


class Kind(StrEnum):
    GRUB = "GRUB"
    BLS = "GRUB with boot loader entries"
    SYSTEMD_BOOT = "systemd-boot"
    PROXMOX = "systemd-boot of proxmox-boot-tool"
    OSTREE = "ostree"
    UNKNOWN = "not recognised"


class StagedArguments(NamedTuple):
    """Kernel arguments that a boot loader's file holds for the next boot."""

    path: str
    tokens: tuple[str, ...]
    old: bool = False
    """Whether the file is older than the running system: the last boot could have read it."""


class BootLoader(NamedTuple):
    kind: Kind
    trace: tuple[str, str]
    """The file and what it said by which the boot loader was recognised, ("", "") for none."""
    staged: tuple[StagedArguments, ...]
    """What its files hold; those a person edits come last."""
    hidden: dict[str, Unknown]
    """Its files that could not be read, and why: what they hold is not known. grub.cfg is often 0600,
    /boot/loader/entries 0700."""
    grub_cfg: str = ""
    """GRUB: the file it reads."""
    debian: bool = True
    """GRUB: whether it is Debian's or of one that stems from it, whose update-grub reads /etc/default/grub.d."""
    rpm_ostree: bool = False
    """ostree: whether rpm-ostree changes its arguments; else they belong to the image (bootc)."""

    @property
    def edited(self) -> str:
        """The file whose text a person changes: of GRUB's the last that sets the line, for what a snippet below grub.d
        sets wins over /etc/default/grub.
        """
        ours = [entry.path for entry in self.staged if entry.path.startswith(GRUB_DEFAULT)]
        return ours[-1] if ours else GRUB_DEFAULT


def split_arguments(text: str) -> tuple[str, ...]:
    """The arguments of a kernel command line, quotes taken off: lib/cmdline.c, next_arg().

    A double quote hides white space until the next one. The kernel takes off those around an argument or its value:
    vfio-pci.ids="8086:4940" gives 8086:4940.
    """
    found = []
    for word in re.findall(r'(?:[^\s"]|"[^"]*(?:"|$))+', text):
        key, equals, value = word.removeprefix('"').partition("=")
        if word.startswith('"') or value.startswith('"'):
            key, value = (key, value.removeprefix('"').removesuffix('"')) if equals else (key.removesuffix('"'), "")
        found.append(f"{key}{equals}{value}")
    return tuple(found)


def gather(host: Host, cmdline: tuple[str, ...]) -> BootLoader:
    """`cmdline`: the running kernel's arguments, () where they cannot be read."""
    return _Look(host, cmdline).loader()


class _Look:
    def __init__(self, host: Host, cmdline: tuple[str, ...]) -> None:
        self.host = host
        self.cmdline = cmdline
        self.hidden: dict[str, Unknown] = {}
        self.booted = _boot_time(host)

    def loader(self) -> BootLoader:
        if exists(self.host, "/run/ostree-booted") is True:
            tool = exists(self.host, "/usr/bin/rpm-ostree") is True
            return self._found(Kind.OSTREE, ("/run/ostree-booted", "there"), self._entries(), rpm_ostree=tool)
        info = self._loader_info()
        if info.startswith("systemd-boot"):
            return self._systemd_boot((_LOADER_INFO, info))
        image = next((token for token in self.cmdline if token.startswith("BOOT_IMAGE=")), "")
        trace = (_LOADER_INFO, info) if info else ("/proc/cmdline", image) if image else ("", "")
        if info.startswith("GRUB") or (image and not info):
            return self._grub(trace)
        if info:  # a loader that tells its name, and is none of ours
            return self._found(Kind.UNKNOWN, trace, [])
        grub = self._grub(trace)
        if grub.kind is Kind.UNKNOWN or not any(exists(self.host, path) is not False for path in GRUB_CFGS):
            whole = read_text(self.host, KERNEL_CMDLINE)
            if isinstance(whole, str):
                self.hidden = {}
                return self._systemd_boot((KERNEL_CMDLINE, "there, and no grub.cfg"))
        return grub

    def _found(
        self, kind: Kind, trace: tuple[str, str], staged: list[StagedArguments], **more: str | bool
    ) -> BootLoader:
        return BootLoader(kind, trace, tuple(staged), self.hidden, **more)  # type: ignore[arg-type]

    def _loader_info(self) -> str:
        try:
            data = self.host.read(_LOADER_INFO)
        except OSError:
            return ""
        return printable(data[4:].decode("utf-16-le", "replace").rstrip("\0"))

    def _systemd_boot(self, trace: tuple[str, str]) -> BootLoader:
        staged = self._entries(*_ENTRIES[1:])
        text = self._text(KERNEL_CMDLINE)
        if text is not None:
            staged.append(self._staged(KERNEL_CMDLINE, split_arguments(text)))
        proxmox = exists(self.host, "/etc/kernel/proxmox-boot-uuids") is True
        return self._found(Kind.PROXMOX if proxmox else Kind.SYSTEMD_BOOT, trace, staged)

    def _grub(self, trace: tuple[str, str]) -> BootLoader:
        config, text = self._grub_cfg()
        entries = self._entries()
        snippets = self._grub_defaults()
        # Where all of /boot is closed to us, that tells nothing.
        closed = BOOT_ENTRIES in self.hidden and not all(path in self.hidden for path in GRUB_CFGS)
        lines = _LINUX.search(text)
        if (entries or closed) and not lines:
            return self._found(Kind.BLS, trace, [*entries, *snippets], grub_cfg=config)
        if not config and not snippets and exists(self.host, GRUB_DEFAULT) is False:
            return self._found(Kind.UNKNOWN, trace, [])
        staged = [self._staged(config, split_arguments(lines[1]))] if lines else []
        debian = not self._distribution() or "debian" in self._distribution()
        return self._found(Kind.GRUB, trace, [*staged, *snippets], grub_cfg=config, debian=debian)

    def _grub_cfg(self) -> tuple[str, str]:
        """The grub.cfg that GRUB reads, and its text ("" when it is closed to us)."""
        own = self._efi_grub_cfg()
        if own[0]:
            return own
        found = [(path, text) for path in GRUB_CFGS if (text := self._text(path)) is not None]
        if found:
            return next(((path, text) for path, text in found if _LINUX.search(text)), found[0])
        return next((path for path in GRUB_CFGS if path in self.hidden), ""), ""

    def _efi_grub_cfg(self) -> tuple[str, str]:
        """Fedora before 34, RHEL and CentOS before 9: grub.cfg next to GRUB on the EFI partition. Later ones, Debian's
        and Ubuntu's there only lead to the one below /boot (`configfile`).
        """
        folders = names(self.host, _EFI)
        if exists(self.host, "/sys/firmware/efi") is not True or isinstance(folders, Unknown):
            return "", ""
        mine = self._distribution()
        for folder in sorted(folders, key=lambda name: (name.lower() not in mine, name)):
            path = f"{_EFI}/{folder}/grub.cfg"
            text = read_text(self.host, path)
            if isinstance(text, str) and (_LINUX.search(text) or _BLS.search(text)):
                return path, text
        return "", ""

    def _distribution(self) -> list[str]:
        """ID and ID_LIKE of os-release(5)."""
        text = read_text(self.host, "/etc/os-release")
        lines = re.findall(r'^ID(?:_LIKE)?="?([^"\n]*)', text, re.MULTILINE) if isinstance(text, str) else []
        return [word.lower() for line in lines for word in line.split()]

    def _grub_defaults(self) -> list[StagedArguments]:
        found = []
        for path in [GRUB_DEFAULT, *self._listed(GRUB_SNIPPETS, ".cfg")]:
            tokens: list[str] = []
            for line in (self._text(path) or "").splitlines():
                if match := _GRUB_LINE.match(line):
                    tokens += split_arguments(match[1].strip().strip("\"'").replace('\\"', '"'))
            if tokens:
                found.append(self._staged(path, tuple(tokens)))
        return found

    def _entries(self, *more: str) -> list[StagedArguments]:
        found = []
        for path in [path for directory in (BOOT_ENTRIES, *more) for path in self._listed(directory, ".conf")]:
            if match := re.search(r"^options\s+(.*)$", self._text(path) or "", re.MULTILINE):
                found.append(self._staged(path, self._expanded(split_arguments(match[1]))))
        return found

    def _expanded(self, tokens: tuple[str, ...]) -> tuple[str, ...]:
        """RHEL 8: entries say $kernelopts, which is in GRUB's environment."""
        if "$kernelopts" not in tokens:
            return tokens
        text = read_text(self.host, "/boot/grub2/grubenv")
        match = re.search(r"^kernelopts=(.*)$", text, re.MULTILINE) if isinstance(text, str) else None
        return (*tokens, *(split_arguments(match[1]) if match else ()))

    def _staged(self, path: str, tokens: tuple[str, ...]) -> StagedArguments:
        written = self.host.modified(path)
        return StagedArguments(path, tokens, self.booted is not None and written is not None and written < self.booted)

    def _text(self, path: str) -> str | None:
        text = read_text(self.host, path)
        if isinstance(text, Unknown):
            self.hidden[path] = text
            return None
        return text

    def _listed(self, directory: str, suffix: str) -> list[str]:
        entries = names(self.host, directory)
        if isinstance(entries, Unknown):
            self.hidden[directory] = entries
            return []
        return [f"{directory}/{name}" for name in entries if name.endswith(suffix)]


def _boot_time(host: Host) -> float | None:
    """When the kernel started, in seconds since 1970: btime of /proc/stat (proc_stat(5))."""
    text = read_text(host, "/proc/stat")
    match = re.search(r"^btime (\d+)$", text, re.MULTILINE) if isinstance(text, str) else None
    return float(match[1]) if match else None
