"""Kernel kits: a Debian kernel ready to be started in QEMU, with our modules built for it.

A kit is a folder `<cache>/kernels/<series>/`: vmlinux, initrd, config, modules/ (what becomes /lib/modules/<release> in
the guest) and build/ (headers and the kernel's own qat source, kept so that a change of ours is a matter of seconds).
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import lzma
import os
import shutil
import subprocess
from dataclasses import dataclass

from . import initrd
from .errors import RigError
from .packages import Apt, alone, run, unpack

HERE = os.path.dirname(os.path.abspath(__file__))


@dataclass(frozen=True)
class Kernel:
    series: str
    suites: tuple[str, ...]
    package: str
    """What depends on the newest linux-image of the series."""
    image: tuple[str, ...]
    """Packages with the kernel and its modules; {r} is the release, e.g. 6.12.117+deb12-amd64."""
    kbuild: str
    """{a} is the release without the flavour."""
    qat: str
    """Where the QAT drivers are in the kernel's source."""
    softhost: bool = False
    """softhost.c knows this kernel's IOMMU interface."""
    newer_tools: bool = False
    """Built with a newer compiler and C library than Debian 12 has."""


KERNELS = {
    k.series: k
    for k in (
        Kernel(
            "6.12",
            ("bookworm", "bookworm-security"),
            "linux-image-6.12-amd64",
            ("linux-image-{r}-unsigned",),
            "linux-kbuild-{a}",
            "drivers/crypto/intel/qat",
            softhost=True,
        ),
        Kernel(
            "6.1",
            ("bookworm", "bookworm-security"),
            "linux-image-amd64",
            ("linux-image-{r}-unsigned",),
            "linux-kbuild-6.1",
            "drivers/crypto/qat",
        ),
        Kernel(
            "7.2",
            ("sid",),
            "linux-image-amd64",
            ("linux-base-{r}", "linux-binary-{r}", "linux-modules-{r}"),
            "linux-kbuild-{a}",
            "drivers/crypto/intel/qat",
            newer_tools=True,
        ),
    )
}
DEFAULT = "6.12"

# The modules a guest may need, as folders or files of a kernel's module tree; depmod finds out what belongs together.
MODULES = (
    "modules.builtin*",
    "modules.order",
    "kernel/arch/x86/crypto",
    "kernel/crypto",
    "kernel/drivers/block/virtio_blk*",
    "kernel/drivers/char/hw_random",
    "kernel/drivers/char/virtio_console*",
    "kernel/drivers/crypto/intel/qat",
    "kernel/drivers/crypto/qat",
    "kernel/drivers/dca",
    "kernel/drivers/i2c/algos",
    "kernel/drivers/iommu",
    "kernel/drivers/net/ethernet/intel/igb",
    "kernel/drivers/net/ethernet/intel/libeth",
    "kernel/drivers/nvme",
    "kernel/drivers/pps",
    "kernel/drivers/ptp",
    "kernel/drivers/vfio",
    "kernel/drivers/virtio",
    "kernel/fs/9p",
    "kernel/fs/ext4",
    "kernel/fs/fscache",
    "kernel/fs/jbd2",
    "kernel/fs/mbcache*",
    "kernel/fs/netfs",
    "kernel/fs/overlayfs",
    "kernel/lib",
    "kernel/net/9p",
    "kernel/virt",
)


@dataclass(frozen=True)
class Driver:
    """qat_4xxx compiled as Debian's kernel source has it. Digests are SHA-256."""

    module: str
    package: str
    """File name of the linux-source package."""
    sha256: str
    """Of the package."""
    in_index: bool
    """Whether the archive's signed index names this digest."""
    files: dict[str, str]
    """Digests of the QAT drivers' files in the package, by path below the drivers' folder."""
    compiled: dict[str, str]
    """Digests of the files it was compiled from."""

    def __str__(self) -> str:
        whole = "as the archive's index has it" if self.in_index else "NOT in the archive's index"
        unchanged = sum(self.files.get(name) == digest for name, digest in self.compiled.items())
        return (
            f"qat_4xxx: {unchanged} of {len(self.compiled)} files as in {self.package} (SHA-256 {self.sha256}, {whole})"
        )


