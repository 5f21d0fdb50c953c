"""Loading kernel modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from qatprep.facts.base import exists
from qatprep.facts.modules import normal
from qatprep.host.base import Host
from qatprep.steps import places as place
from qatprep.steps.base import BLOCKING, Change, ChangeFailed, Summary
from qatprep.steps.places import Place

_MODPROBE_DEADLINE = 60.0
"""Seconds: loading a QAT module starts every PF, about 0.2 s each."""


@dataclass(frozen=True)
class LoadModule(Change):
    kind: ClassVar[str] = "load-module"
    what: ClassVar[str] = "module"
    places: ClassVar[Mapping[str, Place]] = {"name": place.NAME, "missing": place.NAME}
    outcomes: ClassVar[Mapping[str, Place]] = {"loaded": place.NAME}

    name: str
    missing: tuple[str, ...]
    """Itself and what it needs, as far as it was not loaded before."""

    @property
    def summary(self) -> Summary:
        return Summary(self.name, "not loaded", "loaded")

    def do(self, host: Host) -> Mapping[str, Any]:
        old = set(host.listdir("/sys/module"))
        result = host.run(["modprobe", self.name], deadline=_MODPROBE_DEADLINE)
        host.settle()
        outcome = {"loaded": sorted(name for name in set(host.listdir("/sys/module")) - old if self._came(host, name))}
        if result.rc != 0:
            raise ChangeFailed(
                f"modprobe {self.name} ended with status {result.rc}: {result.stderr.text.strip() or 'no message'}",
                "see the end of `dmesg`; `qatprep doctor` says more",
                outcome,
            )
        if not _loaded(host, self.name):
            raise ChangeFailed(
                f"modprobe {self.name} reports success, but /sys/module/{normal(self.name)} is not there", "", outcome
            )
        return outcome

    def _came(self, host: Host, module: str) -> bool:
        """Whether a new module came with ours rather than by chance at the same time.

        That is what modules.dep names, and what is not a driver: algorithms that the kernel's crypto asks for by
        itself. A driver that udev loaded meanwhile has devices, which must not lose it when we go back.
        """
        return module in self.missing or exists(host, f"/sys/module/{module}/drivers") is False

    def undo(self, host: Host, outcome: Mapping[str, Any] | None = None) -> None:
        # Exactly what came with it goes, in whatever order their use of one another allows: modprobe -r would take
        # idle modules that were there before as well.
        came: list[str] | None = (outcome or {}).get("loaded")
        loaded = [name for name in (self.missing if came is None else came) if _loaded(host, name)]
        while loaded:
            tried = [(name, host.run(["rmmod", name], deadline=BLOCKING)) for name in loaded]
            kept = [(name, result.stderr.text.strip()) for name, result in tried if _loaded(host, name)]
            if len(kept) == len(loaded):
                if came is None and (others := self._followers(host, loaded)):
                    loaded += others
                    continue
                if came is None and not _loaded(host, self.name):
                    return  # it was cut off: what others need by now may have come with them
                raise ChangeFailed(f"rmmod {kept[0][0]} failed: {kept[0][1]}", "it stays loaded, which harms nothing")
            loaded = [name for name, _ in kept]

    def _followers(self, host: Host, kept: list[str]) -> list[str]:
        """Modules that use these, are not among them, and have no driver: vfio_iommu_type1, which vfio asks for.

        They cannot be older than what they use, and none of that was loaded before. One that is in use stays.
        """
        try:
            lines = host.read_text("/proc/modules").text.splitlines()
        except OSError:
            return []
        fields = [line.split() for line in lines]
        users = {row[0]: row[3].strip(",").split(",") for row in fields if len(row) > 3}
        found = {user for name in kept for user in users.get(normal(name), []) if user != "-"}
        return sorted(name for name in found - set(kept) if self._came(host, name) and _loaded(host, name))


def _loaded(host: Host, name: str) -> bool:
    return exists(host, f"/sys/module/{normal(name)}") is True
