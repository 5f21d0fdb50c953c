"""The initrd: busybox, the modules that mount the root, and guest/init, as an uncompressed cpio archive."""

from __future__ import annotations

import lzma
import os
import subprocess
from collections.abc import Callable

from .errors import RigError

BUSYBOX = "/bin/busybox"
FIRST_MODULES = ("virtio_pci", "virtio_console", "virtio_blk", "virtio-rng", "9pnet_virtio", "9p", "overlay", "ext4")


def write(path: str, modules: str, init: str) -> None:
    """Make the initrd for the kernel whose module tree (with modules.dep) is `modules`."""
    if not os.path.exists(BUSYBOX):
        raise RigError(f"{BUSYBOX} is not installed", "python3 tests/vm/rig.py setup")
    order = _load_order(modules)
    with open(path, "wb") as out:
        archive = _Cpio(out.write)
        for directory in ("bin", "dev", "proc", "sys", "m"):
            archive.directory(directory)
        with open(BUSYBOX, "rb") as f:
            archive.file("bin/busybox", f.read(), 0o755)
        with open(init, "rb") as f:
            archive.file("init", f.read(), 0o755)
        names = []
        for module in order:
            name = os.path.basename(module).split(".ko")[0] + ".ko"
            archive.file(f"m/{name}", unpacked(os.path.join(modules, module)), 0o644)
            names.append(name)
        archive.file("m/order", "".join(f"{n}\n" for n in names).encode(), 0o644)
        archive.end()


def _load_order(modules: str) -> list[str]:
    """The files of FIRST_MODULES and of what they need, in an order insmod accepts. Built-in ones are left out."""
    needs: dict[str, list[str]] = {}
    with open(os.path.join(modules, "modules.dep"), encoding="utf-8") as f:
        for line in f:
            file, _, dependencies = line.partition(":")
            needs[file] = dependencies.split()
    by_name = {os.path.basename(f).split(".ko")[0].replace("-", "_"): f for f in needs}
    order: list[str] = []
    for name in FIRST_MODULES:
        if name.replace("-", "_") not in by_name:
            continue
        file = by_name[name.replace("-", "_")]
        # modules.dep lists what must come first last (depmod(8)).
        for each in [*reversed(needs[file]), file]:
            if each not in order:
                order.append(each)
    # Soft dependencies are not in modules.dep: ext4 asks for crc32c when it mounts.
    return [by_name[n] for n in ("crc32c_generic", "crc32c_intel", "libcrc32c") if n in by_name] + order


def unpacked(path: str) -> bytes:
    """The bytes of a module, however it is compressed."""
    with open(path, "rb") as f:
        data = f.read()
    if path.endswith(".xz"):
        return lzma.decompress(data)
    if path.endswith(".zst"):
        return subprocess.run(["zstd", "-dcq"], input=data, capture_output=True, check=True).stdout
    return data


class _Cpio:
    """Writes the "newc" form of cpio (Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._inode = 0

    def directory(self, name: str) -> None:
        self._member(name, b"", 0o040755)

    def file(self, name: str, data: bytes, mode: int) -> None:
        self._member(name, data, 0o100000 | mode)

    def end(self) -> None:
        self._member("TRAILER!!!", b"", 0)

    def _member(self, name: str, data: bytes, mode: int) -> None:
        self._inode += 1
        encoded = name.encode() + b"\0"
        # inode, mode, uid, gid, links, mtime, size, device, special device, name length, checksum
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        header = b"070701" + b"".join(b"%08X" % f for f in fields)
        for block in (header + encoded, data):
            self._write(block + b"\0" * (-len(block) % 4))