@dataclass(frozen=True)
class Kit:
    """A kernel that can be started."""

    kernel: Kernel
    directory: str

    def path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    @property
    def release(self) -> str:
        with open(self.path("release"), encoding="utf-8") as f:
            return f.read().strip()

    def driver(self) -> Driver:
        """The unpatched qat_4xxx.ko and where its source is from, as it is now."""
        with open(self.path("source.json"), encoding="utf-8") as f:
            package = json.load(f)
        return Driver(self.path("unpatched/qat_4xxx.ko"), **package, compiled=_digests(self.path("unpatched")))

    @property
    def ready(self) -> bool:
        """Whether it was built from the files as they are now."""
        try:
            with open(self.path("built"), encoding="utf-8") as f:
                return f.read() == _ours()
        except OSError:
            return False


def kit(cache: str, series: str) -> Kit:
    """The kit of a series, built or not. RigError for a series the rig does not know."""
    if series not in KERNELS:
        raise RigError(f"no kernel {series!r}; there are {', '.join(KERNELS)}")
    return Kit(KERNELS[series], os.path.join(cache, "kernels", series))


def build(cache: str, series: str) -> Kit:
    """Build what is missing of a kit. RigError when a package is missing or something does not compile."""
    done = kit(cache, series)
    with alone(cache):
        if not done.ready:
            _build(cache, done)
    return done


def _build(cache: str, done: Kit) -> None:
    os.makedirs(done.directory, exist_ok=True)
    if not all(os.path.exists(done.path(name)) for name in ("unpacked", "source.json")):
        _unpack(done, Apt(os.path.join(cache, "apt"), done.kernel.suites))
    _build_modules(done)
    run(["depmod", "-b", done.path("root"), done.release])
    initrd.write(done.path("initrd"), done.path("modules"), os.path.join(HERE, "guest", "init"))
    with open(done.path("built"), "w", encoding="utf-8") as f:
        f.write(_ours())


def _ours() -> str:
    """A digest of the rig's files that end up in a kit."""
    digest = hashlib.sha256()
    ours = [
        "guest/init",
        "kernels.py",
        "initrd.py",
        *(os.path.join("modules", m) for m in os.listdir(f"{HERE}/modules")),
    ]
    for name in sorted(ours):
        with open(os.path.join(HERE, name), "rb") as f:
            digest.update(f.read())
    return digest.hexdigest()


def _unpack(kit: Kit, apt: Apt) -> None:
    """Fetch the packages and take what the rig needs out of them."""
    kernel = kit.kernel
    apt.update()
    images = [d for d in apt.depends(kernel.package) if d.startswith(f"linux-image-{kernel.series}.")]
    if not images:
        raise RigError(
            f"{kernel.package} of Debian {'/'.join(kernel.suites)} is no longer a {kernel.series} kernel",
            "the suite has moved on: kernels.py names the packages",
        )
    release = images[0].removeprefix("linux-image-")
    abi = release.removesuffix("-amd64")
    packages = [name.format(r=release) for name in kernel.image]
    packages += [f"linux-headers-{release}", f"linux-headers-{abi}-common", kernel.kbuild.format(a=abi)]
    source = f"linux-source-{kernel.series}"
    debs, build, root = kit.path("debs"), kit.path("build"), kit.path("root")
    for old in (debs, build, root):
        shutil.rmtree(old, ignore_errors=True)
    if kernel.newer_tools:
        packages.append("libc6")
    apt.download([*packages, source], debs)
    for deb in sorted(glob.glob(f"{debs}/*.deb")):
        name = os.path.basename(deb).split("_")[0]
        if name == source:
            _unpack_qat(deb, kernel, build)
            _note_source(kit, apt, deb, source)
        elif name.startswith(("linux-headers-", "linux-kbuild-", "libc6")):
            unpack(deb, build)
        else:
            wanted = [f"*/lib/modules/{release}/{m}" for m in (*MODULES, "vmlinuz", "config")]
            unpack(deb, root, [*wanted, f"./boot/vmlinuz-{release}", f"./boot/config-{release}"])
    if os.path.isdir(f"{root}/usr/lib/modules"):
        os.makedirs(f"{root}/lib", exist_ok=True)
        os.rename(f"{root}/usr/lib/modules", f"{root}/lib/modules")
    modules = f"{root}/lib/modules/{release}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(kit.path("modules"))
    os.symlink(modules, kit.path("modules"))
    for directory, _, files in os.walk(modules):
        for file in files:
            if ".ko" in file:
                _make_plain(os.path.join(directory, file))
    image = next(p for p in (f"{root}/boot/vmlinuz-{release}", f"{modules}/vmlinuz") if os.path.exists(p))
    config = next(p for p in (f"{root}/boot/config-{release}", f"{modules}/config") if os.path.exists(p))
    _extract_vmlinux(image, kit.path("vmlinux"))
    os.replace(config, kit.path("config"))
    shutil.rmtree(debs)
    with open(kit.path("release"), "w", encoding="utf-8") as f:
        f.write(release + "\n")
    with open(kit.path("unpacked"), "w", encoding="utf-8"):
        pass


