"""Journals cut off, damaged, foreign or of a later version; the order of runs; what rollback makes of them."""

from __future__ import annotations

import dataclasses
import json
from typing import get_type_hints

import pytest

from qatprep.cli.open_host import open_host
from qatprep.config import NodeConfig, parse
from qatprep.engine import journal
from qatprep.engine.bootstrap import bootstrap, undoable
from qatprep.engine.run import undo_run
from qatprep.errors import InputError, QatprepError
from qatprep.exits import ExitCode
from qatprep.simulator.faults import Fault, Faults
from qatprep.simulator.host import SimulatedHost
from qatprep.steps.base import REGISTRY, _import_all
from tests.conftest import qatprep
from tests.engine.state import difference, snapshot

CONFIG = NodeConfig(smoke=False)
PF = "0000:70:00.0"


def simulated(*faults: Fault) -> SimulatedHost:
    host = open_host("/", "spr-2s")
    assert isinstance(host, SimulatedHost)
    host.faults = Faults(*faults)
    return host


def prepared() -> tuple[SimulatedHost, str]:
    host = simulated()
    return host, bootstrap(host, CONFIG, only=PF.__eq__).run


def path(run: str) -> str:
    return f"{journal.DIRECTORY}/{run}.jsonl"


def lines(host: SimulatedHost, run: str) -> list[str]:
    return host.read_text(path(run), limit=1 << 26).raw.splitlines()


def rewrite(host: SimulatedHost, run: str, changed: list[str], end: str = "\n") -> None:
    host.replace(path(run), ("\n".join(changed) + end).encode(), mode=0o600)


def damage(host: SimulatedHost, run: str) -> None:
    changed = lines(host, run)
    changed[3] = changed[3][:-9]
    rewrite(host, run, changed)


def test_all_runs_are_undone_newest_first() -> None:
    host = simulated()
    before = snapshot(host)
    for words in (
        ("bootstrap", "--no-smoke"),
        ("device", "unbind", "6b:00.1"),
        ("device", "services", "asym", "70:00.0"),
    ):
        assert qatprep(*words, "--yes", host=host).code == ExitCode.OK
    every = [run.id for run in journal.runs(host)]
    assert len(every) == 3
    with pytest.raises(InputError, match="changed the same since"):
        undoable(host, every[0])
    assert [run.id for run in undoable(host, "all")] == every[::-1]
    called = qatprep("rollback", "all", "--yes", host=host)
    assert called.code == ExitCode.OK, called.err
    assert difference(before, snapshot(host)) == []
    assert undoable(host, "all") == []
    damage(host, every[0])
    with pytest.raises(QatprepError, match="is not known"):
        undoable(host, "all")


def test_a_damaged_journal_is_told_and_keeps_nothing_from_being_prepared() -> None:
    host, run = prepared()
    damage(host, run)
    listed = qatprep("rollback", "--list", host=host)
    assert listed.code == ExitCode.OK
    assert "damaged" in listed.out and f"{path(run)}:4" in listed.err
    back = qatprep("rollback", host=host)
    assert back.code == ExitCode.ERROR
    assert f"{path(run)}:4" in back.err and "move this file away" in back.err
    named = qatprep("rollback", run, host=host)
    assert named.code == ExitCode.ERROR and f"{path(run)}:4" in named.err
    assert qatprep("status", host=host).code in (ExitCode.OK, ExitCode.FINDINGS)
    assert bootstrap(host, CONFIG).status == "applied"
    assert qatprep("rollback", host=host).code == ExitCode.OK  # the run after it can be undone


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"event": "start", "schema": "qatprep.journal/9", "version": "9.0"}, ["qatprep.journal/9", "qatprep 9.0"]),
        ({"event": "intent", "n": 1, "lane": "", "change": {"kind": "fold-space"}}, ["'fold-space'"]),
        ({"event": "intent", "n": 1, "lane": "", "change": {"kind": "create-group", "who": "x"}}, ["who"]),
        ({"event": "intent", "n": 1, "lane": "", "change": "x"}, ["understands"]),
        ({"event": "done", "n": 77, "outcome": None}, ["77"]),
    ],
)
def test_a_journal_of_another_version(event: dict[str, object], words: list[str]) -> None:
    host, run = prepared()
    start = [] if event["event"] == "start" else lines(host, run)[:1]
    rewrite(host, run, [*start, json.dumps(event)])
    with pytest.raises(QatprepError) as caught:
        undoable(host)
    assert all(word in caught.value.message for word in [path(run), *words])


def test_other_files_beside_the_journals_are_nobodys_business() -> None:
    host, run = prepared()
    for name in ("zzz.jsonl", f"{run}.jsonl.bak", "notes.txt"):
        host.replace(f"{journal.DIRECTORY}/{name}", b"not ours\n")
    assert [found.id for found in journal.runs(host)] == [run]
    assert qatprep("rollback", host=host).code == ExitCode.OK


