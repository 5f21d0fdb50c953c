"""qatprep report: it says what doctor says, and no text of a host ever becomes markup."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from qatprep.findings import Status
from qatprep.report.page import html, markdown
from qatprep.report.page.topology import Mark
from qatprep.report.text import valid
from tests.conftest import qatprep
from tests.report.pages import HOSTS, hostile, shown

NASTY = (
    "</title></style><script>alert(1)</script><img src=x onerror=alert(1)>",
    "\" onload='x' `code` ``` ~~~ **bold** __b__ [link](http://a.example) ![i](http://a.example/i.png)",
    "<!-- --> ]]> &lt;b&gt; &#60; {{7*7}} | a | b | https://a.example www.a.example <http://a.example>",
    "# head\n- list\n1. one\n> quote\n\n    code\n---\n| a |\n|---|\n$$x$$ \x1b[31m\x00\u202e\ud800\r",
)
DARE = st.text(st.characters(exclude_categories=()) | st.sampled_from("<>&\"'`*_[]()!|\\#\n~-+=."), max_size=40)
"""Any text, with much of what has a meaning somewhere."""


QUIET = shown("no-qat")


class Page(HTMLParser):
    """Every element with its attributes, and the text outside of <style>."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside != "style":
            self.text += data


def squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("name", HOSTS)
def test_both_forms_say_what_doctor_says(name: str) -> None:
    content = shown(name)
    page = Page(html.page(content))
    text = squeezed(page.text)
    plain = MarkdownIt("commonmark").enable("table").parse(markdown.page(content))
    raw = squeezed(" ".join(part.content for token in plain for part in (token.children or [token])))
    document = qatprep("doctor", "-o", "json", "--simulate", name).json
    for finding in document["findings"]:
        if finding["status"] in ("fail", "warn", "unknown"):
            for said in (finding["id"], finding["title"], finding["cause"], *finding["fix"]):
                assert squeezed(said) in text and squeezed(said) in raw
    for verdict in document["verdicts"]:
        assert squeezed(verdict["text"]) in text and squeezed(verdict["text"]) in raw
    for action in document["outcome"]["next"]:
        assert action["command"] in text and action["command"] in raw
    for pf in qatprep("device", "list", "-o", "json", "--simulate", name).json["pfs"]:
        assert pf["device"] in text and pf["device"] in raw
    targets = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {f"#{id}" for id in targets} >= {a["href"] for tag, a in page.elements if tag == "a"}


def labels(text: str) -> set[tuple[str, str]]:
    """Each step of a page or a document with its label, from lines in which a label stands before its steps."""
    found = set()
    label = ""
    for line in text.splitlines():
        if (word := line.removeprefix("- ").removesuffix(":")) in ("fix", "by hand", "cause", "seen", "where"):
            label = word
        elif label in ("fix", "by hand") and line.strip():
            found.add((label, squeezed(line)))
    return found


CAUSES = {
    "driverctl-takes-a-pf": {
        ("fix", "qatprep device take-over 0000:6b:00.0 --simulate driverctl-takes-a-pf"),
        ("fix", "Or: driverctl unset-override 0000:6b:00.0"),
    },
    "vf-held": {("fix", "First stop envoy (process 4711), then: qatprep bootstrap --simulate vf-held")},
    "sriov-off-in-bios": {
        ("by hand", "If the log speaks of MMIO resources, the kernel argument pci=realloc may help."),
    },
}


@pytest.mark.parametrize("name", CAUSES)
def test_what_is_to_be_done_by_hand_is_called_so(name: str, tmp_path: Path) -> None:
    """With the labels of doctor's screen, in each form."""
    content = shown(name)
    text = re.sub(r"<style>.*?</style>", "", html.page(content), flags=re.DOTALL)
    plain = re.sub(r"^ *```.*$|\\(?=\W)", "", markdown.page(content), flags=re.MULTILINE)
    texts = [unescape(re.sub(r"<[^>]*>", "\n", text)), plain]
    qatprep("doctor", "--junit", str(tmp_path / "x.xml"), "--simulate", name)
    rows = re.findall(
        r"^(fix|by hand): (.*)$", "\n".join(ElementTree.parse(tmp_path / "x.xml").getroot().itertext()), re.MULTILINE
    )
    for found in (*map(labels, texts), set(rows)):
        assert CAUSES[name] <= found
        other = {"fix": "by hand", "by hand": "fix"}
        assert not {(other[label], step) for label, step in CAUSES[name]} & found


