"""Making it last: the files by which a node is prepared again at every boot, and the units among them."""

from __future__ import annotations

from qatprep import persist
from qatprep.assess import Assessment, Skipped
from qatprep.checks.base import Stage
from qatprep.facts import Facts
from qatprep.facts import persist as facts_of
from qatprep.steps.base import Change
from qatprep.steps.files import InstallFile, RemoveFile, encode
from qatprep.steps.units import SetUnit


def plan(judged: Assessment) -> tuple[list[Change], list[Skipped]]:
    """What has to be installed (or, where the configuration says so, taken away) for the node to stay prepared.

    Where the configuration leaves it open, hosts without systemd, without QAT or without an installed qatprep are left
    as they are.
    """
    facts, config = judged.facts, judged.config
    found = facts.persist
    finding = judged.named(Stage.PERSISTENCE)
    if config.persist is False:
        return _removal(found), []
    if found.systemd is True and facts.has_qat and found.doubt:
        reason = f"root would run at boot what others can change: {found.doubt}"
        return [], [Skipped(facts_of.APPLY, reason, finding)]
    if found.systemd is not True or not found.program or not facts.has_qat:
        return [], [Skipped(facts_of.APPLY, _why_not(facts), finding)] if config.persist else []
    changes: list[Change] = []
    skipped: list[Skipped] = []
    for gap in persist.gaps(found, config):
        if gap.trouble in ("foreign", "unseen"):
            skipped.append(Skipped(gap.file.path, gap.why, finding))
        else:
            changes.append(_install(facts, gap.file))
    return changes, skipped


def _why_not(facts: Facts) -> str:
    found = facts.persist
    if found.systemd is not True:
        return "this host does not run systemd" if found.systemd is False else found.systemd.reason
    return "there is no qatprep on that host to be started at boot" if facts.has_qat else "there is no QAT device"


def _install(facts: Facts, file: persist.File) -> Change:
    found = facts.persist
    old = found.text(file.path)
    if file.unit:
        was = found.enabled.get(file.path) is True
        start = file.unit.endswith(".timer")
        return SetUnit(file.path, file.text, old, bool(file.wanted_by), was, file.wanted_by, start, file.purpose)
    before, owner = None if old is None else old.encode(), (0, 0, found.modes.get(file.path, file.mode))
    note = f"{'installed' if old is None else 'replaced'}: {file.purpose}"
    return InstallFile.of(file.path, file.text.encode(), before, mode=file.mode, owner=owner, note=note)


def _removal(found: facts_of.PersistFacts) -> list[Change]:
    """Our files, last first; the configuration stays."""
    changes: list[Change] = []
    for path in reversed(facts_of.FILES):
        text = found.text(path)
        if path == facts_of.CONFIG or text is None or not facts_of.is_ours(text):
            continue
        if path.startswith(facts_of.SYSTEMD_DIR):
            was = found.enabled.get(path) is True
            target = facts_of.WANTED_BY.get(path, "")
            changes.append(SetUnit(path, None, text, False, was, target, path.endswith(".timer"), ""))
        else:
            changes.append(RemoveFile(path, encode(text.encode()), (0, 0, found.modes.get(path, 0o644))))
    return changes
