"""Every verb and its usual errors on terminals of several widths: the terminal never breaks a line, and nothing is left
out where it is narrow."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from qatprep.cli.app import VERBS
from qatprep.report.console import console
from qatprep.report.findings import is_command
from qatprep.report.fold import PROSE, broken, folded
from qatprep.report.rows import columns as print_columns
from tests.cli.test_output import MISTAKES, piped
from tests.cli.test_terminal import CALLS
from tests.conftest import EVERYTHING, Screen, qatprep, some
from tests.terminal import forked

for verb in VERBS:  # here, not in each fork
    importlib.import_module(f"qatprep.cli.{verb.replace('-', '_')}")

WIDTHS = (60, 80, 100, 160)
HOSTS = ("spr-8s", "k8s-as-the-paper-says", "vm-with-containers")
SCREENS = (
    *(f"{verb} --simulate {host}" for verb in ("doctor", "plan", "status") for host in HOSTS),
    *(f"plan --simulate {host}" for host in ("srf-1s", "vf-held", "module-not-loaded")),
    *(f"bootstrap --yes --simulate {host}" for host in (*HOSTS[1:], "module-not-loaded")),
    "doctor --all --verbose --simulate half-bound",
    "doctor --simulate iommu-off-by-default",
    "bootstrap --check --diff --simulate k8s-as-the-paper-says",
    "status --verbose --simulate vf-held",
    "device list --class network --simulate spr-2s",
    "config show --simulate spr-8s",
    "config check --simulate spr-2s",
    "explain",
    "hosts vf-held",
    "device --help",
    "device bind --help",
    "bootstrap --help",
)
ERRORS = (
    "device services dc",
    "device bind 0000:99:00.0 --simulate spr-2s",
    "device services dc 0000:6b:00.0 --yes --simulate vf-held",
    "device list --class all --simulate spr-2s",
    "doctor --root /nowhere",
    "doctor --config /nowhere --simulate spr-2s",
    "inspect stats /nowhere",
    "render envoy",
    "render kubernetes --as x",
    "bench rsa --rounds x",
    "tune --rate",
    "report",
    "rollback nothing --simulate spr-2s",
    "config check --simulate services-impossible",
    "bootstrap --boot --check --simulate spr-2s",
    "capture a b c",
    "features --expire x --simulate spr-2s",
    "metrics --write x --simulate spr-2s",
    "smoke --direct --simulate spr-2s",
    "gen-conf -f nothing",
    "status extra",
)
DOCUMENTS = ("render", "gen-conf", "metrics", "features", "capture", "report", "config init")
"""Data for programs: their lines are what the format says. What is said next to them is for people."""
EVERY = [*CALLS, *SCREENS, *ERRORS, *MISTAKES]


def wider(text: str, columns: int) -> list[str]:
    """Lines that the terminal would break, unless they are one word (a path) that nobody can break."""
    whole = re.sub(r"`[^`\r\n]+`", lambda command: command[0].replace(" ", "_"), text)  # a command to paste
    lines = [line for line in re.split(r"[\r\n]+", whole) if cell_len(line) > columns]
    return [line for line in lines if len(line.removesuffix(" \\").split()) > 1]


@pytest.mark.parametrize("call", some(EVERY, 2))
def test_no_line_is_wider_than_the_terminal(call: str) -> None:
    if call.startswith(("bench", "tune")) and call not in ERRORS:
        pytest.importorskip("qatprep._native")
    for columns in WIDTHS if EVERYTHING else (WIDTHS[0], WIDTHS[1 + len(call) % 3]):
        _, text = forked(shlex.split(call), columns, data=not call.startswith(DOCUMENTS))
        assert "Traceback" not in text and "internal error" not in text, text
        assert wider(text, columns) == []


def test_every_verb_and_an_error_of_each_are_among_them() -> None:
    assert not set(VERBS) - {call.split()[0] for call in EVERY}
    quiet = {"explain", "hosts"}  # MISTAKES has theirs
    assert not set(VERBS) - quiet - {call.split()[0] for call in (*ERRORS, *MISTAKES)} - {"inspect", "render", "status"}


@pytest.mark.parametrize(
    "call", [*(call for call in SCREENS if call.startswith(("doctor", "plan", "explain", "hosts"))), *MISTAKES, *ERRORS]
)
def test_a_narrow_terminal_leaves_nothing_out(call: str) -> None:
    def words(text: str) -> set[str]:
        return {word.rstrip(":") for word in text.split() if word != "\\"}

    _, out, err = piped(call)
    _, text = forked(shlex.split(call), WIDTHS[0])
    assert words(text) == words(out + err)


@pytest.mark.parametrize(
    "call", ["doctor --all --simulate spr-2s-ready", "explain QP-SVC-001", "hosts vf-held", "render kubernetes"]
)
def test_prose_has_one_width(call: str) -> None:
    _, text = forked(shlex.split(call), 160)
    assert max(len(line) for line in re.split(r"[\r\n]+", text)) <= PROSE


@pytest.mark.parametrize("host", ["spr-2s", "spr-8s", "k8s-as-the-paper-says", "nodes-root-only", "vf-ids"])
def test_a_command_stays_one_when_it_is_wrapped(host: str) -> None:
    found = qatprep("doctor", "--simulate", host, "-o", "json").json["findings"]
    commands = [step for f in found for step in f["fix"] if is_command(step)]
    assert commands
    for command in commands:
        for columns in WIDTHS:
            assert joined(shell_lines(command, columns, 15)) == command


def shell_lines(command: str, columns: int, hang: int) -> list[str]:
    """A command on a screen: each line but the last ends in a backslash, as Console.say prints it."""
    found = [" " * indent + command[start:end] for indent, start, end in broken(command, columns, 0, hang, shell=True)]
    return [*(f"{line} \\" for line in found[:-1]), found[-1]]


def joined(lines: list[str]) -> str:
    """What a shell makes of lines that end in a backslash, its blanks one each."""
    return re.sub(r" *\\\n *", " ", "\n".join(lines))


WORDS = st.lists(
    st.sampled_from(["echo", "'a  b'", '"c \\" d"', "x;", "&&", "e\\ f", "/a/long/path/" * 3, "é"]), min_size=1
)


@given(WORDS, st.integers(20, 80), st.integers(0, 30))
def test_any_command_does(words: list[str], columns: int, hang: int) -> None:
    command = " ".join(words)
    lines = shell_lines(command, columns, hang)
    assert shlex.split(joined(lines)) == shlex.split(command)
    assert all(len(line) <= columns or len(shlex.split(line.removesuffix("\\"))) == 1 for line in lines)


def test_a_shell_reads_it_so() -> None:
    lines = shell_lines("for n in 1 2 3; do echo 'it is' $n; done && echo 'a  b' > /dev/stdout", 24, 8)
    assert len(lines) > 3
    said = subprocess.run(["sh", "-c", "\n".join(lines)], capture_output=True, check=True, text=True).stdout
    assert said == "it is 1\nit is 2\nit is 3\na  b\n"


@given(st.text("ab \t", max_size=80), st.integers(20, 60), st.integers(0, 40), st.integers(0, 40))
def test_wrapping_loses_no_word(text: str, columns: int, first: int, hang: int) -> None:
    lines = list(broken(text, columns, first, hang))
    assert " ".join(text[start:end] for _, start, end in lines).split() == text.split()
    for indent, start, end in lines:
        assert indent + end - start <= columns or len(text[start:end].split()) <= 1


def test_what_is_said_is_wrapped_below_its_label() -> None:
    assert folded("error: one two three four five six seven\n  cause: one two three four five six", 30, 9) == (
        "error: one two three four five\n         six seven\n  cause: one two three four\n         five six"
    )


TABLE = (("PF", "services", "what it says", "VFs"), [("0000:6b:00.0", "sym;asym", "words that wrap where it is", "16")])
SHOWN = {
    80: """\
