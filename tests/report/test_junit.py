"""doctor --junit: a failure exactly where the exit status is not 0, and the same cases on every host."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import qatprep
from tests.report.pages import HOSTS


def junit(tmp_path: Path, *arguments: str) -> tuple[int, ElementTree.Element]:
    file = tmp_path / "doctor.xml"
    called = qatprep("doctor", "--junit", str(file), *arguments)
    return called.code, ElementTree.parse(file).getroot()


@pytest.mark.parametrize("options", [(), ("--strict",), ("--require-proof",)], ids=" ".join)
@pytest.mark.parametrize("name", [*HOSTS, "iommu-staged"])
def test_failures_and_the_exit_status_agree(name: str, options: tuple[str, ...], tmp_path: Path) -> None:
    code, root = junit(tmp_path, "--simulate", name, *options)
    assert (int(root.attrib["failures"]) > 0) == (code != 0)
    cases = root.findall("*/testcase")
    assert int(root.attrib["tests"]) == len(cases) == sum(int(suite.attrib["tests"]) for suite in root)
    assert len({(case.attrib["classname"], case.attrib["name"]) for case in cases}) == len(cases)
    assert sum(len(case.findall("failure")) for case in cases) == int(root.attrib["failures"])


def test_cases_are_the_same_on_every_host(tmp_path: Path) -> None:
    def names(name: str) -> set[str]:
        return {case.attrib["name"] for case in junit(tmp_path, "--simulate", name)[1].findall("*/testcase")}

    assert names("spr-2s") == names("spr-2s-ready") == names("no-qat")


def test_what_a_failure_says(tmp_path: Path) -> None:
    _, root = junit(tmp_path, "--simulate", "vf-held")
    (failure,) = root.iter("failure")
    assert failure.attrib["message"] == "PF 0000:6b:00.0 offers dc, not sym;asym"
    assert failure.text and "seen: /sys/bus/pci/devices/0000:6b:00.0/qat/cfg_services: dc" in failure.text
    assert "fix: First stop envoy (process 4711), then: qatprep bootstrap --simulate vf-held" in failure.text


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    called = qatprep("doctor", "--junit", str(tmp_path / "no" / "x.xml"), "--simulate", "spr-2s")
    assert called.code == 1 and "cannot write" in called.err and called.out == ""
