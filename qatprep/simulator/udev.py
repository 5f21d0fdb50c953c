"""udevd, as far as VFIO nodes go: rules of the host that set owner, group and mode, late, as in life.

A rule takes effect a while after the node appeared (seen in a guest: some nodes of a bind loop were still 0600 right
after it), so here it takes effect when somebody settles or sleeps.
"""

from __future__ import annotations

import fnmatch
import re

from qatprep.hardware import IOMMU_GROUPS, PCI_DEVICES, VFIO_DEV
from qatprep.simulator.core import Core

DIRECTORIES = ("/etc/udev/rules.d", "/run/udev/rules.d", "/usr/local/lib/udev/rules.d", "/usr/lib/udev/rules.d")
_TERM = re.compile(r'\s*([A-Z]+)(?:\{[^}]*\})?\s*(==|!=|\+=|:=|=)\s*"([^"]*)"\s*(?:,|$)')


class Udev:
    def __init__(self, core: Core) -> None:
        self.core = core
        self.queue: list[str] = []

    def added(self, path: str) -> None:
        """A device node appeared."""
        self.queue.append(path)

    def trigger(self) -> None:
        """udevadm trigger: every VFIO node comes by again."""
        listing = self.core.tree.find(VFIO_DEV)
        self.queue += [
            f"{VFIO_DEV}/{name}" for name, node in (listing.children if listing else {}).items() if node.kind == "char"
        ]

    def settle(self) -> bool:
        """Work off the queue; whether there was anything in it."""
        queue, self.queue = self.queue, []
        rules = self._rules() if queue else []
        for path in queue:
            node = self.core.tree.find(path)
            if node is None:
                continue
            for terms in rules:
                self._apply(terms, path)
        return bool(queue)

    def _rules(self) -> list[list[tuple[str, str, str]]]:
        """The lines of every *.rules in order of their names, an earlier directory hiding its namesakes."""
        tree = self.core.tree
        files: dict[str, str] = {}
        for directory in DIRECTORIES:
            listing = tree.find(directory)
            for name in listing.children if listing else ():
                if name.endswith(".rules"):
                    files.setdefault(name, f"{directory}/{name}")
        rules = []
        for _, path in sorted(files.items()):
            for line in self.core.text(path).replace("\\\n", "").splitlines():
                terms = [(match[1], match[2], match[3]) for match in _TERM.finditer(line)]
                if terms and not line.lstrip().startswith("#"):
                    rules.append(terms)
        return rules

    def _apply(self, terms: list[tuple[str, str, str]], path: str) -> None:
        facts = {"SUBSYSTEM": "vfio", "KERNEL": path.rsplit("/", 1)[-1], "ACTION": "add"}
        for key, operator, value in terms:
            if operator not in ("==", "!="):
                continue
            if key == "PROGRAM":
                if self._program(value, facts["KERNEL"]) != (operator == "=="):
                    return
                continue
            matched = any(fnmatch.fnmatchcase(facts.get(key, ""), part) for part in value.split("|"))
            if matched != (operator == "=="):
                return
        node = self.core.tree.get(path)
        for key, operator, value in terms:
            if operator in ("==", "!="):
                continue
            if key == "MODE":
                node.mode = int(value, 8)
            elif key in ("GROUP", "OWNER"):
                number = self.core.account("group" if key == "GROUP" else "passwd", value)
                if number is not None and key == "GROUP":
                    node.gid = number
                elif number is not None:
                    node.uid = number

    def _program(self, command: str, kernel: str) -> bool:
        """Whether a PROGRAM of qatprep's own ends well: it accepts groups of functions whose ids are in its text.

        No program of a host is really run here; others fail, as a program that is not there does (udev(7)).
        """
        words = command.replace("%k", kernel).split()
        script = self.core.text(words[-2]) if len(words) > 1 else ""
        listing = self.core.tree.find(f"{IOMMU_GROUPS}/{kernel}/devices")
        if "qatprep" not in script or listing is None:
            return False
        good = 0
        for bdf in listing.children:
            base = f"{PCI_DEVICES}/{bdf}"
            ids = f"{self.core.text(f'{base}/vendor')}:{self.core.text(f'{base}/device')}"
            if ids in script:
                good += 1
            elif not self.core.text(f"{base}/class").startswith("0x0604"):
                return False
        return good > 0