@pytest.mark.parametrize("name", HOSTS)
def test_status_counts_the_same_vfs_as_usable(name: str) -> None:
    counts = qatprep("status", "-o", "json", "--simulate", name).json["counts"]
    assert sum(device.usable for node in shown(name).nodes for device in node.devices) == counts["usable"]


def test_equal_changes_of_a_device_are_one_line() -> None:
    (group,) = shown("half-bound").plan
    assert [line.what for line in group.lines] == ["8 VFs: driver", "8 VFs: device node"]


def test_sockets_and_numa_nodes() -> None:
    assert [node.name for node in shown("spr-2s").nodes] == ["socket 0, NUMA node 0", "socket 1, NUMA node 1"]
    assert [node.name for node in shown("spr-8s").nodes][7] == "socket 7, NUMA node 7"
    assert [node.name for node in shown("vm-vfs").nodes] == ["no NUMA node"]


def test_a_square_for_each_vf() -> None:
    content = shown("half-bound")
    squares = [square for node in content.nodes for device in node.devices for square in device.squares]
    assert len(squares) == 128
    assert sum(square.mark is Mark.BINDING for square in squares) == 8
    assert sum(square.mark is Mark.USABLE for square in squares) == 120
    held = [
        s for node in shown("vf-held").nodes for device in node.devices for s in device.squares if "envoy" in s.text
    ]
    assert [square.bdf for square in held] == ["0000:6b:00.3"]


@pytest.mark.parametrize("text", NASTY)
def test_no_text_becomes_an_element(text: str) -> None:
    page = Page(html.page(hostile(text)))
    quiet = Page(html.page(hostile("quiet")))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in quiet.elements]
    assert [set(a) for _, a in page.elements] == [set(a) for _, a in quiet.elements]
    assert page.text.count(valid(text)) == quiet.text.count("quiet")


@settings(deadline=None)
@given(DARE)
def test_any_text_comes_back_out_of_html(text: str) -> None:
    page = Page(html.page(replace(QUIET, notes=(f"[{text}]",))))
    assert f"[{valid(text)}]" in page.text


@settings(deadline=None)
@given(DARE)
def test_any_text_is_only_text_in_markdown(text: str) -> None:
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    plain = squeezed(valid(text))
    for before in ("", "- cause: ", "## "):
        inline = [token for token in parser.parse(f"{before}{markdown.escaped(text)}") if token.type == "inline"]
        parts = [part for token in inline for part in token.children or []]
        assert {part.type for part in parts} <= {"text", "text_special"}
        assert (
            "".join(part.content for part in parts) == (before + plain).removeprefix("- ").removeprefix("## ").strip()
        )
    table = parser.parse(f"| a |\n| --- |\n| x {markdown.escaped(text)} y |")
    cells = [part for token in table if token.type == "inline" for part in token.children or []]
    assert squeezed("".join(part.content for part in cells)) == squeezed(f"ax {plain} y")


@settings(deadline=None)
@given(DARE)
def test_any_text_is_only_code_between_fences(text: str) -> None:
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    line = parser.parse(f"a {markdown.code(text)}")
    codes = [part for token in line for part in token.children or [] if part.type == "code_inline"]
    plain = squeezed(valid(text))
    assert [part.content for part in codes] == ([plain] if plain else [])
    blocks = parser.parse("\n".join(markdown.block(text)))
    assert [token.type for token in blocks] == ["fence"]


