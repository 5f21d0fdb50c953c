"""The pages of explain: one for each id of the design, offline, and docs/findings.md is made of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from qatprep.checks import table
from qatprep.exits import ExitCode
from qatprep.findings import pages
from tests.checks.hosts import CHAIN
from tests.checks.test_hosts import schema
from tests.conftest import qatprep

ROOT = Path(__file__).parent.parent.parent


def test_every_id_of_the_design_has_a_check_and_every_check_stands_in_the_design() -> None:
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    ids = set(re.findall(r"^\| (QP-[A-Z][A-Z0-9]*(?:-\d{3})?) \|", design, re.MULTILINE))
    chain = {check.id for check in table.CHECKS if check.stage in CHAIN}
    assert len(ids & chain) > 30
    assert chain - ids == set()
    assert ids - {table.CRASH} <= set(table.BY_ID)


@pytest.mark.parametrize("page", pages.pages(), ids=lambda page: page.id)
def test_a_page_says_what_why_how_and_what_to_do(page: pages.Page) -> None:
    assert "Why it matters: " in page.text
    assert "How it is found out: " in page.text
    assert "How to mend it: " in page.text or "How to mend it:\n" in page.text
    assert len(page.text.split("\n\n", 1)[0]) > 40
    called = qatprep("explain", page.id, env={"COLUMNS": "80"})
    assert called.code == ExitCode.OK and page.title in called.out
    prose = [line for line in called.out.splitlines()[1:] if not line.startswith("    ")]
    assert all(len(line) <= 80 and line == line.rstrip() for line in prose)


def test_a_command_of_a_page_is_never_broken() -> None:
    out = qatprep("explain", "QP-SVC-001", env={"COLUMNS": "40"}).out
    assert "    echo 'sym;asym' > /sys/bus/pci/devices/<PF>/qat/cfg_services\n" in out


def test_a_stage_a_glob_and_the_list() -> None:
    assert qatprep("explain", "iommu").out.count("Why it matters") == 5
    assert qatprep("explain", "qp-node-*").out.count("Why it matters") == 4
    listed = qatprep("explain").out
    assert all(f"  {page.id} " in listed for page in pages.pages())


def test_json() -> None:
    for arguments, count in ((["explain"], len(pages.pages())), (["explain", "QP-FW-001"], 1)):
        document = qatprep(*arguments, "-o", "json").json
        schema("explain.json")(document)
        assert len(document["findings"]) == count


@pytest.mark.parametrize(("name", "close"), [("QP-SVC-002x", "QP-SVC-002"), ("nods", "nodes"), ("zzz", "lists them")])
def test_an_unknown_id(name: str, close: str) -> None:
    called = qatprep("explain", name)
    assert called.code == ExitCode.USAGE and repr(name) in called.err and close in called.err


def test_what_a_check_needs_has_a_page() -> None:
    ids = {page.id for page in pages.pages()}
    for page in pages.pages():
        assert set(page.needs) <= ids
        assert set(re.findall(r"QP-[A-Z][A-Z0-9]*-\d{3}", page.text)) <= ids


def test_the_document_is_made_of_the_pages(golden: Callable[[Path, str], None]) -> None:
    golden(ROOT / "docs" / "findings.md", pages.markdown(pages.pages()))
