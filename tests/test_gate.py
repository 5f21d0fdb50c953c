"""One gate for text from outside: what is read of a host is `Foreign`, and only what prints comes out of it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from qatprep.cli.session import Session
from qatprep.mesh.render.names import yaml_text
from qatprep.persist.host_files import words
from qatprep.report.console import console
from qatprep.report.prometheus import _escaped
from qatprep.report.rows import columns
from qatprep.schema_check import errors, schema
from qatprep.steps import places
from qatprep.steps.base import REGISTRY, _import_all
from qatprep.text import Foreign, gated, json_text, printable
from tests.test_house import MODULES, ROOT

HOSTILE = "a\x1b[2J\x07\r\u202eb\x9b31m\u2028\udc9b\x7f\x00c"
"""ESC, BEL, CR, a mark of direction, C1, a line separator, a lone surrogate, DEL and NUL."""
SHOWN = r"a\x1b[2J\x07\r\u202eb\x9b31m\u2028\udc9b\x7f\x00c"

RAW = {
    "qatprep/text.py": "its own",
    "qatprep/host/captured.py": "names to be taken out of a capture, compared and never shown",
    "qatprep/host/record.py": "recorded as it is",
    "qatprep/host/launcher.py": "JSON, gated",
    "qatprep/facts/runtime.py": "configuration of CRI-O, k3s and RKE2, edited; what is told of it is gated TOML",
    "qatprep/facts/containerd.py": "what `config dump` prints: TOML, gated",
    "qatprep/facts/systemd.py": "unit files, whose lines end as systemd has it; memlock.py makes them printable",
    "qatprep/facts/kubernetes.py": "JSON and YAML, gated",
    "qatprep/engine/journal.py": "JSON, whose schema refuses what does not print; what files held is written back",
    "qatprep/steps/containerd.py": "TOML, gated",
}
"""The modules that may take the text as it is, and why."""
DECODES = {
    "qatprep/text.py": "the gate",
    "qatprep/config/reading.py": "YAML, whose schema refuses what does not print",
    "qatprep/crypto/child.py": "what our own child says",
    "qatprep/facts/boot_loader.py": "UTF-16, made printable there",
    "qatprep/facts/containerd.py": "configuration of containerd, edited; what is told of it is gated TOML",
    "qatprep/facts/kubernetes.py": "strictly UTF-8, for JSON that is gated",
    "qatprep/plan/arguments.py": "looks for our own marker",
    "qatprep/report/genconf.py": "base64",
    "qatprep/steps/driver.py": "what is written to sysfs, quoted",
    "qatprep/steps/files.py": "base64",
    "qatprep/steps/units.py": "compared with what was written",
}
"""The modules above host/ that may make text of bytes, and why. mesh/ has a gate of its own (inspect/source.py)."""
NAMES = {
    "qatprep/facts/base.py": "names() and link_name() are their gate",
    "qatprep/facts/containerd.py": "the program of a process, which is run or named only if it prints",
    "qatprep/facts/bus.py": "the BDFs in a target",
    "qatprep/facts/nodes.py": "descriptors and their targets, looked up and never shown",
    "qatprep/facts/firmware.py": "whether there is a link",
    "qatprep/engine/journal.py": "matched against the form of a run's id",
    "qatprep/steps/modules.py": "matched against the names of modules",
}
"""The modules above host/ that may list directories and follow links."""


@pytest.mark.parametrize(
    ("attributes", "table", "rooms"),
    [
        ({"raw"}, RAW, ()),
        ({"decode"}, DECODES, ("qatprep/host/", "qatprep/mesh/")),
        ({"listdir", "readlink"}, NAMES, ("qatprep/host/", "qatprep/direct/")),
    ],
    ids=["raw", "decode", "names"],
)
def test_who_may_pass_by_the_gate(attributes: set[str], table: dict[str, str], rooms: tuple[str, ...]) -> None:
    """And no module has leave that it does not use."""
    users = set()
    for path in MODULES:
        name = str(path.relative_to(ROOT))
        used = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        if used & attributes and not name.startswith(("qatprep/simulator/", *rooms)):
            users.add(name)
    assert users == set(table)


def test_only_one_console_prints() -> None:
    rich = [str(path) for path in MODULES if "from rich.console import" in path.read_text()]
    assert rich == [str(ROOT / "qatprep/report/console.py")]


UNGATED = """
from qatprep.facts.kernel import KernelFacts
from qatprep.findings import Evidence, failed
from qatprep.host.base import Host
from qatprep.cli.session import Session
from qatprep.report.console import Console
from rich.text import Text

def leak(host: Host, session: Session, console: Console) -> None:
    text = host.read_text("/proc/1/comm")
    session.line({0})
    session.out.write({0})
    Evidence("/proc/1/comm", {0})
    console.print(Text({0}))
    session.say(" ".join([{0}]))
    said: str = {0}
