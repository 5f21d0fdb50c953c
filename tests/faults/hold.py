"""Whether a host and what is said of it hold after a fault."""

from __future__ import annotations

import re

from qatprep.hardware import BDF
from qatprep.simulator.faults import Ended
from qatprep.simulator.host import SimulatedHost
from qatprep.simulator.testing.fingerprint import Fingerprint as State
from tests.engine.state import difference, snapshot
from tests.faults.cases import Case
from tests.faults.journeys import DAEMON, Fell, clean, reboot

GOOD = ("applied", "unchanged", "rolled back")


def hold(case: Case) -> str:
    """How the command ended, once everything was seen to hold. Fell where something did not."""
    host = case.journey.host(case.kernel, *case.made())
    undoes = case.journey.undoes
    before, after = clean(case.journey, case.kernel)[1:]
    try:
        end = case.journey.call(host)
    except Ended:
        return _after_the_end(case)
    now = snapshot(host)
    if end.status == "partial":
        if not end.not_undone:
            raise Fell("partial, and nothing is named")
        _named(different(after if undoes else before, now), end.not_undone)
    elif end.status == ("rolled back" if undoes else "applied") or (end.status == "unchanged" and undoes):
        _same(after, now, f"after {end.status!r}")
    elif end.status != "applied":
        _same(before, now, f"after {end.status!r}")
    host.faults.faults.clear()
    if end.status == "partial" and not undoes:
        _back(case, host)
        _same(before, snapshot(host), "after partial and rollback")
    elif end.status in ("rolled back", "error") and not undoes and _seen(case):
        return end.status  # the host is as it was, and the next run was seen after another fault of this operation
    _again(case, host, after)
    if not undoes:
        _back(case, host)
        _same(before, snapshot(host), "after the next run and rollback")
    return end.status


_LAST: dict[str, tuple[object, ...]] = {}


def _seen(case: Case) -> bool:
    """Whether the case before was one of the same operations of the same journey."""
    mark = (case.journey.name, case.kernel, *(fault[1] for fault in case.faults))
    known, _LAST["case"] = _LAST.get("case") == mark, mark
    return known


def _after_the_end(case: Case) -> str:
    """The process was killed, or the power went: rollback restores, and so does the next run with rollback after it."""
    power = any(fault[0] == "power" for fault in case.faults)
    before, after = clean(case.journey, case.kernel)[1:]
    if power:
        before = _booted(case)
    for again in (False, True):
        host = case.journey.host(case.kernel, *case.made())
        try:
            case.journey.call(host)
        except Ended:
            pass
        else:
            raise Fell("it ended once by force, and then not")
        if power:
            host = reboot(host)
        else:
            host.next_process()
            host.faults.faults.clear()
        if case.journey.undoes:
            if not power:
                _again(case, host, after)
            else:
                _back(case, host)
            continue
        if again:
            if power and not case.journey.after_boot:
                continue
            _again(case, host, clean(case.journey, case.kernel, booted=True).after if power else after)
        _back(case, host)
        if power and case.journey.lasts:
            host = reboot(host)
        _same(before, snapshot(host), "after the end and " + ("the next run and rollback" if again else "rollback"))
    return "power" if power else "killed"


def _booted(case: Case) -> State:
    booted = reboot(case.journey.host(case.kernel))
    return snapshot(reboot(booted) if case.journey.lasts else booted)


def different(expected: State, now: State) -> list[str]:
    # /sys/module says which modules there are; /proc/modules lists them in the order in which they were loaded.
    return [line for line in difference(expected, now) if not line.startswith((DAEMON, "/proc/modules"))]


def _same(expected: State, now: State, when: str) -> None:
    if found := different(expected, now):
        raise Fell(f"{when}: {len(found)} differences: " + "; ".join(line[:160] for line in found[:3]))


def _named(found: list[str], names: tuple[str, ...]) -> None:
    """Whatever is not as it was belongs to something that is named."""
    for line in found:
        if not any(_about(line, name) for name in names):
            raise Fell(f"not named by {names}: {line[:160]}")


def _about(line: str, name: str) -> bool:
    """Whether a difference belongs to what `SUBJECT WHAT: ERROR` names."""
    subject, _, rest = name.partition(" ")
    what = rest.partition(":")[0]
    path = re.sub(r"^(new|gone): ", "", line).split(": ")[0]
    if what == "module":
        return "/module" in path or "/drivers/" in path or "/dev/vfio" in path or "/sys/" in path
    if what == "group":
        return path.startswith(("/etc/group", "/etc/gshadow"))
    if BDF.fullmatch(subject):
        return subject[:10] in path or "/drivers/" in path
    if "/" not in subject:
        return subject in path or path.startswith("/etc/systemd/system")
    return subject in path or subject.rsplit("/", 1)[0] in path or subject.startswith(path)


def _again(case: Case, host: SimulatedHost, after: State) -> None:
    end = case.journey.call(host)
    if end.status not in GOOD or (end.status == "rolled back" and not case.journey.undoes):
        raise Fell(f"the next run ended {end.status!r}: {end.told[-300:]}")
    _same(after, snapshot(host), f"after the next run ({end.status})")


def _back(case: Case, host: SimulatedHost) -> None:
    """Rollback until there is nothing left to undo."""
    for _ in range(6):
        end = case.journey.back(host)
        if end.status == "unchanged":
            return
        if end.status != "rolled back":
            raise Fell(f"rollback ended {end.status!r}: {end.not_undone} {end.told[-300:]}")
    raise Fell("rollback comes to no end")
