"""Kernel modules: loaded, built in, on disk, and whether something forbids them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from qatprep.facts.base import Unknown, exists, names, read_line, unknown
from qatprep.facts.kernel import KernelFacts, argument
from qatprep.hardware import INTEL
from qatprep.host.base import Host

MODPROBE_DIRS = (
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
)
"""modprobe.d(5)."""


class Ban(NamedTuple):
    """A line that keeps a module from being loaded."""

    path: str
    line: str


class Options(NamedTuple):
    """An `options` line of modprobe.d: parameters a module is loaded with."""

    path: str
    line: str

    def values(self, name: str) -> tuple[str, ...]:
        """The comma-separated values of one parameter."""
        return argument(tuple(self.line.split()[2:]), name)


class Module(NamedTuple):
    name: str
    """With underscores, as in /sys/module."""
    loaded: bool | Unknown
    builtin: bool
    file: str | Unknown | None
    """Its path below /lib/modules/<release>; None when this kernel does not ship it."""
    bans: tuple[Ban, ...]

    @property
    def present(self) -> bool | Unknown:
        """Loaded or built in."""
        return True if self.builtin else self.loaded


def normal(name: str) -> str:
    """The kernel's own spelling: dashes and underscores are the same to modprobe, sysfs uses underscores."""
    return name.replace("-", "_")


class ModuleFacts:
    """Answers about any module; the three tables behind it are read once."""

    def __init__(self, host: Host, kernel: KernelFacts) -> None:
        self._host = host
        self._base = f"/lib/modules/{kernel.release}"
        self.files = _paths(host, f"{self._base}/modules.dep")
        """Module name -> path below the release's directory, or Unknown."""
        builtin = _paths(host, f"{self._base}/modules.builtin")
        self._builtin = {} if isinstance(builtin, Unknown) else builtin
        self.bans, self.options = _configuration(host, kernel)
        """Module name -> lines of modprobe.d (and the command line) that forbid it, and that give it parameters."""

    def get(self, name: str) -> Module:
        name = normal(name)
        file = self.files if isinstance(self.files, Unknown) else self.files.get(name)
        return Module(
            name=name,
            loaded=exists(self._host, f"/sys/module/{name}"),
            builtin=name in self._builtin,
            file=file,
            bans=tuple(self.bans.get(name, ())),
        )

    def claims(self, name: str, device: int) -> bool | Unknown:
        """Whether a module's PCI table has an Intel device, as depmod wrote it into modules.alias; Unknown where that
        file does not tell."""
        try:
            text = self._host.read_text(f"{self._base}/modules.alias", limit=1 << 24).text
        except OSError as e:
            return unknown(e)
        pattern = re.compile(rf"^alias pci:v0000{INTEL:04X}d0000{device:04X}\S* (\S+)$", re.MULTILINE | re.IGNORECASE)
        return normal(name) in map(normal, pattern.findall(text))

    def missing(self, name: str) -> tuple[str, ...]:
        """A module and what it needs, as far as none of it is loaded."""
        return missing(self._host, name)

    def of(self, wanted: Iterable[str]) -> dict[str, Module]:
        return {name: self.get(name) for name in wanted}


def _paths(host: Host, path: str) -> dict[str, str] | Unknown:
    """Module names of modules.dep or modules.builtin, whose lines begin with a path ending .ko[.xz|.zst|.gz]."""
    try:
        text = host.read_text(path, limit=1 << 24).text
    except OSError as e:
        return unknown(e)
    found = {}
    for match in re.finditer(r"^([^\s:]*?([^/\s:]+)\.ko(?:\.\w+)?)(?::|$)", text, re.MULTILINE):
        found[normal(match[2])] = match[1]
    return found


def shipped(host: Host, name: str) -> bool | Unknown:
    """Whether the running kernel has a module, on disk or built in."""
    lines = _dependencies(host)
    if isinstance(lines, Unknown):
        return lines
    if exists(host, f"/sys/module/{normal(name)}") is True or _line_of(lines, name) is not None:
        return True
    builtin = _paths(host, f"{_directory(host)}/modules.builtin")
    return builtin if isinstance(builtin, Unknown) else normal(name) in builtin


def missing(host: Host, name: str) -> tuple[str, ...]:
    """A module and what it needs by the running kernel's modules.dep, as far as none of it is loaded or built in."""
    lines = _dependencies(host)
    line = None if isinstance(lines, Unknown) else _line_of(lines, name)
    needs = {normal(need.rsplit("/", 1)[-1].partition(".ko")[0]) for need in (line or "").split()}
    return tuple(sorted(need for need in needs | {normal(name)} if exists(host, f"/sys/module/{need}") is False))


def _directory(host: Host) -> str:
    return f"/lib/modules/{read_line(host, '/proc/sys/kernel/osrelease')}"


def _dependencies(host: Host) -> str | Unknown:
    try:
        return host.read_text(f"{_directory(host)}/modules.dep", limit=1 << 24).text
    except OSError as e:
        return unknown(e)


def _line_of(dependencies: str, name: str) -> str | None:
    """What modules.dep says a module needs, None when it does not list the module."""
    spelling = re.escape(normal(name)).replace("_", "[-_]")
    found = re.search(rf"^(?:\S*/)?{spelling}\.ko[.\w]*:(.*)$", dependencies, re.MULTILINE)
    return found[1] if found else None


def _configuration(host: Host, kernel: KernelFacts) -> tuple[dict[str, list[Ban]], dict[str, list[Options]]]:
    """blacklist, `install X /bin/false|true` and options lines (modprobe.d(5)); the kernel command line's own lists."""
    bans: dict[str, list[Ban]] = {}
    options: dict[str, list[Options]] = {}
    seen = set()
    for directory in MODPROBE_DIRS:
        entries = names(host, directory)
        for name in () if isinstance(entries, Unknown) else entries:
            if not name.endswith(".conf") or name in seen:
                continue  # a file in an earlier directory hides its namesakes
            seen.add(name)
            path = f"{directory}/{name}"
            try:
                text = host.read_text(path).text
            except OSError:
                continue
            for line in text.splitlines():
                words = line.split()
                if (len(words) >= 2 and words[0] == "blacklist") or (
                    len(words) >= 3 and words[0] == "install" and words[2].rsplit("/", 1)[-1] in ("false", "true", ":")
                ):
                    bans.setdefault(normal(words[1]), []).append(Ban(path, line.strip()))
                elif len(words) >= 3 and words[0] == "options":
                    options.setdefault(normal(words[1]), []).append(Options(path, line.strip()))
    tokens = () if isinstance(kernel.cmdline, Unknown) else kernel.cmdline
    for key in ("module_blacklist", "modprobe.blacklist"):
        for name in argument(tokens, key):
            bans.setdefault(normal(name), []).append(Ban("/proc/cmdline", f"{key}={name}"))
    return bans, options
