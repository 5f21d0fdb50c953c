"""What a check is. Ids are API: never reused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from qatprep.config import NodeConfig
from qatprep.facts import Facts
from qatprep.facts.pci import Pf, Vf
from qatprep.findings import Finding
from qatprep.findings.pages import title


class Stage(StrEnum):
    """The links of the chain, in order."""

    STACK = "driver stack"
    DEVICE = "device"
    CPU = "cpu"
    KERNEL = "kernel"
    IOMMU = "iommu"
    MODULES = "modules"
    FIRMWARE = "firmware"
    DRIVER = "driver"
    SERVICES = "services"
    SRIOV = "sr-iov"
    BINDING = "binding"
    NODES = "nodes"
    QATLIB = "qatlib"
    PERSISTENCE = "persistence"
    MEMLOCK = "memlock"
    RUNTIME = "runtime"
    KUBERNETES = "kubernetes"
    MESH = "mesh"
    LOG = "kernel log"


class Profile(StrEnum):
    """What the node is for."""

    QAT = "qat"
    CRYPTOMB = "cryptomb"
    AUTO = "auto"
    """Whichever the node can do."""


@dataclass(frozen=True)
class Context:
    """What a check is handed: facts, the configuration, and what earlier checks left standing."""

    facts: Facts
    config: NodeConfig
    profile: Profile
    broken: frozenset[str] = frozenset()
    """BDFs that a check this one needs found broken: nothing more is said about them."""
    findings: tuple[Finding, ...] = ()
    """What the checks before this one found; QP-LOG-001 leaves out what they explain."""

    @property
    def pfs(self) -> tuple[Pf, ...]:
        """PFs that qatlib can drive and that are not broken further up the chain."""
        return tuple(pf for pf in self.facts.pci.pfs if pf.family.supported and pf.bdf not in self.broken)

    @property
    def vfs(self) -> tuple[Vf, ...]:
        """Their VFs, and those of a VM, less the broken ones."""
        mine = tuple(vf for pf in self.pfs for vf in pf.vfs)
        loose = tuple(vf for vf in self.facts.pci.vfs if vf.family.supported)
        return tuple(vf for vf in mine + loose if vf.bdf not in self.broken)


@dataclass(frozen=True)
class Check:
    """One statement about a host.

    `run` gives nothing when the statement holds for what it looked at, else one finding for each distinct trouble. It
    gets only what no failed check in `needs` spoiled; when nothing is left, or a check in `needs` failed for the whole
    host, it is not run and its result is "blocked".
    """

    id: str
    stage: Stage
    run: Callable[[Context], Iterable[Finding]]
    needs: tuple[str, ...] = ()
    profiles: frozenset[Profile] = field(default_factory=lambda: frozenset({Profile.QAT}))
    applies: Callable[[Context], bool] | None = None
    """False where the statement has no meaning on this host (no PF in a VM): the result is "skipped"."""
    about: Callable[[Context], Iterable[str]] | None = None
    """The BDFs it looks at; None when it is about the host alone. When there are none, the result is "blocked" if
    something upstream is broken, else "skipped"."""

    saw: Callable[[Context], str] | None = None
    """What it saw where the statement holds, with numbers: "128 of 128 VFs on vfio-pci". doctor prints it in the line
    of the stage."""
    looked: Callable[[Context], str] | None = None
    """The same for what that line has no room for: JSON and --all have it. None of both: which devices it looked at
    says enough."""
    absent: Callable[[Context], str] | None = None
    """What is not here where `applies` is False, or where there is nothing to look at."""

    @property
    def title(self) -> str:
        """The statement, as it reads when it holds: from its page."""
        return title(self.id)
