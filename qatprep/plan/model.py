"""What a plan is: host-wide changes, and a lane of changes for each device."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from qatprep.facts.nodes import Holder
from qatprep.steps.base import Change

if TYPE_CHECKING:
    from qatprep.assess import Skipped


class Refusal(NamedTuple):
    """Something that must not be done now: somebody would lose by it, or it would never end."""

    subject: str
    reason: str
    holders: tuple[Holder, ...] = ()


class Plan(NamedTuple):
    host: tuple[Change, ...] = ()
    """Host-wide, in order, before everything else."""
    lanes: Mapping[str, tuple[Change, ...]] = MappingProxyType({})
    """Per PF (per VF in a VM); they do not depend on one another."""
    finish: tuple[Change, ...] = ()
    """Host-wide, in order, after the lanes: files that keep the node so, settings of the container runtime."""
    forecast: bool = False
    """The lanes of some PFs are a guess until the host-wide changes are made: their driver does not run yet."""
    skipped: tuple[Skipped, ...] = ()
    refused: tuple[Refusal, ...] = ()
    doubts: tuple[str, ...] = ()
    """What this kernel may refuse, and which VFs are lost by trying."""
    restores: bool = False
    """When all of it is done the host is as it was before: undoing it would destroy VFs for nothing."""

    @property
    def changes(self) -> tuple[Change, ...]:
        return self.host + tuple(change for lane in self.lanes.values() for change in lane) + self.finish

    @property
    def empty(self) -> bool:
        return not self.host and not self.lanes and not self.finish

    @property
    def costs(self) -> tuple[str, ...]:
        """What people lose by it, one sentence each; VFs that are destroyed may come back."""
        again = {lane[0].subject for lane in self.lanes.values() if any(change.kind == "create-vfs" for change in lane)}
        costs = []
        for change in self.changes:
            subject, _, _, cost = change.summary
            back = "; they are made again" if change.kind == "remove-vfs" and subject in again else ""
            costs += [f"{subject}: {text}{back}" for text in cost]
        return self.doubts + tuple(costs)

    def describe(self) -> dict[str, Any]:
        """For JSON output: every change, in the order in which a lane makes them."""
        return {
            "changed": not self.empty,
            "forecast": self.forecast,
            "begin": [change.describe() for change in self.host],
            "lanes": [
                {"device": name, "changes": [change.describe() for change in lane]} for name, lane in self.lanes.items()
            ],
            "finish": [change.describe() for change in self.finish],
            "skipped": [item._asdict() for item in self.skipped],
            "refused": [
                {**item._asdict(), "holders": [str(holder) for holder in item.holders]} for item in self.refused
            ],
            "doubts": list(self.doubts),
        }
