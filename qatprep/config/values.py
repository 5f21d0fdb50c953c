"""What a configuration is, once it is read: frozen values with their defaults."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from qatprep import hardware
from qatprep.facts.pci import Pf, Services
from qatprep.yaml_text import Place

if TYPE_CHECKING:
    from qatprep.facts import Facts

PATH = "/etc/qatprep.yaml"
KEEP = "keep"
DEFAULTS = "built-in defaults"
OTHERS = 0o007
"""The bits of a mode that let every user of the host in."""


@dataclass(frozen=True)
class PfConfig:
    """What one PF should be."""

    services: frozenset[str] | None = frozenset({"asym", "sym"})
    """None: leave them as they are."""
    vfs: bool = True
    driver: str = hardware.VFIO_PCI
    """"none": leave the VFs without a driver."""
    auto_reset: bool | None = None
    """Whether the driver restarts it after a fatal error. None: leave it as it is."""


PF_KEYS = tuple(field.name for field in fields(PfConfig))
"""Keys of `devices` and of an override."""


@dataclass(frozen=True)
class Override:
    """An exception: the keys that are given, for the PFs that match."""

    device: str
    """Glob of a BDF, "" for any."""
    numa_node: int | None
    values: tuple[tuple[str, Any], ...]
    family: str = ""
    """Name of a family in the hardware table, "" for any."""

    def matches(self, pf: Pf) -> bool:
        """6b:00.0 is 0000:6b:00.0, as on the command line."""
        glob = self.device.lower()
        named = any(fnmatch.fnmatchcase(pf.bdf, wanted) for wanted in (glob, f"0000:{glob}"))
        return (
            (not glob or named)
            and (self.numa_node is None or self.numa_node == pf.numa_node)
            and self.family in ("", pf.family.name)
        )

    def __str__(self) -> str:
        named = {"device": self.device, "family": self.family}
        parts = [f"{key} {value}" for key, value in named.items() if value]
        return " and ".join(parts + ([f"numa_node {self.numa_node}"] if self.numa_node is not None else []))


@dataclass(frozen=True)
class ContainersConfig:
    """What the container runtime is to let containers do."""

    memlock: int = 0
    """Bytes; 0 is the rule (runtime/memlock.py), KEEP_MEMLOCK leaves the unit as it is."""
    device_ownership: bool = False
    """Switch it on; False leaves it as it is, on or off."""
    restart: str = ""
    """The unit to restart when something needs it; "" never."""
    may_edit: tuple[str, ...] = ()
    """Files of others that device ownership or memlock may be set in."""


KEEP_MEMLOCK = -1


@dataclass(frozen=True)
class NodeConfig:
    devices: PfConfig = PfConfig()
    overrides: tuple[Override, ...] = ()
    group: str = "qat"
    mode: int = 0o660
    smoke: bool = True
    persist: bool | None = None
    """Whether the node is prepared again at every boot. None: where systemd runs it and qatprep is installed there."""
    containers: ContainersConfig = ContainersConfig()
    metrics: str = ""
    """Where a timer writes metrics for Prometheus' textfile collector, "" for nowhere."""
    envoy: tuple[int, int] | None = None
    """Version of the node's Envoy: its crypto_mb decides which CPUs CryptoMB works on. None: not known."""
    source: str = DEFAULTS
    document: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """What was asked for, in the configuration's own language: files and --set together."""
    places: Mapping[tuple[str | int, ...], Place] = field(default_factory=dict, compare=False, repr=False)
    """Where each value of the document comes from, by its path; its --set is such a place too."""

    def of(self, pf: Pf) -> PfConfig:
        values: dict[str, Any] = {key: getattr(self.devices, key) for key in PF_KEYS}
        for override in self.overrides:
            if override.matches(pf):
                values.update(override.values)
        return PfConfig(**values)

    def origin(self, pf: Pf, key: str) -> tuple[str | int, ...]:
        """The path of the value that `of` gives a PF."""
        for index, override in reversed(list(enumerate(self.overrides))):
            if override.matches(pf) and key in dict(override.values):
                return ("overrides", index, key)
        return ("devices", key)

    def place(self, path: tuple[str | int, ...]) -> Place:
        """Where a value comes from, the built-in defaults where nobody said anything."""
        return self.places.get(path, Place(DEFAULTS))


def memlock_for(facts: Facts, config: NodeConfig) -> int:
    """Bytes of memlock: the configuration's, else room for one VF of each PF that can sign (more of one PF bring
    nothing).
    """
    from qatprep.runtime.memlock import needed

    return config.containers.memlock if config.containers.memlock > 0 else needed(_signing_vfs(facts, config))


def memlock_need(facts: Facts, config: NodeConfig) -> str:
    """How much that is and for what: "QAT needs 192M for 8 VFs"."""
    from qatprep.runtime.memlock import spell
    from qatprep.text import plural

    size = spell(memlock_for(facts, config))
    if config.containers.memlock > 0:
        return f"the configuration wants {size}"
    return f"QAT needs {size} for {plural(_signing_vfs(facts, config), 'VF')}"


def _signing_vfs(facts: Facts, config: NodeConfig) -> int:
    signing = [
        pf for pf in facts.pci.pfs if pf.family.supported and (config.of(pf).services or _has(pf.services)) >= {"asym"}
    ]
    alone = [vf for vf in facts.pci.vfs if vf.family.supported]  # in a VM: of which PFs they are cannot be seen
    return len(signing) + len(alone)


def _has(services: object) -> frozenset[str]:
    return services.tokens if isinstance(services, Services) else frozenset()


def unmatched(config: NodeConfig, facts: Facts) -> list[str]:
    """Overrides that no PF of this host matches, in words: a slip as a rule, or a configuration that several hosts
    share.
    """
    pfs = [pf for pf in facts.pci.pfs if pf.family.supported]
    return [
        f"{config.place(('overrides', index))}: no PF of this host matches the override for {override}"
        for index, override in enumerate(config.overrides)
        if not any(override.matches(pf) for pf in pfs)
    ]
