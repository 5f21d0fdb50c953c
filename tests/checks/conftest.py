"""Golden files: what doctor prints is compared with tests/checks/golden, or written there by --golden-update."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden-update", action="store_true", help="write the golden files of tests/checks again")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with a file. The option is known only when pytest is given tests/checks itself."""
    update = bool(request.config.getoption("--golden-update", default=False))

    def compare(path: Path, text: str) -> None:
        if update:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        wanted = path.read_text(encoding="utf-8") if path.exists() else ""
        if wanted != text:
            lines = difflib.unified_diff(wanted.splitlines(), text.splitlines(), str(path.name), "now", lineterm="")
            pytest.fail(
                "\n".join(lines) + "\n\npython -m pytest tests/checks --golden-update accepts it", pytrace=False
            )

    return compare
