"""Traces of Intel's out-of-tree QAT stack, which wants the opposite of what the in-tree one wants."""

from __future__ import annotations

import re
from typing import NamedTuple

from qatprep import hardware
from qatprep.facts.base import Unknown, exists, names
from qatprep.facts.modules import ModuleFacts
from qatprep.host.base import Host

_DEVICE_CONFIG = re.compile(r"(?:\w+)_dev\d+\.conf")
_OUT_OF_TREE = ("updates/", "extra/", "weak-updates/")
"""Where depmod(8) puts modules that do not come with the kernel."""

SHARED = ("/dev/qat_adf_ctl",)
"""The in-tree intel_qat makes this one too before 6.12 (qat_common/adf_ctl_drv.c): no trace on its own."""


class StackFacts(NamedTuple):
    modules: tuple[str, ...]
    """Loaded modules that only the out-of-tree stack has."""
    replaced: tuple[str, ...]
    """Paths of QAT modules that do not come with this kernel."""
    files: tuple[str, ...]
    """Its services, tools, device files and configuration."""

    @property
    def active(self) -> bool:
        """Whether it runs or will run at the next boot, rather than having left files behind."""
        return bool(self.modules or self.replaced or self.active_files)

    @property
    def active_files(self) -> tuple[str, ...]:
        return tuple(p for p in self.files if p not in SHARED and (p.startswith("/dev/") or "qat_service" in p))


def gather(host: Host, modules: ModuleFacts, release: str) -> StackFacts:
    loaded = tuple(name for name in hardware.OOT_MODULES if exists(host, f"/sys/module/{name}") is True)
    known = {family.module for family in hardware.FAMILIES} | {"intel_qat"}
    replaced: list[str] = []
    if not isinstance(modules.files, Unknown):
        replaced = [
            f"/lib/modules/{release}/{path}"
            for name, path in modules.files.items()
            if name in known and path.startswith(_OUT_OF_TREE)
        ]
    files = [path for path in hardware.OOT_FILES if exists(host, path) is True]
    entries = names(host, "/etc")
    if not isinstance(entries, Unknown):
        prefixes = tuple(f"{driver}_dev" for driver in hardware.DRIVERS)
        files += [f"/etc/{name}" for name in entries if name.startswith(prefixes) and _DEVICE_CONFIG.fullmatch(name)]
    return StackFacts(loaded, tuple(replaced), tuple(files))
