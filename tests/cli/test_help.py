"""The help of every command: one style, 80 columns, nothing cut, examples that run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import typer

from qatprep.__main__ import main
from qatprep.cli.app import GROUPS, app
from qatprep.cli.examples import EXAMPLES
from qatprep.cli.session import Session
from tests.conftest import qatprep

MEASURES = ("smoke", "bench", "tune")
ELSEWHERE = ("http://", "kubectl ", "istioctl ", "dmesg ", "localhost:", "--watch", "--write", "--prove", "> ")
"""Examples that need a gateway, a cluster or the machine itself."""
FILES = ("envoy.log", "deployment.yaml", "new.yaml", "node.txt", "node.html", "tune.json", "--generate")
"""Examples that read or write a file of that name."""


def commands(command: Any = None, ctx: Any = None) -> Iterator[tuple[str, Any, Any]]:
    """Path, command and context of each, groups too."""
    command = command or typer.main.get_command(app)
    ctx = ctx or command.context_class(command, info_name="qatprep", **command.context_settings)
    yield ctx.command_path, command, ctx
    for name in command.list_commands(ctx) if hasattr(command, "list_commands") else ():
        below = command.get_command(ctx, name)
        yield from commands(below, below.context_class(below, info_name=name, parent=ctx))


ALL = {path: (command, ctx) for path, command, ctx in commands()}
LEAVES = [path for path, (command, _) in ALL.items() if not hasattr(command, "list_commands")]


def help_of(path: str) -> str:
    command, ctx = ALL[path]
    return str(command.get_help(ctx))


@pytest.mark.parametrize("path", ALL)
def test_it_is_80_columns_and_nothing_is_cut(path: str) -> None:
    text = help_of(path)
    command, ctx = ALL[path]
    for line in text.splitlines():
        assert line == line.rstrip()
        assert len(line) <= 80, line
    assert "…" not in text and not re.search(r"\w\.\.\.", text.replace("BDF...", ""))
    for parameter in command.get_params(ctx):
        for name in parameter.opts if parameter.param_type_name == "option" else ():
            assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text), name


@pytest.mark.parametrize("path", ALL)
def test_its_parts_are_in_one_order(path: str) -> None:
    lines = help_of(path).splitlines()
    heads = [line for line in lines if re.fullmatch(r"[A-Z][A-Za-z ,()?;\-']+", line)]
    usage = next(n for n, line in enumerate(lines) if line.startswith("Usage: "))
    assert lines[0][0].isupper() and usage < 8
    assert "Output" in heads and ("Examples" in heads or path not in LEAVES)
    assert not re.search(r"\[default|<int range>|<float|\bINTEGER\b|\bFLOAT\b|<.*\|.*>", help_of(path))
    for line in lines:
        if re.match(r"  (-\w, |    )--", line):
            assert not line.endswith("."), line


@pytest.mark.parametrize("path", LEAVES)
def test_it_has_color_quiet_and_help(path: str) -> None:
    text = help_of(path)
    assert "--color WHEN" in text and "-q, --quiet" in text and "-h, --help" in text


def test_the_verbs_are_in_groups() -> None:
    text = help_of("qatprep")
    for heading, verbs in GROUPS.items():
        after = text.split(f"\n{heading}\n", 1)[1].split("\n\n", 1)[0]
        assert [line.split()[0] for line in after.splitlines()] == list(verbs)


def test_every_command_has_an_example_and_no_other() -> None:
    assert {f"qatprep {path}" for path in EXAMPLES} == set(LEAVES)


RUN = [
    line
    for path, lines in EXAMPLES.items()
    for line, _ in lines
    if not path.startswith(MEASURES) and not any(word in line for word in (*ELSEWHERE, *FILES))
]


@pytest.mark.parametrize("line", RUN)
def test_an_example_runs(line: str) -> None:
    words = shlex.split(line)
    hosted = any("--simulate" in parameter.opts for parameter in _parameters(words))
    yes = ["--yes"] if any("--yes" in parameter.opts for parameter in _parameters(words)) else []
    called = qatprep(*words, *(["--simulate", "spr-2s-ready", *yes] if hosted else []))
    assert called.code in (0, 3), (called.out[-300:], called.err)


def _parameters(words: list[str]) -> list[Any]:
    path = max((path for path in LEAVES if f"qatprep {' '.join(words)} ".startswith(f"{path} ")), key=len)
    command, ctx = ALL[path]
    return list(command.get_params(ctx))


@pytest.mark.parametrize("path", ["qatprep", "qatprep device", "qatprep inspect"])
def test_a_group_without_a_verb_prints_its_help(path: str) -> None:
    out, err = StringIO(), StringIO()
    assert main(path.split()[1:], Session(out=out, err=err, env={})) == 2
    assert "Usage: " in out.getvalue() and err.getvalue() == ""
