"""The house keeps its order: who may import whom, which library is used where, and no room grows too large."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "qatprep"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))

BELOW = {
    "host": (),
    "findings": (),
    "facts": ("host", "runtime", "findings"),
    "checks": ("findings", "facts", "host", "runtime", "persist"),
    "assess": ("checks", "findings", "facts", "host", "runtime", "persist"),
    "steps": ("facts", "host", "runtime", "persist"),
    "plan": ("assess", "checks", "steps", "facts", "host", "runtime", "persist"),
    "outcome": ("assess", "plan", "checks", "findings", "facts"),
    "runtime": ("host",),
    "persist": ("host", "facts"),
    "mesh": ("findings", "facts", "host"),
    "crypto": ("facts", "host"),
    "engine": ("findings", "assess", "outcome", "checks", "plan", "steps", "facts", "host"),
    "report": (
        *(
            "findings",
            "engine",
            "assess",
            "outcome",
            "checks",
            "plan",
            "steps",
            "facts",
            "host",
            "mesh",
            "runtime",
            "crypto",
            "persist",
        ),
    ),
    "cli": (
        *(
            "report",
            "findings",
            "engine",
            "assess",
            "outcome",
            "checks",
            "plan",
            "steps",
            "facts",
            "host",
            "mesh",
            "runtime",
        ),
        *("crypto", "persist"),
    ),
}
"""Room -> rooms it may import. Modules at the top (devices, errors, configuration ...) may be imported by all."""
ONLY_IN = {
    "rich": ("qatprep/report/",),
    "sh": ("qatprep/host/programs.py",),
    "psutil": ("qatprep/host/",),
    "pyudev": ("qatprep/host/",),
    "subprocess": ("qatprep/crypto/", "qatprep/runtime/", "qatprep/host/"),
}
LONGEST = 450


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of each import that runs (those for type checkers alone do not)."""
    tree = ast.parse(path.read_text())
    skip: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            skip.update(ast.walk(node))
    for node in ast.walk(tree):
        if node in skip:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for line, imported in imports(path):
        top = imported.split(".")[0]
        if top in ONLY_IN:
            assert name.startswith(ONLY_IN[top]), f"{name}:{line} imports {imported}"
        if top == "qatprep" and room in BELOW and imported.count(".") >= 1:
            target = imported.split(".")[1]
            allowed = target == room or target not in BELOW or target in BELOW[room]
            assert allowed, f"{name}:{line}: {room}/ may not import {imported}"


def test_no_room_is_too_large() -> None:
    sources = [*MODULES, *(ROOT / "tests").rglob("*.py"), *(PACKAGE / "native").glob("*.[ch]")]
    long = {str(p.relative_to(ROOT)): n for p in sources if (n := len(p.read_text().splitlines())) > LONGEST}
    assert long == {}
