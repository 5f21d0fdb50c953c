"""Nodes as they are met in the field: field/NAME.txt, and in field/expected.yaml what doctor finds on each.

Most include a file that begins with _: _node runs containerd, a kubelet and one Envoy; _plugin adds Intel's device
plugin and gives that Envoy two VFs of one PF; _owned is such a node with nothing to fail.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from qatprep.facts import gather
from qatprep.host import manifest
from tests.conftest import qatprep, some
from tests.runtime.conftest import Containerd
from tests.runtime.test_asked import HERE, Asked, found

FIELD = Path(__file__).parent / "field"
EXPECTED: dict[str, dict[str, Any]] = yaml.safe_load((FIELD / "expected.yaml").read_text(encoding="utf-8"))
NAMES = sorted(path.stem for path in FIELD.glob("[!_]*.txt"))


def test_each_node_has_its_row() -> None:
    assert sorted(EXPECTED) == NAMES


@pytest.mark.parametrize("name", some(NAMES, 2, 1))
def test_a_node_of_the_field(name: str) -> None:
    called = qatprep("doctor", "--profile", "qat", "--root", str(FIELD / f"{name}.txt"), "--output", "json")
    said = called.json
    made: dict[str, Any] = {"exit": called.code, "verdict": said["verdicts"][0]["state"]}
    for status in ("fail", "warn", "unknown"):
        if ids := {f["id"].removeprefix("QP-") for f in said["findings"] if f["status"] == status}:
            made[status] = sorted(ids)
    assert made == EXPECTED[name]


@pytest.mark.parametrize("name", some((name for name in NAMES if name.startswith("ct-")), 3))
def test_containerd_agrees(name: str, containerd: Containerd, tmp_path: Path) -> None:
    """Of a containerd configuration, doctor says what the real binary makes of it: refused, off or on."""
    host = Asked("", containerd, tmp_path)
    host.tree = manifest.load(str(FIELD / f"{name}.txt"))
    dump = host.run(["/usr/bin/containerd", "--config", f"{HERE}/config.toml", "config", "dump"])
    ids = [f"{f.id} {f.status}" for f in found(gather(host))]
    if dump.rc:
        assert "QP-RT-002 fail" in ids
    else:
        assert ("QP-RT-001 fail" in ids) == ("device_ownership_from_security_context = true" not in dump.stdout.raw)
