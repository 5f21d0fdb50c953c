"""The proof: which PFs signed, when, and how they were set up then. It is in /run, so it is gone with the boot.

Whoever signs writes it (crypto/prove.py); everybody else only reads it. A PF that is changed afterwards keeps its
signature in the file, and the proof is void for it: outcome.py compares what the PF was then with what it is now.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from typing import Any

from qatprep import json_input
from qatprep.facts.base import ABSENT, Unknown, shaped, unknown
from qatprep.facts.health import FATAL, Health
from qatprep.facts.pci import Pf, Services, Vf
from qatprep.host.base import Host
from qatprep.host.trust import doubt
from qatprep.text import gated

PATH = "/run/qatprep/proof.json"
SCHEMA = "qatprep.proof/1"
_LIMIT = 1 << 20
"""Bytes."""


@dataclass(frozen=True)
class Signed:
    """What one PF (in a VM: one VF), or the CPU, signed."""

    provider: str
    """The library that signed, with its version."""
    right: int
    """Signatures made and found right by another library."""
    counted: int | None
    """Responses that the PF's firmware counted meanwhile; None where it does not say (before Linux 6.6)."""
    time: str
    """UTC, ISO 8601 with seconds."""
    by: str
    """What was run: "smoke", "doctor --prove", "bootstrap", "boot"."""
    seal: Mapping[str, str] = field(default_factory=dict)
    """What the device was like (`seal`): the signature is valid as long as this is unchanged."""
    void: str = ""
    """Why it is void, "" while it does."""


@dataclass(frozen=True)
class Proof:
    boot: str
    """The boot at which it was made (Host.boot_id)."""
    devices: Mapping[str, Signed] = field(default_factory=dict)
    """By BDF."""
    cryptomb: Signed | None = None


def gather(host: Host) -> Proof | Unknown | None:
    """The proof of this boot; None where there is none, or only that of an earlier boot; Unknown where the file cannot
    be read, is not root's alone to write, or is not a proof."""
    try:
        data = host.read(PATH, limit=_LIMIT)
    except OSError as e:
        return None if e.errno in ABSENT else unknown(e)
    if why := doubt(host, PATH):
        return Unknown(f"{PATH} is not believed: {why}")
    try:
        document = gated(json_input.loads(data))
    except ValueError as e:
        return Unknown(f"{PATH}: not JSON: {e}")
    form = json.loads(files("qatprep.schema").joinpath("proof.json").read_text(encoding="utf-8"))
    if (wrong := shaped(PATH, document, form)) is not None:
        return wrong
    found = document["cryptomb"]
    devices = {bdf: Signed(**entry) for bdf, entry in document["devices"].items()}
    proof = Proof(document["boot"], devices, Signed(**found) if found else None)
    return proof if proof.boot == host.boot_id() else None


def save(host: Host, proof: Proof) -> None:
    """Write the proof: root's, mode 0644, replaced as a whole. QatprepError where the folder is not root's alone."""
    from qatprep.host.trust import require

    host.mkdir(PATH.rsplit("/", 1)[0])
    require(host, PATH, "the proof")
    document: dict[str, Any] = {"schema": SCHEMA, **asdict(proof)}
    host.replace(PATH, (json.dumps(document, indent=1) + "\n").encode(), mode=0o644)


def forget(host: Host, bdfs: Mapping[str, str]) -> None:
    """Say for these devices why the proof is void from now on. Nothing where there is no proof."""
    proof = gather(host)
    if not isinstance(proof, Proof):
        return
    touched = {
        bdf: replace(proof.devices[bdf], void=why)
        for bdf, why in bdfs.items()
        if bdf in proof.devices and not proof.devices[bdf].void
    }
    if touched:
        save(host, replace(proof, devices={**proof.devices, **touched}))


def seal(device: Pf | Vf, health: Health | None = None) -> dict[str, str]:
    """What a signature is valid for: as long as this text is the same, the device is the one that signed.

    Of health, what the driver counted since it started the PF: queries of the heartbeat that failed, fatal errors.
    """
    if isinstance(device, Vf):
        return {"binding": _text(device.driver)}
    services = sorted(device.services.tokens) if isinstance(device.services, Services) else [_text(device.services)]
    bound = sum(vf.bound is True for vf in device.vfs)
    return {
        "driver": _text(device.driver),
        "state": _text(device.state),
        "services": ";".join(services),
        "VFs": str(len(device.vfs)),
        "bindings": f"{bound} of {len(device.vfs)} VFs on VFIO",
        "health": f"{_text(health.failed)} failed, {health.errors.get(FATAL, 0)} fatal" if health else "unknown",
    }


def _text(value: object) -> str:
    return "unknown" if isinstance(value, Unknown) else "none" if value is None else str(value)
