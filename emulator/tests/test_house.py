"""qat-emulator stands alone: the standard library and libcrypto, nothing of qatprep, no file that grows too large."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "qat_emulator"
LONGEST = 450


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: str(path.name))
def test_imports(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            assert name.partition(".")[0] in {*sys.stdlib_module_names, "qat_emulator"}, f"{path}:{name}"


def test_no_file_is_long() -> None:
    for path in (*PACKAGE.glob("*.py"), *PACKAGE.glob("*.c"), *Path(__file__).parent.glob("*.py")):
        assert len(path.read_text().splitlines()) <= LONGEST, path