def test_markdown_of_a_hostile_host_has_no_markup_of_its_own() -> None:
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])

    def kinds(text: str) -> list[str]:
        tokens = parser.parse(markdown.page(hostile(text)))
        parts = [part for token in tokens for part in (token, *(token.children or []))]
        return [part.type for part in parts if part.type not in ("text", "text_special")]

    for text in NASTY:
        assert kinds(text) == kinds("quiet")


def test_nothing_is_loaded_from_anywhere() -> None:
    for name in HOSTS:
        text = html.page(shown(name))
        assert not re.search(r"https?:|url\(|@import|<script|\bsrc=|\bon\w+=", text)


def test_files_and_stdout(tmp_path: Path) -> None:
    page, text = tmp_path / "a.html", tmp_path / "a.md"
    called = qatprep("report", "--html", str(page), "--markdown", str(text), "--simulate", "vf-held")
    assert called.code == 3 and called.out == "" and str(page) in called.err
    assert page.read_text().startswith("<!doctype html>") and text.read_text().startswith("# ")
    assert qatprep("report", "--markdown", "-", "--simulate", "vf-held").out == text.read_text()
    assert qatprep("report", "--html", "-", "--simulate", "spr-2s-ready").code == 0


def test_of_a_capture_too(tmp_path: Path) -> None:
    capture = tmp_path / "node.txt"
    assert qatprep("capture", str(capture), "--simulate", "half-bound").code == 0
    called = qatprep("report", "--html", "-", "--root", str(capture), "--title", "node 7 <b>")
    assert called.code == 3
    assert "<h1>node 7 &lt;b&gt;</h1>" in called.out and "QP-VFIO-001" in called.out


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "nothing to write"),
        (("--html", "-", "--markdown", "-"), "both write to stdout"),
        (("--html", "/no/such/folder/x.html"), "cannot write"),
        (("--html", "-", "--measured", "/no/such/file"), "cannot read the measurement"),
        (("--html", "-", "--measured", "{tmp}/wrong"), "is not a measurement"),
        (("--html", "-", "--measured", "{tmp}/half"), "is not a qatprep.tune/1 document"),
        (("--html", "-", "--measured", "{tmp}/text"), "is not JSON"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], what: str, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text('{"schema": ["x"]}')
    (tmp_path / "half").write_text('{"schema": "qatprep.tune/1"}')
    (tmp_path / "text").write_text("rsa-2048 16400")
    called = qatprep("report", "--simulate", "spr-2s", *(word.format(tmp=tmp_path) for word in arguments))
    assert called.code in (1, 2) and called.out == ""
    assert what in called.err and "mistake in qatprep" not in called.err and "internal error" not in called.err


MEASURED = (("openssl", "openssl", 5000.0), ("crypto_mb", "cryptomb", 16400.0), ("x", "qat", None))
BENCH = {
    "schema": "qatprep.bench-rsa/1", "cpu": "a CPU", "cpus": 2, "rounds": 5, "seconds": 0.2, "baseline": "openssl",
    "interrupted": False, "absent": [], "notes": [],
    "results": [
        {"key": "rsa-2048", "workers": 1, "peer": peer, "provider": provider, "detail": "", "median": median,
         "ratio": None, "rates": [], "trouble": ""}
        for peer, provider, median in MEASURED
    ],
}  # fmt: skip


def test_numbers_are_drawn(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    file.write_text(json.dumps(BENCH))
    page = qatprep("report", "--html", "-", "--measured", str(file), "--simulate", "spr-2s").out
    assert re.findall(r'class="(bar[^"]*)" width="([0-9.]+)"', page) == [("bar fast", "100.00"), ("bar", "30.49")]
    text = qatprep("report", "--markdown", "-", "--measured", str(file), "--simulate", "spr-2s").out
    assert "| crypto\\_mb | 16,400 |" in text


def test_a_finding_that_could_not_be_judged_is_told() -> None:
    content = shown("spr-2s-as-user")
    assert any(f.status is Status.UNKNOWN for f in content.findings)
    assert "unknown" in Page(html.page(content)).text
