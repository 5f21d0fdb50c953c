"""What is printed: golden/all.txt and golden/one.txt; and the document beside it fits its schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from io import StringIO
from pathlib import Path

import fastjsonschema
import pytest

from qatprep.crypto.direct_findings import findings
from qatprep.crypto.direct_record import Record
from qatprep.crypto.smoke_direct import DirectReport
from qatprep.direct.result import Cause
from qatprep.errors import QatprepError
from qatprep.findings import Status
from qatprep.report import direct
from qatprep.report.console import console
from tests.direct import faults
from tests.direct.test_smoke_direct import Here, run

GOLDEN = Path(__file__).parent / "golden"


def shown(report: DirectReport, *, every: bool) -> str:
    results = [replace(r, checked_by="integer arithmetic and CHECKER" if r.checked_by else "") for r in report.results]
    stream = StringIO()
    direct.print_report(console(stream, {}), replace(report, results=tuple(results), seconds=1.5), every=every)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


@pytest.mark.parametrize("every", [True, False])
def test_printed(every: bool, golden: Callable[[Path, str], None]) -> None:
    here = Here(
        {"0000:6b:00.1": faults.NoShutdown, "0000:6b:00.3": faults.Wrong, "0000:6b:00.4": faults.Wrong},
        dict.fromkeys(("0000:6b:00.5", "0000:70:00.1"), Cause.HELD),
    )
    report = run("pf-down", here, every=every)
    fastjsonschema.validate(
        json.loads(files("qatprep.schema").joinpath("smoke-direct.json").read_text()),
        json.loads(json.dumps(direct.document(report, "a host"))),
    )
    golden(GOLDEN / ("all.txt" if every else "one.txt"), shown(report, every=every))


def test_a_node_without_vfs(golden: Callable[[Path, str], None]) -> None:
    golden(GOLDEN / "none.txt", shown(run("spr-2s-no-vfs"), every=True))


def test_findings() -> None:
    here = Here({"0000:6b:00.3": faults.Wrong, "0000:6b:00.4": faults.Wrong, "0000:6b:00.6": faults.Silent})
    found = findings(run("spr-2s-ready", here))
    assert [(f.id, f.status, f.evidence[0].value.split(",")[0], len(f.subjects)) for f in found] == [
        ("QP-PROOF-003", Status.FAIL, "wrong", 2),
        ("QP-PROOF-002", Status.FAIL, "pf-silent", 1),
        ("QP-PROOF-003", Status.OK, "0 responses for 127 requests; 127 not counted", 125),
    ]


def test_a_record_goes_into_no_link_and_nobody_elses_file(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("kept")
    (tmp_path / "link").symlink_to(other)
    other.chmod(0o666)
    for name in ("link", "other"):
        with pytest.raises(QatprepError, match="cannot write"), Record(str(tmp_path / name)):
            pass
    assert other.read_text() == "kept"
    with Record(str(tmp_path / "new")) as record:
        record.keep("0000:6b:00.1", {"t": 0.1, "step": "find", "what": "begin"})
        assert len((tmp_path / "new").read_text().splitlines()) == 2
