"""qatprep gen-conf --stage-kernel-arguments: into grub.d, through the engine; what remains is said, never done."""

from __future__ import annotations

from qatprep.cli.session import Session
from qatprep.exits import OF_STATUS, ExitCode
from qatprep.host.base import Host


def stage_arguments(session: Session, host: Host, *, yes: bool, as_json: bool) -> ExitCode:
    """Status 6 once arguments wait for update-grub and a reboot; 0 where none is needed."""
    from qatprep import facts
    from qatprep.cli.ask import agreed
    from qatprep.cli.select import to_undo
    from qatprep.engine.bootstrap import Result, bootstrap
    from qatprep.persist.arguments import NEEDED
    from qatprep.plan.arguments import stage
    from qatprep.plan.model import Plan
    from qatprep.report.lines import undo_words
    from qatprep.report.plan import result_document

    found = stage(host, facts.gather(host))
    if found is None:
        result = Result("unchanged", Plan())
    else:
        staging = found
        result = bootstrap(
            host,
            None,
            command="gen-conf --stage-kernel-arguments",
            planner=lambda _: staging.plan,
            confirm=lambda plan: yes or agreed((), f"Write {plan.changes[0].subject}?"),
        )
    if as_json:
        session.json({**result_document(result, host.label, "command line"), "commands": _next(found and found.way)})
    if result.status == "declined":
        return ExitCode.OK
    if result.failure:
        session.say(f"failed: {result.failure.message}")
        return OF_STATUS[result.status]
    if found is None:
        if not as_json:
            session.line("Nothing to stage: the IOMMU is on.")
        return ExitCode.OK
    if not as_json:
        state = "staged already" if found.waiting else "staged"
        session.line(f"{' '.join(NEEDED)}: {state} in {found.way.path}. What remains is yours to run:")
        for command in _next(found.way):
            session.line(f"  {command}")
        if result.run:
            session.say(undo_words(to_undo(session, result.run)))
    return ExitCode.REBOOT


def _next(way: object) -> list[str]:
    from qatprep.persist.arguments import Way

    return [*way.commands, "reboot"] if isinstance(way, Way) else []
