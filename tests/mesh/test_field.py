"""Manifests and logs as they are met in the field: field.yaml has each, and what inspect shall say of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.mesh.cli import qatprep_

FIELD: dict[str, dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "field.yaml").read_text(encoding="utf-8"))
CASES = [(kind, name) for kind, cases in FIELD.items() for name in cases]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_case(kind: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_text(FIELD[kind][name]["text"], encoding="utf-8")
    ran = qatprep_("inspect", kind, str(path), "--output", "json")
    said: dict[str, Any] = {"exit": ran.code}
    if ran.out:
        document = json.loads(ran.out)
        said["result"] = document["result"]
        for status in ("fail", "warn"):
            if ids := sorted(f["id"].removeprefix("QP-") for f in document["findings"] if f["status"] == status):
                said[status] = ids
    assert said == FIELD[kind][name]["expected"]