"""


@pytest.mark.parametrize(("use", "errors"), [("text", 6), ("host.run(['x']).stderr", 6), ("host.kernel_log()", 6),
                                             ("str(text)", 0), ("f'{text}'", 0), ("text.text", 0)])  # fmt: skip
def test_mypy_fails_where_text_from_outside_goes_on_ungated(tmp_path: Path, use: str, errors: int) -> None:
    file = tmp_path / "leak.py"
    file.write_text(UNGATED.format(use))
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(file)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    found = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(found) == errors and all('"Foreign"' in line for line in found), done.stdout + done.stderr


def test_foreign() -> None:
    text = Foreign(f"{HOSTILE}\n\tmore\r\nlast")
    assert str(text) == f"{text}" == rf"{SHOWN}\n\tmore\r\nlast"
    assert f"{text:>200}".endswith("last") and len(f"{text:>200}") == 200
    assert text.text == f"{SHOWN}\n\tmore\nlast"
    assert text.text.splitlines() == text.text.split("\n")
    assert repr(text).isprintable()
    assert Foreign(b"\xff\x1b").raw == "\\xff\x1b"
    assert Foreign("x") == "x" and "x" in Foreign("axb") and not Foreign("")


@given(st.text())
def test_what_prints_stays_and_the_rest_is_escaped(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert text.isprintable() == (shown == text)
    assert printable(shown) == shown
    assert printable(text, "\n").replace("\n", "").isprintable()


@given(st.recursive(st.text() | st.integers(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_json_is_printable_and_loses_nothing(document: object) -> None:
    text = json_text(document)
    assert text.replace("\n", "").isprintable()
    assert json.loads(text) == document


def test_gated() -> None:
    found = gated({HOSTILE: [HOSTILE, 1, None, {"k": HOSTILE}]})
    assert found == {SHOWN: [SHOWN, 1, None, {"k": SHOWN}]}


@pytest.mark.parametrize("terminal", [True, False])
def test_the_console_itself(terminal: bool) -> None:
    """Somebody forgot the gate: in a text, a cell, a heading, styled or not."""
    stream = StringIO()
    stream.isatty = lambda: terminal  # type: ignore[method-assign]
    out = console(stream, {"TERM": "xterm", "COLUMNS": "200"})
    out.print(HOSTILE, Text(HOSTILE, style="fail"))
    out.print(Text.assemble((HOSTILE, "id"), HOSTILE), soft_wrap=True)
    table = Table(title=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    out.print(table)
    columns(out, [HOSTILE, "b"], [[HOSTILE, Text(HOSTILE)]])
    text = stream.getvalue()
    assert r"\x1b[2J" in text and r"\u202e" in text and r"\x9b31m" in text
    assert "\x1b[2J" not in text
    assert not set(text) & set("\x07\r\u202e\x9b\u2028\udc9b\x7f\x00")


def test_the_plain_streams_themselves() -> None:
    out, err = StringIO(), StringIO()
    session = Session(out, err, {})
    session.line(HOSTILE)
    session.out.write(HOSTILE)
    session.say(HOSTILE)
    session.json({HOSTILE: HOSTILE})
    assert (out.getvalue() + err.getvalue()).replace("\n", "").isprintable()
    assert SHOWN in out.getvalue() and SHOWN in err.getvalue()


WRITTEN = ("config", "journal", "proof", "direct-record")
"""The schemas of what is written to files, or decides what is."""


def strings(part: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every definition of a schema that a text may have, with its path."""
    if isinstance(part, dict):
        kinds = part.get("type")
        if kinds == "string" or (isinstance(kinds, list) and "string" in kinds):
            yield path, part
        for key, value in part.items():
            yield from strings(value, f"{path}/{key}")
    elif isinstance(part, list):
        for number, value in enumerate(part):
            yield from strings(value, f"{path}/{number}")


def harmless(text: str) -> bool:
    """Without control characters, separators of lines, surrogates and marks of direction."""
    marks = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
    return not any(
        unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs")
        or unicodedata.bidirectional(c) in marks
        or c in "\u200e\u200f\u061c"
        for c in text
    )


TEXTS = {f"{kind}{path}": part for kind in WRITTEN for path, part in strings(schema(kind))}
_import_all()
PATTERNS = {place for change in REGISTRY.values() for place in (*change.places.values(), *change.outcomes.values())}


@given(st.data())
@pytest.mark.parametrize("path", TEXTS)
def test_no_text_of_a_schema_has_what_does_not_print(path: str, data: st.DataObject) -> None:
    """A configuration's path gets into a unit, a journal's sentence onto the screen."""
    pattern = TEXTS[path]["pattern"].replace("$", r"\Z")
    assert harmless(data.draw(st.from_regex(pattern)))


@given(st.data())
def test_no_place_of_a_change_has_what_does_not_print(data: st.DataObject) -> None:
    """But for what a file holds."""
    place = data.draw(st.sampled_from(sorted(p if isinstance(p, str) else p() for p in PATTERNS)))
    if place != places.CONTENT:
        assert harmless(data.draw(st.from_regex(place, fullmatch=True)))


@pytest.mark.parametrize(
    "value", ["/x\n.prom", "/x\nExecStart=/bin/sh\n/y.prom", "/x\x1b.prom", "/x\u202e.prom", "/x.prom\n"]
)
def test_a_path_of_the_configuration_stays_on_its_line(value: str) -> None:
    found, _ = errors("config", {"metrics": value})
    assert [error.path for error in found] == [("metrics",)] and found[0].text.isprintable()


def test_each_writer_of_files() -> None:
    assert words(("/x", HOSTILE)).isprintable()
    assert _escaped(HOSTILE + "\n").isprintable()
    document = {"a": HOSTILE.replace("\udc9b", ""), "b": ["\u202e"]}
    text = yaml_text([document], [HOSTILE])
    assert text.replace("\n", "").isprintable()
    assert yaml.safe_load(text) == document
