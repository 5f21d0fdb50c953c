"""Where the firmware images of the QAT devices are, in every directory and form the kernel would take them from."""

from __future__ import annotations

from typing import NamedTuple

from qatprep.facts.base import Unknown, exists, read_line
from qatprep.facts.kernel import KernelFacts
from qatprep.hardware import FIRMWARE_SUFFIXES, Family
from qatprep.host.base import Host

_COMPRESS_OPTION = {".zst": "CONFIG_FW_LOADER_COMPRESS_ZSTD", ".xz": "CONFIG_FW_LOADER_COMPRESS_XZ"}


class Image(NamedTuple):
    """One file the kernel asks for by its flat name."""

    name: str
    found: tuple[str, ...]
    """Paths the loader of this kernel can use, best first."""
    unusable: tuple[str, ...]
    """Paths in a form this kernel cannot unpack, or links that lead nowhere."""
    elsewhere: tuple[str, ...]
    """Paths below intel/qat/, where linux-firmware keeps the files but the kernel does not look."""


class FirmwareFacts(NamedTuple):
    directories: tuple[str, ...]
    """In the kernel's order: drivers/base/firmware_loader/main.c, fw_path[]."""
    images: dict[str, Image]

    def lacking(self, family: Family) -> tuple[str, ...]:
        """Images without which a PF of the family does not start, by name; () when all are found."""
        return tuple(name for name in family.firmware if not self.images[name].found)


def gather(host: Host, kernel: KernelFacts, wanted: tuple[str, ...]) -> FirmwareFacts:
    """Look for the images `wanted` by name."""
    directories = [
        "/lib/firmware/updates/" + kernel.release,
        "/lib/firmware/updates",
        "/lib/firmware/" + kernel.release,
        "/lib/firmware",
    ]
    extra = read_line(host, "/sys/module/firmware_class/parameters/path")
    if isinstance(extra, str) and extra.strip().startswith("/"):
        directories.insert(0, extra.strip())
    suffixes = [suffix for suffix in FIRMWARE_SUFFIXES if _can_unpack(kernel, suffix)]
    images = {name: _image(host, directories, name, suffixes) for name in wanted}
    return FirmwareFacts(tuple(directories), images)


def _can_unpack(kernel: KernelFacts, suffix: str) -> bool:
    """Whether the kernel's loader takes this suffix; without its configuration, assume that it does."""
    option = _COMPRESS_OPTION.get(suffix)
    return option is None or isinstance(kernel.config, Unknown) or kernel.config.get(option) == "y"


def _image(host: Host, directories: list[str], name: str, suffixes: list[str]) -> Image:
    found: list[str] = []
    unusable: list[str] = []
    for directory in directories:
        for suffix in FIRMWARE_SUFFIXES:
            path = f"{directory}/{name}{suffix}"
            if exists(host, path) is True:
                (found if suffix in suffixes else unusable).append(path)
            elif _is_link(host, path):
                unusable.append(path)
    elsewhere = [
        path for suffix in FIRMWARE_SUFFIXES if exists(host, path := f"/lib/firmware/intel/qat/{name}{suffix}") is True
    ]
    return Image(name, tuple(found), tuple(unusable), tuple(elsewhere))


def _is_link(host: Host, path: str) -> bool:
    try:
        host.readlink(path)
    except OSError:
        return False
    return True
