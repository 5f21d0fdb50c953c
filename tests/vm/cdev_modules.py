"""VFIO with a device node for each device, and iommufd: Debian's kernels have neither, so they are built as modules.

The source is the kernel's own, unchanged; cdev/Kbuild switches the options on that Debian leaves off.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from .errors import RigError
from .extras import beside, once
from .kernels import HERE, Kit
from .packages import Apt, run

SOURCES = ("drivers/vfio", "drivers/iommu/iommufd", "drivers/iommu/iommu-priv.h", "lib/interval_tree.c")
IN_ORDER = ("iommufd", "vfio", "vfio_iommu_type1", "vfio-pci-core", "vfio-pci")
"""As insmod must be given them; irqbypass comes before."""


def modules(cache: str, kit: Kit) -> list[str]:
    """The modules' paths, in the order they are loaded in. RigError when they cannot be built."""
    directory = once(cache, f"cdev-{kit.release}", lambda folder: _build(cache, kit, folder))
    return [f"{directory}/{name}.ko" for name in IN_ORDER]


def _build(cache: str, kit: Kit, directory: str) -> None:
    package = f"linux-source-{kit.kernel.series}"
    apt = Apt(os.path.join(cache, "apt"), kit.kernel.suites)
    apt.update()
    with beside(directory) as debs, beside(directory) as work:
        (deb,) = apt.download([package], debs)
        _unpack(deb, package, work)
        os.rename(f"{work}/drivers/vfio", f"{work}/vfio")
        os.rename(f"{work}/drivers/iommu/iommufd", f"{work}/iommufd")
        os.rename(f"{work}/drivers/iommu/iommu-priv.h", f"{work}/iommu-priv.h")
        _span_iterator(f"{work}/lib/interval_tree.c", f"{work}/iommufd/interval_span.c")
        for makefile in ("vfio/Makefile", "vfio/pci/Makefile", "iommufd/Makefile"):
            os.unlink(f"{work}/{makefile}")
        shutil.copy(os.path.join(HERE, "cdev", "Kbuild"), f"{work}/Kbuild")
        headers = kit.path(f"build/usr/src/linux-headers-{kit.release}")
        no_btf = ["CONFIG_DEBUG_INFO_BTF=", "CONFIG_DEBUG_INFO_BTF_MODULES="]
        run(["make", "-j2", "-C", headers, f"M={work}", *no_btf, "modules"])
        for name in IN_ORDER:
            place = "vfio/" if name == "vfio_iommu_type1" else ""
            run(["strip", "--strip-debug", "-o", f"{directory}/{name}.ko", f"{work}/{place}{name}.ko"])


def _unpack(deb: str, package: str, into: str) -> None:
    """The folders of SOURCES out of a linux-source package, which holds the tree as one .tar.xz."""
    outer = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
    inner = subprocess.Popen(["tar", "-xO", f"./usr/src/{package}.tar.xz"], stdin=outer.stdout, stdout=subprocess.PIPE)
    wanted = [f"{package}/{source}" for source in SOURCES]
    done = subprocess.run(
        ["tar", "-xJ", "-C", into, "--strip-components=1", *wanted],
        stdin=inner.stdout,
        capture_output=True,
        check=False,
    )
    for process in (inner, outer):
        process.wait()
    if done.returncode:
        raise RigError(f"{os.path.basename(deb)} lacks one of {', '.join(SOURCES)}: {done.stderr.decode()[-300:]}")


def _span_iterator(source: str, into: str) -> None:
    """The part of lib/interval_tree.c that Debian's kernel was built without; the rest it has."""
    with open(source, encoding="utf-8") as f:
        text = f.read()
    begin = text.index("#ifdef CONFIG_INTERVAL_TREE_SPAN_ITER")
    end = text.index("#endif", begin) + len("#endif")
    with open(into, "w", encoding="utf-8") as f:
        f.write("#include <linux/interval_tree.h>\n#include <linux/export.h>\n#include <linux/bug.h>\n")
        f.write(text[begin:end] + "\n")
