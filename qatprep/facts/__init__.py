"""What is so on a host, as frozen values. Nothing here judges, and nothing here writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qatprep.facts.snapshot import Facts, gather

__all__ = ["Facts", "gather"]


def __getattr__(name: str) -> Any:
    # Binding one VF needs two of these modules, not eleven: the whole is imported when it is asked for.
    if name in __all__:
        from qatprep.facts import snapshot

        return getattr(snapshot, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