def test_a_cut_last_line_is_as_if_it_had_not_been_written() -> None:
    host, run = prepared()
    before = journal.runs(host)[0]
    changed = lines(host, run)
    rewrite(host, run, [*changed[:-1], changed[-1][:9]], end="")
    cut = journal.runs(host)[0]
    assert cut.cut_off and cut.entries == before.entries
    assert undo_run(host, cut) == []
    assert journal.runs(host)[0].status == "rolled back"


def test_text_with_every_kind_of_line_end_stays_on_its_line() -> None:
    host = simulated()
    host.mkdir("/var/lib/qatprep")
    book = journal.Journal(host, "device \x85\u2028\u2029\x0b\x1c bind")
    book.end(journal.APPLIED)
    assert journal.runs(host)[0].command == r"device \x85\u2028\u2029\x0b\x1c bind"


def test_runs_stay_in_order_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    host, first = prepared()
    before = snapshot(host)
    monkeypatch.setattr(host, "wallclock", lambda: "2001-01-01T00:00:00Z")
    second = bootstrap(host, parse("", "a test", ["devices.services=dc"]), only=PF.__eq__).run
    assert second > first
    assert [run.id for run in journal.runs(host)] == [first, second]
    assert journal.runs(host)[1].time == "2001-01-01T00:00:00Z"
    assert [run.id for run in undoable(host)] == [second]
    assert undo_run(host, undoable(host)[0]) == []
    assert difference(before, snapshot(host)) == []


def test_a_run_is_not_undone_below_a_later_one() -> None:
    host = simulated()
    before = snapshot(host)
    first = bootstrap(host, CONFIG, only=PF.__eq__).run
    between = snapshot(host)
    second = bootstrap(host, parse("", "a test", ["devices.services=dc"]), only=PF.__eq__).run
    with pytest.raises(InputError) as caught:
        undoable(host, first)
    assert second in caught.value.message and PF in caught.value.message and second in caught.value.hint
    assert qatprep("rollback", second, host=host).code == ExitCode.OK
    assert difference(between, snapshot(host)) == []
    assert qatprep("rollback", first, host=host).code == ExitCode.OK
    assert difference(before, snapshot(host)) == []


def test_after_a_boot_a_later_run_is_in_nobodys_way() -> None:
    host = simulated()
    first = bootstrap(host, CONFIG, only=PF.__eq__).run
    bootstrap(host, parse("", "a test", ["devices.services=dc"]), only=PF.__eq__)
    host = host.reboot()
    assert [run.id for run in undoable(host, first)] == [first]
    assert undo_run(host, undoable(host, first)[0]) == []
    assert "qat:" not in host.read_text("/etc/group")


def test_the_journal_cannot_be_begun() -> None:
    for errno_, op in ((30, "mkdir"), (28, "append")):
        host = simulated(Fault("errno", 1, errno_, op=op, when="half", times=0))
        before = snapshot(host)
        called = qatprep("bootstrap", host=host)
        assert called.code == ExitCode.ERROR
        assert "cannot write the journal /var/lib/qatprep/runs" in called.err and "fix:" in called.err
        assert "mistake" not in called.err
        assert difference(before, snapshot(host)) == []


def test_a_group_that_has_members_by_now_is_left() -> None:
    host, run = prepared()
    text = host.read_text("/etc/group").raw
    assert "\nqat:" in text
    host.replace(
        "/etc/group",
        "".join(f"{x}envoy\n" if x.startswith("qat:") else f"{x}\n" for x in text.split("\n")[:-1]).encode(),
    )
    back = qatprep("rollback", host=host)
    assert back.code == ExitCode.PARTIAL
    assert "qat has members now (envoy)" in back.out
    host.replace("/etc/group", text.encode())
    assert qatprep("rollback", run, host=host).code == ExitCode.OK
    assert "\nqat:" not in host.read_text("/etc/group")


def test_a_run_under_way_is_not_called_cut_off() -> None:
    host, run = prepared()
    rewrite(host, run, lines(host, run)[:-1])
    assert "cut off" in qatprep("rollback", "--list", host=host).out
    with host.lock("/run/qatprep.lock"):
        assert "under way" in qatprep("rollback", "--list", host=host).out
        assert qatprep("status", "-o", "json", host=host).json["last_run"]["status"] == "under way"


def test_metrics_of_a_host_with_a_damaged_journal() -> None:
    host, run = prepared()
    damage(host, run)
    called = qatprep("metrics", host=host)
    assert called.code == ExitCode.OK and "qatprep_last_run" not in called.out


OWN_DEVICES: dict[str, object] = {
    "main": "/etc/containerd/config.toml",
    "target": "/etc/containerd/config.toml",
    "why": "",
    "program": "containerd",
    "may_edit": [],
    "paths": [],
    "olds": [],
    "news": [],
    "folders": [],
}

