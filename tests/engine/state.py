"""A host's state, to compare before and after."""

from __future__ import annotations

from qatprep.simulator.host import SimulatedHost
from qatprep.simulator.testing.fingerprint import Fingerprint, difference, fingerprint

__all__ = ["difference", "snapshot"]


def snapshot(host: SimulatedHost) -> Fingerprint:
    """The fingerprint of what a host holds now."""
    return fingerprint(host.tree)
