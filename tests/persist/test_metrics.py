"""Metrics: what they say, in a format that Prometheus takes, and the alerts that use them."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from qatprep.exits import ExitCode
from qatprep.report.prometheus import METRICS
from tests.conftest import qatprep
from tests.persist.hosts import installed

ROOT = Path(__file__).parent.parent.parent
Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]

_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
_SAMPLE = re.compile(
    rf"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{{(?P<labels>{_LABEL}(?:,{_LABEL})*)\}})? (?P<value>-?[0-9.e+]+)"
)


def parse(text: str) -> Samples:
    """The text format by its own grammar, as strictly as `promtool check metrics` reads it."""
    found: Samples = {}
    announced: list[str] = []
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            assert name not in announced, f"{name} twice"
            announced.append(name)
        elif line.startswith("# TYPE "):
            assert line.split(" ")[2:] == [announced[-1], "gauge"]
        else:
            match = _SAMPLE.fullmatch(line)
            assert match and match["name"] == announced[-1], line
            labels = tuple(
                (key, value) for key, value in re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', match["labels"] or "")
            )
            family = found.setdefault(match["name"], {})
            assert labels not in family, f"{line} twice"
            family[labels] = float(match["value"])
    return found


def metrics(name: str, *arguments: str) -> Samples:
    called = qatprep("metrics", "--simulate", name, *arguments)
    assert called.code == ExitCode.OK, called.err
    return parse(called.out)


def vfs(samples: Samples, device: str) -> dict[str, float]:
    return {
        dict(labels)["state"]: v for labels, v in samples["qatprep_vfs"].items() if dict(labels)["device"] == device
    }


def status(samples: Samples, id: str) -> float:
    return next(value for labels, value in samples["qatprep_finding_status"].items() if dict(labels)["id"] == id)


def test_a_ready_node_and_a_bare_one() -> None:
    ready, bare = metrics("spr-2s-ready"), metrics("spr-2s")
    assert ready["qatprep_node_ready"][(("for", "qat"),)] == 1
    assert bare["qatprep_node_ready"][(("for", "qat"),)] == 0
    assert ready["qatprep_drift_changes"][()] == 0
    assert bare["qatprep_drift_changes"][()] > 100
    everything = {"possible": 16.0, "made": 16.0, "bound": 16.0, "ready": 16.0, "held": 0.0}
    assert vfs(ready, "0000:6b:00.0") == everything
    assert vfs(bare, "0000:6b:00.0") == {**everything, "made": 0, "bound": 0, "ready": 0}
    assert status(ready, "QP-SRIOV-001") == 0
    assert status(bare, "QP-SRIOV-001") == 3
    assert status(bare, "QP-VFIO-001") == 4


def test_troubles_show() -> None:
    counts = metrics("nodes-root-only")["qatprep_vfs"]
    assert min(value for labels, value in counts.items() if ("state", "ready") in labels) < 16
    held = [value for labels, value in metrics("vf-held")["qatprep_vfs"].items() if ("state", "held") in labels]
    assert sum(held) >= 1
    assert 0 in metrics("pf-down")["qatprep_pf_up"].values()


def test_a_node_without_qat_raises_no_alarm() -> None:
    samples = metrics("no-qat")
    assert (("for", "qat"),) not in samples.get("qatprep_node_ready", {})
    assert "qatprep_pf_up" not in samples
    assert 3 not in samples["qatprep_finding_status"].values()


@pytest.mark.parametrize("name", ["vm-vfs", "gen2-c62x", "domain-0001", "spr-2s-as-user", "mixed-generations"])
def test_every_kind_of_host_can_be_told(name: str) -> None:
    assert metrics(name)["qatprep_build_info"]


def test_the_last_run() -> None:
    host = installed()
    assert "qatprep_last_run" not in qatprep("metrics", host=host).out
    qatprep("bootstrap", "--no-smoke", host=host)
    samples = parse(qatprep("metrics", host=host).out)
    assert samples["qatprep_last_run_success"][()] == 1
    began = 1772438400  # 2026-03-02T08:00:00Z; looking at the host took a few seconds of its time
    assert began <= samples["qatprep_last_run_timestamp_seconds"][()] < began + 60
    qatprep("rollback", "--yes", host=host)
    assert parse(qatprep("metrics", host=host).out)["qatprep_last_run_success"][()] == 0


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "qatprep.prom"
    target.write_text("old")
    before = target.stat().st_ino
    called = qatprep("metrics", "--simulate", "spr-2s", "--write", str(target))
    assert (called.code, called.out) == (ExitCode.OK, "")
    assert parse(target.read_text())
    assert target.stat().st_ino != before
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["qatprep.prom"]


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    called = qatprep("metrics", "--simulate", "spr-2s", "--write", str(tmp_path / "no" / "q.prom"))
    assert called.code == ExitCode.ERROR and "textfile.directory" in called.err
    called = qatprep("metrics", "--simulate", "spr-2s", "--write", str(tmp_path / "q.txt"))
    assert called.code == ExitCode.USAGE and ".prom" in called.err


FULL_DISK = """
mount -t tmpfs -o size=8k,nr_inodes=10 none "$1" && dd if=/dev/zero of="$1/ballast" bs=4k status=none 2>/dev/null
printf old > "$1/q.prom" 2>/dev/null
"$2" -m qatprep metrics --simulate spr-2s --write "$1/q.prom"
echo "status $?, now $(ls "$1" | tr '\\n' ' ')"
"""


def test_a_full_disk_is_told_with_what_to_do(tmp_path: Path) -> None:
    """On a file system of 8 KiB that is full, in a mount namespace of its own; nothing half-written stays there."""
    unshare = ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace may be made here")
    argv = [*unshare, "sh", "-c", FULL_DISK, "sh", str(tmp_path), sys.executable]
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.stderr.splitlines() == [
        f"error: cannot write '{tmp_path}/q.prom': No space left on device",
        "  fix:   make room there, then run this again",
    ]
    assert done.stdout == "status 1, now ballast q.prom \n"


def test_the_names_are_documented() -> None:
    text = (ROOT / "docs" / "persistence.md").read_text()
    assert set(re.findall(r"^\| `(qatprep_\w+)", text, re.MULTILINE)) == set(METRICS)


def test_the_alerts_use_what_there_is() -> None:
    document = yaml.safe_load((ROOT / "docs" / "alerts.yaml").read_text())
    rules = [rule for group in document["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        names = set(re.findall(r"\b(?:qatprep|node)_\w+", rule["expr"]))
        assert names and names <= {*METRICS, "node_textfile_mtime_seconds"}
        assert rule["annotations"]["summary"] and rule["labels"]["severity"]