def _unpack_qat(deb: str, kernel: Kernel, into: str) -> None:
    """The QAT drivers out of a linux-source package, which holds the tree as one .tar.xz."""
    os.makedirs(into, exist_ok=True)
    tree = f"linux-source-{kernel.series}"
    outer = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
    inner = subprocess.Popen(
        ["tar", "-xO", f"./usr/src/{tree}.tar.xz"],
        stdin=outer.stdout,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    unxz = subprocess.Popen(["xz", "-dc", "-T2"], stdin=inner.stdout, stdout=subprocess.PIPE)
    done = subprocess.run(
        ["tar", "-x", "-C", into, "--strip-components=1", "--wildcards", f"{tree}/{kernel.qat}/*"],
        stdin=unxz.stdout,
        capture_output=True,
        check=False,
    )
    for process in (unxz, inner, outer):
        process.wait()
    if done.returncode:
        raise RigError(f"{os.path.basename(deb)} holds no {kernel.qat}: {done.stderr.decode()[-300:]}")


def _note_source(kit: Kit, apt: Apt, deb: str, package: str) -> None:
    """Write down which package the drivers' source is from."""
    with open(deb, "rb") as f:
        sha256 = hashlib.file_digest(f, "sha256").hexdigest()
    about = {
        "package": os.path.basename(deb),
        "sha256": sha256,
        "in_index": sha256 in apt.digests(package),
        "files": _digests(kit.path(f"build/{kit.kernel.qat}")),
    }
    with open(kit.path("source.json"), "w", encoding="utf-8") as f:
        json.dump(about, f, indent=1)


def _digests(folder: str) -> dict[str, str]:
    """SHA-256 of the sources that qat_4xxx is compiled from."""
    found = {}
    for part in ("qat_4xxx", "qat_common"):
        for name in sorted(os.listdir(f"{folder}/{part}")):
            if name == "Makefile" or (name.endswith((".c", ".h")) and not name.endswith(".mod.c")):  # modpost's
                with open(f"{folder}/{part}/{name}", "rb") as f:
                    found[f"{part}/{name}"] = hashlib.file_digest(f, "sha256").hexdigest()
    return found


def _extract_vmlinux(image: str, into: str) -> None:
    """The ELF kernel inside a bzImage. QEMU starts it through PVH, which spares emulated decompression (2 s)."""
    with open(image, "rb") as f:
        data = f.read()
    for magic, unpacker in (
        (b"\x28\xb5\x2f\xfd", ["zstd", "-dcq"]),
        (b"\xfd7zXZ\x00", None),
        (b"\x1f\x8b\x08", ["gzip", "-dcq"]),
    ):
        at = data.find(magic)
        while at >= 0:
            if unpacker is None:
                try:
                    out = lzma.LZMADecompressor().decompress(data[at:])
                except lzma.LZMAError:
                    out = b""
            else:
                out = subprocess.run(unpacker, input=data[at:], capture_output=True, check=False).stdout
            if out.startswith(b"\x7fELF"):
                with open(into, "wb") as f:
                    f.write(out)
                return
            at = data.find(magic, at + 1)
    raise RigError(f"no kernel was found inside {image}")


SIGNATURE = b"~Module signature appended~\n"


def _make_plain(module: str) -> None:
    """Unpack a module and take its signature off.

    The look-alike offers RSA to the kernel as the real driver does, so checking a signature would wait for engines that
    are not there. It also makes loading cheaper under emulation.
    """
    data = initrd.unpacked(module)
    if data.endswith(SIGNATURE):
        # struct module_signature (include/linux/module_signature.h) ends with the length, big-endian.
        end = len(data) - len(SIGNATURE)
        length = int.from_bytes(data[end - 4 : end], "big")
        data = data[: end - 12 - length]
    os.unlink(module)
    with open(module[: module.rindex(".ko")] + ".ko", "wb") as f:
        f.write(data)


def _build_modules(kit: Kit) -> None:
    """Compile modules/ against the kernel's headers and put the results where modprobe finds them."""
    build, release = kit.path("build"), kit.release
    headers = f"{build}/usr/src/linux-headers-{release}"
    work = f"{build}/modules"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(os.path.join(HERE, "modules"), work)
    qat = f"{build}/{kit.kernel.qat}"
    os.makedirs(f"{work}/qat_common")
    for header in glob.glob(f"{qat}/qat_common/*.h"):
        shutil.copy(header, f"{work}/qat_common")
    shutil.copytree(f"{qat}/qat_4xxx", f"{work}/qat_4xxx")
    os.unlink(f"{work}/qat_4xxx/Makefile")
    _use_headers_in_place(build, headers)
    arguments = ["make", "-j2", "-C", headers, f"M={work}", "CONFIG_DEBUG_INFO_BTF=", "CONFIG_DEBUG_INFO_BTF_MODULES="]
    if kit.kernel.softhost:
        arguments.append("RIG_EXTRA=softhost.o")
    if kit.kernel.newer_tools:
        _use_newer_libc(build, headers)
        # What gcc 12 does not know, and objtool, whose work (unwinding tables, patch sites) a module can be without.
        arguments += ["CC=gcc-12", "KCFLAGS=-Wno-attributes", "CONFIG_OBJTOOL=", "CONFIG_MITIGATION_RETHUNK="]
        arguments += ["CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=", "CONFIG_CC_OPT_INLINE_MEMSET="]
    run([*arguments, "modules"])
    _build_unpatched(kit, [a for a in arguments if not a.startswith(("M=", "KCFLAGS=", "RIG_EXTRA="))])
    # Where the kernel package would have it: a QAT driver below updates/ is the mark of Intel's own stack.
    places = {"qat_4xxx.ko": f"{kit.kernel.qat}/qat_4xxx"}
    for module in glob.glob(f"{work}/*.ko"):
        name = os.path.basename(module)
        place = f"{kit.path('modules')}/kernel/{places.get(name, 'rig')}"
        os.makedirs(place, exist_ok=True)
        run(["strip", "--strip-debug", "-o", f"{place}/{name}", module])


def _build_unpatched(kit: Kit, make: list[str]) -> None:
    """Compile the kernel's qat_4xxx as it is, by its own Makefile, and keep it beside the module tree.

    A module tree has room for one qat_4xxx; guests with emulated PFs put this one into the place of the look-alike.
    """
    source, out = kit.path(f"build/{kit.kernel.qat}"), kit.path("unpatched")
    shutil.rmtree(out, ignore_errors=True)
    for part in ("qat_4xxx", "qat_common"):
        shutil.copytree(f"{source}/{part}", f"{out}/{part}")
    flags = f"KCFLAGS=-I{out}/qat_common" + (" -Wno-attributes" if kit.kernel.newer_tools else "")
    run([*make, f"M={out}/qat_4xxx", flags, "CONFIG_CRYPTO_DEV_QAT_4XXX=m", "modules"])
    run(["strip", "--strip-debug", "-o", f"{out}/qat_4xxx.ko", f"{out}/qat_4xxx/qat_4xxx.ko"])


def _use_headers_in_place(build: str, headers: str) -> None:
    """Debian's headers name each other by their installed paths; here they are not installed."""
    makefile = f"{headers}/Makefile"
    with open(makefile, encoding="utf-8") as f:
        text = f.read()
    if f"{build}/usr/src/" not in text:
        with open(makefile, "w", encoding="utf-8") as f:
            f.write(text.replace("/usr/src/", f"{build}/usr/src/"))


def _use_newer_libc(build: str, headers: str) -> None:
    """Start modpost with the C library it was linked against, which is unpacked beside it."""
    modpost = os.path.realpath(f"{headers}/scripts/mod/modpost")
    loader = glob.glob(f"{build}/usr/lib*/x86_64-linux-gnu/ld-linux-x86-64.so.2")[0]
    with open(modpost, "w", encoding="utf-8") as f:
        f.write(f'#!/bin/sh\nexec {loader} --library-path {os.path.dirname(loader)} {modpost}.real-lsb-64 "$@"\n')