PF            services  what it says                 VFs
0000:6b:00.0  sym;asym  words that wrap where it is   16
""",
    54: """\
PF            services  what it says               VFs
0000:6b:00.0  sym;asym  words that wrap where it    16
                        is
""",
    40: """\
PF            services
0000:6b:00.0  sym;asym
    what it says words that wrap where
    it is, VFs 16
""",
}


@pytest.mark.parametrize("columns", SHOWN)
def test_a_table_in_its_three_forms(columns: int) -> None:
    screen = Screen()
    header, lines = TABLE
    print_columns(console(screen, {"COLUMNS": str(columns), "NO_COLOR": "1"}), header, lines, {"VFs"})
    assert screen.getvalue() == SHOWN[columns]


def test_the_console_wraps_whatever_it_is_given() -> None:
    screen = Screen()
    out = console(screen, {"COLUMNS": "40", "NO_COLOR": "1"})
    for thing in ("word " * 20, Text("word " * 20, "fail"), Text("/a/path/that/is/longer/than/the/terminal/is/wide x")):
        out.print(thing)
    assert wider(screen.getvalue(), 40) == []
    assert "/a/path/that/is/longer/than/the/terminal/is/wide\n" in screen.getvalue()


def test_only_the_console_prints_without_wrapping() -> None:
    """soft_wrap hands a line to the terminal as it is: rows of tables, whose width was looked at before."""
    report = Path(__file__).parents[2] / "qatprep"
    found = {str(path.relative_to(report)) for path in report.rglob("*.py") if "soft_wrap=True" in path.read_text()}
    assert found == {"report/console.py", "report/rows.py"}


def test_a_pipe_is_never_wrapped() -> None:
    out = StringIO()
    console(out, {"COLUMNS": "40"}).print("word " * 200)
    assert len(out.getvalue().splitlines()) == 1
