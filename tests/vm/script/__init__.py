"""The script that the simulated kernel and real ones have to answer alike (../play.py has the words).

It is written in acts. The model is started again from the guest's state at the beginning of each, so that what it makes
of a recorded host is held against the kernel too. Every act leaves its PFs up and without VFs for the next.
"""

from __future__ import annotations

from .pf import creating_vfs, loading, no_driver, services, states, vfs_and_state
from .vfio import binding, held, ids, overrides, rebinding, reloading

ACTS = (
    no_driver,
    loading,
    states,
    services,
    creating_vfs,
    vfs_and_state,
    binding,
    overrides,
    ids,
    held,
    rebinding,
    reloading,
)
NAMES = [act.__name__ for act in ACTS]


def acts() -> list[list[str]]:
    """Each act as lines of operations."""
    return [list(act()) for act in ACTS]
