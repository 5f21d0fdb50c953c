"""The running kernel: release, command line (running and staged), build options, lockdown, debugfs."""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

from qatprep.facts import boot_loader
from qatprep.facts.base import Unknown, names, read_line, unknown
from qatprep.facts.boot_loader import BootLoader, StagedArguments, split_arguments
from qatprep.hardware import DEBUGFS
from qatprep.host.base import Host
from qatprep.text import Foreign


class KernelFacts(NamedTuple):
    release: str
    version: tuple[int, int, int] | Unknown
    """As the release begins; distribution patches make features differ, so it only ever explains."""
    build: str
    """uname -v: Debian tells its real stable version only there (the release is 6.1.0-30-amd64 for 6.1.124)."""
    cmdline: tuple[str, ...] | Unknown
    loader: BootLoader
    """What booted this host."""
    config: dict[str, str] | Unknown
    """CONFIG_X -> "y", "m" or a value; what is not set is absent."""
    config_path: str
    """Where `config` was read, or is usually found."""
    lockdown: str | Unknown | None
    """"none", "integrity" or "confidentiality"; None where the kernel has no lockdown."""
    debugfs: bool | Unknown
    """Whether debugfs is mounted at its place and may be listed."""
    users: tuple[str, ...] = ()
    """QAT's algorithms that the kernel itself uses now (dm-crypt, IPsec, zswap), as /proc/crypto names their drivers:
    the PFs that serve them cannot be taken down (qat_common/adf_sysfs.c, state_store: EBUSY). Which PFs is not
    shown."""

    @property
    def staged(self) -> tuple[StagedArguments, ...]:
        """What the boot loader's files hold for the next boot."""
        return self.loader.staged

    @property
    def hidden(self) -> dict[str, Unknown]:
        """The boot loader's files that could not be read."""
        return self.loader.hidden

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
    config, config_path = _config(host, release)
    cmdline = _cmdline(host)
    return KernelFacts(
        release=release,
        version=parse_version(release),
        build=build if isinstance(build := read_line(host, "/proc/sys/kernel/version"), str) else "",
        cmdline=cmdline,
        loader=boot_loader.gather(host, () if isinstance(cmdline, Unknown) else cmdline),
        config=config,
        config_path=config_path,
        lockdown=_lockdown(host),
        debugfs=_debugfs(host),
        users=_users(host),
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
    return text if isinstance(text, Unknown) else split_arguments(text)


def _config(host: Host, release: str) -> tuple[dict[str, str] | Unknown, str]:
    """The build options and their file: distributions put it into /boot or next to the modules; the kernel itself may
    show it (CONFIG_IKCONFIG_PROC).
    """
    first: Unknown | None = None
    boot = f"/boot/config-{release}"
    for path in (boot, f"/usr/lib/modules/{release}/config", f"/lib/modules/{release}/config", "/proc/config.gz"):
        try:
            data = host.read(path)
            if path.endswith(".gz"):
                data = _unzipped(data)
        except OSError as e:
            first = first if first is not None else unknown(e)
            continue
        except zlib.error as e:
            first = first if first is not None else Unknown(f"{path}: {e}")
            continue
        lines = Foreign(data).text.splitlines()
        pairs = (line.split("=", 1) for line in lines if line.startswith("CONFIG_") and "=" in line)
        return {key: value.strip('"') for key, value in pairs}, path
    return first if first is not None else Unknown(f"{boot}: not there"), boot


_CONFIG_LIMIT = 4 << 20
"""Bytes of a kernel's build options; those of distributions have 300 kB."""


def _unzipped(data: bytes) -> bytes:
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    return decoder.decompress(data, _CONFIG_LIMIT)


_CRYPTO_LIMIT = 1 << 20
"""Bytes of /proc/crypto; a kernel with every algorithm has 100 kB."""


def _users(host: Host) -> tuple[str, ...]:
    """Algorithms with more than the one reference of their registration (crypto/algapi.c, crypto/proc.c c_show)."""
    try:
        text = host.read_text("/proc/crypto", limit=_CRYPTO_LIMIT).text
    except OSError:
        return ()  # it only explains: a PF that is busy says so itself
    found = []
    for block in text.split("\n\n"):
        driver = re.search(r"^driver *: *(\S{0,64}qat\S{0,64})$", block, re.MULTILINE)
        references = re.search(r"^refcnt *: *(\d{1,9})$", block, re.MULTILINE)
        if driver and references and int(references[1]) > 1:
            found.append(driver[1])
    return tuple(dict.fromkeys(found))


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
