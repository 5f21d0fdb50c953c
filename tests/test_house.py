"""The house keeps its order: who may import whom, which library is used where, and no room grows too large."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "qatprep"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))

GROUND = (
    *("exits", "version", "text", "errors", "hardware", "instruction_sets"),
    *("json_input", "yaml_text", "schema_check"),
)
"""Modules at the top of the package that every room may import. Among themselves in this order."""
BELOW = {
    "host": (),
    "runtime": (),
    "findings": (),
    "simulator": ("host",),
    "facts": ("host", "runtime", "findings"),
    "config": ("facts", "host", "runtime"),
    "persist": ("config", "facts", "host", "runtime"),
    "checks": ("config", "facts", "findings", "host", "persist", "runtime"),
    "assess": ("checks", "config", "facts", "findings", "host"),
    "steps": ("facts", "host", "persist", "runtime"),
    "plan": ("assess", "checks", "config", "facts", "host", "persist", "runtime", "steps"),
    "outcome": ("assess", "checks", "facts", "findings", "plan"),
    "engine": ("assess", "config", "facts", "findings", "host", "plan", "steps"),
    "direct": (),
    "crypto": ("direct", "facts", "findings", "host"),
    "measure": ("crypto", "facts", "host"),
    "mesh": ("facts", "findings", "host", "runtime"),
    "report": (
        *("assess", "checks", "config", "crypto", "engine", "facts", "findings", "host", "measure", "mesh", "outcome"),
        *("persist", "plan"),
        *("runtime", "simulator", "steps"),
    ),
    "cli": (
        *("assess", "checks", "config", "crypto", "engine", "facts", "findings", "host", "measure", "mesh", "outcome"),
        *("persist", "plan"),
        *("report", "runtime", "simulator"),
    ),
    "__main__": ("cli",),
}
"""Room -> the rooms it may import. Imports for type checkers count like any other."""
ONLY_IN = {
    "rich": ("qatprep/report/",),
    "sh": ("qatprep/host/programs.py",),
    "psutil": ("qatprep/host/",),
    "pyudev": ("qatprep/host/",),
    "subprocess": ("qatprep/crypto/", "qatprep/runtime/", "qatprep/host/"),
}
LONGEST = 450


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of each import, those for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def name_of(path: Path) -> str:
    """qatprep/plan/node.py -> qatprep.plan.node, a package's __init__ -> the package."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


NAMES = frozenset(map(name_of, MODULES))


def module(imported: str) -> str:
    """The module of qatprep that an imported name is or is in, "" for none."""
    return imported if imported in NAMES else imported.rpartition(".")[0] if imported.startswith("qatprep.") else ""


def room(name: str) -> str:
    return [*name.split("."), ""][1]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    own = room(name_of(path))
    ground = GROUND[: GROUND.index(own)] if own in GROUND else GROUND
    allowed = {own, "", "_native", *ground, *BELOW.get(own, ())}
    for line, imported in imports(path):
        top = imported.split(".")[0]
        if top in ONLY_IN:
            assert name.startswith(ONLY_IN[top]), f"{name}:{line} imports {imported}"
        if top == "qatprep":
            assert room(imported) in allowed, f"{name}:{line}: {own} may not import {imported}"


def test_every_room_has_its_place() -> None:
    """A room that is in no table would be held to nothing; and no room may stand above itself."""
    assert {room(name) for name in NAMES} - {"", "schema"} <= {*GROUND, *BELOW}
    for own in BELOW:
        seen: set[str] = set()
        todo = list(BELOW[own])
        while todo:
            below = todo.pop()
            if below not in seen:
                seen.add(below)
                todo += BELOW[below]
        assert own not in seen


def test_no_circle_of_imports() -> None:
    """Not among modules of one room either."""
    uses = {name_of(path): {module(i) for _, i in imports(path)} - {name_of(path), ""} for path in MODULES}
    rest = {name: {used for used in used_by if used in uses} for name, used_by in uses.items()}
    while free := [name for name, needs in rest.items() if not needs]:
        for name in free:
            del rest[name]
        for needs in rest.values():
            needs.difference_update(free)
    assert rest == {}


def test_no_room_is_too_large() -> None:
    sources = [*MODULES, *(ROOT / "tests").rglob("*.py"), *(PACKAGE / "native").glob("*.[ch]")]
    long = {str(p.relative_to(ROOT)): n for p in sources if (n := len(p.read_text().splitlines())) > LONGEST}
    assert long == {}
