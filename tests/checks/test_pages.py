"""The pages of the findings: one for each id that code names, with every section, and links that lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qatprep.checks import table
from qatprep.checks.base import Stage
from qatprep.exits import ExitCode
from qatprep.findings import pages
from tests.checks.test_hosts import schema
from tests.conftest import qatprep

ROOT = Path(__file__).parent.parent.parent
FOLDER = Path(pages.__file__).parent
ID = re.compile(r"\bQP-(?:[A-Z][A-Z0-9]*-\d{3}|CRASH)\b")
LINK = re.compile(r"\[([^\]]+)\]\(([^)#]*)(?:#([^)]+))?\)")


def test_every_id_that_is_named_anywhere_has_a_page() -> None:
    """In code, schemas and documents; a page that no code names is found by nobody."""
    named = {
        id: path
        for path in [*(ROOT / "qatprep").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
        for id in ID.findall(path.read_text(encoding="utf-8"))
    }
    assert {id: path for id, path in named.items() if id not in pages.pages()} == {}
    assert set(pages.pages()) - set(named) == set()


def test_every_check_has_a_page_in_the_file_of_its_stage() -> None:
    for check in table.CHECKS:
        assert pages.pages()[check.id].stage == check.stage, check.id
        assert set(check.needs) <= set(pages.pages())
    stages = list(dict.fromkeys(page.stage for page in pages.pages().values()))
    assert stages == [*(str(stage) for stage in Stage), "program logs", "proof", "qatprep"]


def test_every_file_is_read() -> None:
    files = {path.name for path in FOLDER.glob("*.md")} - {"README.md"}
    assert files == {page.stage.replace(" ", "-") + ".md" for page in pages.pages().values()}
    headings = [id for path in FOLDER.glob("*.md") for id in re.findall(r"^## (.*)$", path.read_text(), re.MULTILINE)]
    assert sorted(headings) == sorted(pages.pages())


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.md")), ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for text, file, anchor in LINK.findall(path.read_text(encoding="utf-8")):
        target = path.parent / file
        assert target.is_file(), (text, file)
        if anchor:
            assert text.lower() == anchor and f"## {text}\n" in target.read_text(encoding="utf-8"), (text, file)


@pytest.mark.parametrize("page", pages.pages().values(), ids=lambda page: page.id)
def test_a_page_says_what_why_how_and_what_to_do(page: pages.Page) -> None:
    sections = re.split(r"^### (.*)$", page.text, flags=re.MULTILINE)
    assert tuple(sections[1::2]) == pages.HEADINGS and sections[0] == ""
    assert all(len(text.strip()) > 10 for text in sections[2::2])
    assert "\n" not in page.title and not page.title.endswith(".")
    called = qatprep("explain", page.id, env={"COLUMNS": "80"})
    assert called.code == ExitCode.OK and page.title in " ".join(called.out.split())
    lines = [line for line in called.out.splitlines() if len(line.split()) > 1]
    assert all(len(line) <= 80 and line == line.rstrip() for line in lines)
    assert "`" not in called.out and "](" not in called.out


def test_a_command_of_a_page_can_be_pasted() -> None:
    out = qatprep("explain", "QP-SVC-001", env={"COLUMNS": "60"}).out
    assert "    echo 'sym;asym' > \\\n      /sys/bus/pci/devices/<PF>/qat/cfg_services\n" in out


def test_a_stage_a_glob_and_the_list() -> None:
    assert qatprep("explain", "iommu").out.count("Why it matters") == len(table.select(["iommu"]))
    assert qatprep("explain", "qp-node-*").out.count("Why it matters") == 4
    listed = qatprep("explain").out
    assert all(f"  {page.id} " in listed for page in pages.pages().values())


def test_json() -> None:
    for arguments, count in ((["explain"], len(pages.pages())), (["explain", "QP-FW-001"], 1)):
        document = qatprep(*arguments, "-o", "json").json
        schema("explain.json")(document)
        assert len(document["findings"]) == count


@pytest.mark.parametrize(("name", "close"), [("QP-SVC-002x", "QP-SVC-002"), ("nods", "nodes"), ("zzz", "lists them")])
def test_an_unknown_id(name: str, close: str) -> None:
    called = qatprep("explain", name)
    assert called.code == ExitCode.USAGE and repr(name) in called.err and close in called.err