INTENT = {"event": "intent", "n": 1, "lane": ""}
EVIL = [
    {"kind": "remove-file", "path": "/etc/cron.d/evil", "old": "KiAqICogKiAqIHJvb3QgaWQK", "old_owner": [0, 0, 420]},
    {"kind": "remove-file", "path": "/etc/udev/../cron.d/evil", "old": "", "old_owner": [0, 0, 420]},
    {"kind": "install-file", "path": "/etc/shadow", "new": "", "mode": 420, "old": None, "old_owner": None, "note": ""},
    {
        "kind": "systemctl",
        "action": [],
        "undo_action": ["start", "evil"],
        "unit": "a.service",
        "words": "",
        "price": "",
    },
    {"kind": "create-group", "name": "--root=/tmp"},
    {"kind": "load-module", "name": "../x", "missing": []},
    {"kind": "start-pf", "pf": "../../../../etc"},
    {"kind": "start-pf", "pf": 7},
    {"kind": "bind-pf", "pf": "0000:6b:00.0", "driver": "../../etc"},
    {"kind": "create-vfs", "pf": "0000:6b:00.0", "total": "16", "old_state": "up"},
    {"kind": "remove-vfs", "pf": "0000:6b:00.0", "then": "up", "vfs": [[0, "../x", "", "", 0, 0, 0]]},
    {"kind": "remove-vfs", "pf": "0000:6b:00.0", "then": "up", "vfs": [[0, "x"]]},
    {"kind": "device-ownership", **OWN_DEVICES, "main": "/etc/passwd"},
    {"kind": "device-ownership", **OWN_DEVICES, "program": "/bin/sh"},
]


@pytest.mark.parametrize("change", EVIL, ids=lambda change: str(change["kind"]))
def test_a_journal_is_data_and_holds_only_what_qatprep_writes(change: dict[str, object]) -> None:
    host, run = prepared()
    rewrite(host, run, [lines(host, run)[0], json.dumps({**INTENT, "change": change})])
    assert "is not what qatprep" in journal.runs(host)[0].problem


@pytest.mark.parametrize(
    ("kind", "change", "outcome"),
    [
        ("load-module", {"name": "x", "missing": []}, {"loaded": ["--force"]}),
        (
            "device-ownership",
            OWN_DEVICES,
            {"path": "/etc/shadow", "old": "", "new": "", "owner": [0, 0, 420]},
        ),
    ],
)
def test_an_outcome_is_data_as_well(kind: str, change: dict[str, object], outcome: dict[str, object]) -> None:
    host, run = prepared()
    events = [{**INTENT, "change": {"kind": kind, **change}}, {"event": "done", "n": 1, "outcome": outcome}]
    rewrite(host, run, [lines(host, run)[0], *map(json.dumps, events)])
    assert f"{kind}: outcome" in journal.runs(host)[0].problem


def test_every_kind_of_change_says_what_its_texts_may_be() -> None:
    _import_all()
    for cls in REGISTRY.values():
        hints = get_type_hints(cls)
        texts = {field.name for field in dataclasses.fields(cls) if "str" in str(hints[field.name])}
        assert texts == set(cls.places), cls


@pytest.mark.parametrize("tail", ["\0" * 4096, "garbage", '{"event":"done\0\0', "{}"])
def test_a_tail_that_is_no_line_is_damage_and_not_nothing_to_undo(tail: str) -> None:
    host, run = prepared()
    written = lines(host, run)
    for keep in (0, 1, 5, len(written)):
        rewrite(host, run, ["", *written][: keep + 1][1:], end=("\n" if keep else "") + tail)
        back = qatprep("rollback", host=host)
        assert back.code == ExitCode.ERROR and "no line of a journal" in back.err


def test_ids_compare_as_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    host, run = prepared()
    text = host.read_text(path(run)).raw
    stamp = run.partition("-")[0]
    for number in ("9999", "10000"):
        other = f"{stamp}-{number}"
        host.replace(path(other), text.replace(run, other).encode(), mode=0o600)
    assert [found.id for found in journal.runs(host)] == [run, f"{stamp}-9999", f"{stamp}-10000"]
    monkeypatch.setattr(host, "wallclock", lambda: "2001-01-01T00:00:00Z")
    assert journal.Journal(host, "test").id == f"{stamp}-10001"


def test_journals_of_runs_undone_whole_are_pruned() -> None:
    host, first = prepared()
    for _ in range(3 * journal.KEPT):
        journal.Journal(host, "undone").end(journal.ROLLED_BACK)
    known = journal.runs(host)
    assert known[0].id == first  # it stands
    assert len(known) <= 2 * journal.KEPT + 1


def test_undoing_shares_writes_as_doing_does() -> None:
    """Neighbours of one kind have one entry between them: 16 VFs of a PF are not 16 writes to disk."""
    host = simulated()
    run = bootstrap(host, CONFIG)
    done = sum(operation.op == "append" for operation in host.operations)
    host.operations.clear()
    result = qatprep("rollback", run.run, host=host)
    assert result.code == ExitCode.OK
    undone = sum(operation.op == "append" for operation in host.operations)
    assert undone <= done, "an intent and a result each there, a result each here"
    assert all(entry.undone for entry in journal.runs(host)[0].entries)
    assert len(journal.runs(host)[0].entries) > 4 * undone
