"""What a proof found: the step it reached, the cause it stopped for, and the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

Evidence = dict[str, Any]
"""Names and JSON values. Never operands: no key material leaves the DMA memory."""


class Step(StrEnum):
    """The steps of a proof, in order."""

    FIND = "find"
    """The VF in sysfs: there, on vfio-pci, behind an IOMMU."""
    OPEN = "open"
    """Its device node and the IOMMU: a group and a container, or a device of its own and iommufd."""
    MEMORY = "memory"
    """Three pages that the device may reach."""
    DEVICE = "device"
    """The function itself: the kernel resets it, its registers can be read."""
    MAILBOX = "mailbox"
    """The PF: version, capabilities, and which ring pair has which service."""
    RINGS = "rings"
    """Registration at the PF, one ring pair."""
    SIGN = "sign"
    """One RSA-2048 request and its answer."""
    CLOSE = "close"
    """Everything put back."""


class Cause(StrEnum):
    """Why a chain ended. Values are API."""

    # find
    NO_DEVICE = "no-device"
    NOT_BOUND = "not-bound"
    NO_IOMMU = "no-iommu"
    # open
    NODE_MISSING = "node-missing"
    NOT_PERMITTED = "not-permitted"
    DEVICE_POLICY = "device-policy"
    HELD = "held"
    NOT_VIABLE = "not-viable"
    IOMMU_REFUSED = "iommu-refused"
    # memory
    MEMLOCK = "memlock"
    MAP_REFUSED = "map-refused"
    # device
    DEVICE_REFUSED = "device-refused"
    WRONG_REGISTERS = "wrong-registers"
    FUNCTION_GONE = "function-gone"
    # mailbox
    PF_SILENT = "pf-silent"
    PF_NO_ANSWER = "pf-no-answer"
    PF_NONSENSE = "pf-nonsense"
    PF_RESTARTING = "pf-restarting"
    PF_FATAL = "pf-fatal"
    VERSION_REFUSED = "version-refused"
    NO_ASYM = "no-asym"
    # sign
    NOT_TAKEN = "not-taken"
    NO_ANSWER = "no-answer"
    STRAY_ANSWER = "stray-answer"
    REFUSED = "refused"
    WRONG = "wrong"
    # any
    DEADLINE = "deadline"
    SYSTEM_ERROR = "system-error"
    # said by who runs the proofs (qatprep.crypto.prover)
    HUNG = "hung"
    DIED = "died"


class Stop(Exception):
    """The chain ends here."""

    def __init__(self, cause: Cause, **evidence: Any) -> None:
        super().__init__(cause.value)
        self.cause = cause
        self.evidence: Evidence = evidence


@dataclass
class Seen:
    """What was learned on the way; what was not reached is empty."""

    way: str = ""
    """"group" or "cdev"."""
    device_node: str = ""
    memlock_limit: int | None = None
    """RLIMIT_MEMLOCK of the proving process in bytes; None: unlimited, or not applied to it (CAP_IPC_LOCK)."""
    dma_bytes: int = 0
    msi: int = -1
    """MSI vectors of the VF. This proof polls; libqat needs one."""
    pf_version: int = 0
    services: tuple[str, ...] = ()
    """The service of each ring pair, as the PF says."""
    capabilities: str = ""
    """32 bits as hex digits (icp_accel_capabilities)."""
    pair: int = -1
    """The ring pair used."""
    messages: int = 0
    """Messages sent to the PF."""
    requests: int = 0
    """Requests given to the device: what fw_counters should rise by."""
    answer_seconds: float = 0.0
    """From the doorbell to the answer."""
    signature: str = ""
    """256 bytes as hex digits."""


@dataclass(frozen=True)
class Proof:
    """The end of one chain."""

    bdf: str
    step: Step
    """The step reached; CLOSE when the VF signed."""
    cause: Cause | None
    """None: it signed, and the signature is right."""
    evidence: Evidence
    seen: Seen
    not_undone: tuple[str, ...] = ()
    """What could not be put back, each with its error. The reset at close makes the VF usable all the same."""
    seconds: float = 0.0

    @property
    def signs(self) -> bool:
        return self.cause is None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        seen = Seen(**{**fields["seen"], "services": tuple(fields["seen"]["services"])})
        cause = Cause(fields["cause"]) if fields["cause"] else None
        rest = {"step": Step(fields["step"]), "cause": cause, "seen": seen, "not_undone": tuple(fields["not_undone"])}
        return cls(**{**fields, **rest})


@dataclass(frozen=True)
class Limits:
    """Seconds."""

    message: float = 1.0
    """For the PF to take a message, and again to answer it. The PF gives a VF as long (adf_pfvf_utils.h)."""
    answer: float = 1.0
    """For the device to answer a request: microseconds are usual, a power-saving PF takes longer."""
    total: float = 5.0
    """From the first message to the signature."""


@dataclass
class Entry:
    """One line of a trace."""

    t: float
    """Seconds since the proof began."""
    step: Step
    what: str
    values: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {"t": round(self.t, 6), "step": self.step.value, "what": self.what, **self.values}
