"""The site: built without a warning, made of what the code is today, and loading nothing from anywhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from qatprep.cli.app import VERBS
from qatprep.exits import ExitCode
from qatprep.findings.messages import HARMLESS, MESSAGES
from qatprep.findings.pages import pages
from qatprep.hardware import FAMILIES
from qatprep.report.prometheus import METRICS
from qatprep.simulator.scenarios import scenarios
from tests.mesh.log_lines import LINES

ROOT = Path(__file__).parents[2]


class Page(HTMLParser):
    """The text of a page, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = ""
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors |= {str(found["id"])} if "id" in found else set()
        if tag in ("script", "img", "iframe", "source", "link") and found.get("rel") != "canonical":
            self.loads += [str(found[key]) for key in ("src", "href") if found.get(key)]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sphinx")
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, str(ROOT / "packaging" / "docs_site.py"), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return target


def test_nothing_is_loaded_from_another_server(site: Path) -> None:
    loaded = {load for path in site.rglob("*.html") for load in Page(path).loads}
    assert loaded and not [load for load in loaded if "//" in load]
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", styles)


def test_the_reference_is_whole(site: Path) -> None:
    reference = {path.stem: Page(path) for path in (site / "reference").glob("*.html")}
    assert all(f"qatprep {verb}" in reference["cli"].text for verb in VERBS)
    assert all(page.id in reference["findings"].text for page in pages().values())
    assert all(name in reference["metrics"].text for name in METRICS)
    assert all(family.name in reference["support"].text for family in FAMILIES)
    assert all(scenario.name in reference["hosts"].anchors for scenario in scenarios())
    assert all(re.search(rf"\b{int(code)}\b", reference["exit-statuses"].text) for code in ExitCode)
    assert all(path.stem in reference["schemas"].text for path in (ROOT / "qatprep" / "schema").glob("*.json"))


def test_every_known_message_leads_to_its_finding(site: Path) -> None:
    text = " ".join(Page(site / "reference" / "messages.html").text.split())
    for row in MESSAGES:
        for line in LINES[row.key] if row.key not in HARMLESS else ():
            assert " ".join(line.split()) in text
    for page in pages().values():
        stage = Page(site / "reference" / "findings" / f"{page.stage.replace(' ', '-')}.html")
        assert page.id.lower() in stage.anchors


def test_every_variable_that_is_read_is_told(site: Path) -> None:
    sources = "".join(path.read_text() for path in (ROOT / "qatprep").rglob("*.py"))
    told = Page(site / "reference" / "environment.html").text
    assert {name for name in re.findall(r"\bQATPREP_[A-Z]+\b", sources) if name not in told} == set()
