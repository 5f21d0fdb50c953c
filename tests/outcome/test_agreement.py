"""One judge: whatever is asked, the same verdict, the same ids, the same exit status, the same next action."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from qatprep.checks import registry, table
from qatprep.checks.base import Check, Context
from qatprep.cli.open_host import open_host
from qatprep.exits import ExitCode
from qatprep.findings import pages
from qatprep.simulator.scenarios import scenarios
from tests.conftest import Called, qatprep, some
from tests.test_house import ROOT

HOSTS = [host.name for host in scenarios()]
IMPOSSIBLE, REFUSED = "services-impossible", ("plan", "bootstrap")
"""A host whose configuration no device of it can have: there is no plan of that, exit status 2."""
ID = re.compile(r"QP-[A-Z0-9]+-\d{3}")


def asked(name: str) -> dict[str, Called]:
    """Every verb that says something about the node as a whole."""
    verbs = {
        "doctor": ["doctor"],
        "plan": ["plan"],
        "status": ["status"],
        "check": ["bootstrap", "--check"],
    }
    return {
        verb: qatprep(*words, "--simulate", name, "-o", "json")
        for verb, words in verbs.items()
        if name != IMPOSSIBLE or words[0] not in REFUSED
    }


def ids_of(document: Any) -> set[str]:
    """Ids by which a verb says why something is skipped, or what the first cause is."""
    skipped = {item["finding"] for item in document.get("skipped", [])}
    return skipped | {verdict["first"] for verdict in document["outcome"]["verdicts"]} - {""}


@pytest.mark.parametrize("name", some(HOSTS, 4))
def test_every_verb_says_the_same(name: str) -> None:
    got = asked(name)
    words = {verb: dict(called.json["outcome"]) for verb, called in got.items()}
    exits = {verb: word.pop("exit") for verb, word in words.items()}
    assert {verb: called.code for verb, called in got.items()} == exits
    for verb, word in words.items():
        assert word == words["doctor"], verb
    assert set(exits.values()) == {exits["doctor"]}, exits

    doctor = got["doctor"].json
    told = {f["id"] for f in doctor["findings"] if f["status"] in ("fail", "warn", "unknown")}
    for verb, called in got.items():
        assert ids_of(called.json) <= told, verb
    failed = [f["id"] for f in doctor["findings"] if f["status"] == "fail"]
    assert bool(failed) is (exits["doctor"] != ExitCode.OK)

    states = {verdict["for"]: verdict["state"] for verdict in doctor["verdicts"]}
    well = {subject: state in ("ready", "configured") for subject, state in states.items()}
    first = {verdict["for"]: verdict["first"] for verdict in doctor["verdicts"]}
    labels = qatprep("features", "--simulate", name, "-o", "json").json["labels"]
    short = {key.rpartition("/")[2]: value for key, value in labels.items()}
    assert short["qat"] == str(well["qat"]).lower() and short["cryptomb"] == str(well["cryptomb"]).lower()
    assert short["qat-finding"] == (first["qat"] or "none") and short["qat-proven"] == "false"
    metrics = qatprep("metrics", "--simulate", name).out
    ready = dict(re.findall(r'^qatprep_node_ready\{for="(\w+)"\} (\d)$', metrics, re.MULTILINE))
    assert ready == {
        subject: str(int(well[subject])) for subject, state in states.items() if well[subject] or state == "not ready"
    }
    values = dict(re.findall(r'^qatprep_finding_status\{id="([^"]+)",stage="[^"]*"\} (-?\d)$', metrics, re.MULTILINE))
    assert {id for id, value in values.items() if value == "3"} == set(failed)


@pytest.mark.parametrize("name", some(HOSTS, 4, 1))
def test_bootstrap_ends_with_the_verdict_that_doctor_gives_then(name: str) -> None:
    host = open_host("/", name)
    if name == IMPOSSIBLE:
        assert {qatprep(verb, host=host).code for verb in REFUSED} == {ExitCode.USAGE}
        return
    ended = qatprep("bootstrap", "--yes", "--no-smoke", "-o", "json", host=host)
    doctor = qatprep("doctor", "-o", "json", host=host)
    if host.euid != 0:
        assert ended.code == ExitCode.NEEDS_ROOT
        return
    if ended.json["status"] in ("applied", "unchanged"):
        assert ended.json["outcome"] == doctor.json["outcome"]
        assert ended.code == doctor.code
    else:
        assert doctor.code != ExitCode.OK


def rows(lines: list[str], *labels: str) -> list[str]:
    """The lines beside these labels."""
    found, on = [], False
    for line in lines:
        on = any(line.startswith(f"{label:16}") for label in labels) or (on and line[:16].isspace())
        found += [line] if on else []
    return found


@pytest.mark.parametrize("name", some(HOSTS, 4, 2))
def test_people_read_the_same_block(name: str) -> None:
    """The verdict for people, its proof, and what to do next are the same words, whichever verb prints them."""
    blocks = {}
    for verb in ("doctor", "status") if name == IMPOSSIBLE else ("doctor", "plan", "status"):
        lines = qatprep(verb, "--simulate", name, env={"COLUMNS": "100"}).out.splitlines()
        blocks[verb] = rows(lines, "QAT", "CryptoMB", "proof", "remaining", "next")
    assert blocks["doctor"] and all(block == blocks["doctor"] for block in blocks.values())


@pytest.mark.parametrize("name", some((name for name in HOSTS if name != "spr-2s-as-user"), 4, 3))
def test_an_id_that_is_printed_has_a_cause_and_a_fix(name: str) -> None:
    for verb in ("plan", "status"):
        for id in set(ID.findall(qatprep(verb, "--simulate", name).out)):
            text = qatprep("doctor", "--simulate", name, "--only", id).out
            assert re.search(r"^ {6}cause ", text, re.MULTILINE) and re.search(
                r"^ {6}(fix|by hand) ", text, re.MULTILINE
            ), id


def test_any_id_is_explained_by_doctor() -> None:
    """Those that only a dump, a log or a signature tells as well: `qatprep inspect` and `smoke` print them."""
    host = open_host("/", "spr-2s-ready")
    for page in pages.pages().values():
        called = qatprep("doctor", "--only", page.id, host=host)
        if page.id in table.BY_ID:
            assert called.code == ExitCode.OK, called.err
            continue
        assert re.search(r"^ {6}cause ", called.out, re.MULTILINE), called.out
        assert re.search(r"^ {6}(fix|by hand) ", called.out, re.MULTILINE), called.out
        assert called.code == ExitCode.OK and "found by" in called.out


RENAMED = (
    ("QP-IOMMU-002", "iommu-off-by-default"),
    ("QP-SVC-001", "dc-only"),
    ("QP-FW-001", "fw-missing"),
    ("QP-KRN-001", "spr-2s-old-kernel"),
    ("QP-MEM-001", "k8s-as-the-paper-says"),
)
NEW = "QP-NEW-999"


@pytest.fixture
def rename(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def to_new(old: str) -> None:
        def one(check: Check) -> Check:
            needs = tuple(NEW if need == old else need for need in check.needs)
            if check.id != old:
                return replace(check, needs=needs)

            def run(ctx: Context) -> Any:
                return [replace(f, id=NEW) for f in check.run(ctx)]

            return replace(check, id=NEW, run=run, needs=needs)

        checks = tuple(one(check) for check in table.CHECKS)
        monkeypatch.setitem(pages.pages(), NEW, pages.pages()[old]._replace(id=NEW))
        monkeypatch.setattr(table, "CHECKS", checks)
        monkeypatch.setattr(registry, "CHECKS", checks)
        monkeypatch.setattr(registry, "_ORDER", {check.id: n for n, check in enumerate(checks)})
        table.BY_ID.clear()
        table.BY_ID.update({check.id: check for check in checks})

    before = dict(table.BY_ID)
    yield to_new
    table.BY_ID.clear()
    table.BY_ID.update(before)


@pytest.mark.parametrize(("old", "name"), RENAMED)
def test_a_renamed_finding_is_renamed_everywhere(rename: Any, old: str, name: str) -> None:
    rename(old)
    for verb, called in asked(name).items():
        text = called.out
        assert NEW in text and f'"{old}"' not in text, verb
    for words in (["features"], ["metrics"]):
        text = qatprep(*words, "--simulate", name).out
        assert NEW in text and old not in text, words


def test_no_room_but_the_checks_names_a_finding() -> None:
    """Planners, steps, the engine and the verbs take ids from the assessment (--help shows a few as examples)."""
    rooms = ("plan", "steps", "engine", "config", "facts", "host", "runtime", "persist", "measure")
    files = [path for room in rooms for path in (ROOT / "qatprep" / room).rglob("*.py")]
    files += [ROOT / "qatprep" / "assess.py", ROOT / "qatprep" / "outcome.py"]
    assert {str(path.relative_to(ROOT)) for path in files if '"QP-' in path.read_text()} == set()
