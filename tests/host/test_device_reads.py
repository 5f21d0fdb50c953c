"""Files of devices that do not answer: nothing waits without an end, what answers is read, and each verb says it."""

from __future__ import annotations

import errno
import time
from pathlib import Path

import pytest

from qatprep.facts.base import READ_DEADLINE, DeviceFiles, Unknown
from qatprep.hardware import DEBUGFS, IOMMU_GROUPS, PCI_DEVICES
from qatprep.host import child
from qatprep.host.linux import LinuxHost
from qatprep.simulator.faults import Fault, Faults
from tests.conftest import qatprep
from tests.faults.journeys import BY_NAME, PF
from tests.simulator.hosts import simulated

VERBS = ("doctor", "plan", "status", "device list", "device list --all", "bootstrap --check", "metrics", "features")
DEVICE = (PCI_DEVICES, DEBUGFS, IOMMU_GROUPS)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("place", DEVICE)
def test_no_read_of_a_device_is_without_a_deadline(verb: str, place: str) -> None:
    """BlockedForever, which a read without one meets here, would be an error of qatprep's own."""
    host = simulated("spr-2s-ready", faults=Faults(Fault("hang", op="read", path=f"{place}/*", times=0)))
    begin = host.now()
    called = qatprep(*verb.split(), host=host)
    assert "mistake in qatprep" not in called.err and "QP-CRASH" not in called.out, called.err
    assert called.code in (0, 3)
    assert host.now() - begin < 2 * READ_DEADLINE + 5, "two looks at most, and the queries of the heartbeat"


@pytest.mark.parametrize(
    ("name", "finding"),
    [("qat/state", "QP-PF-002"), ("qat/cfg_services", "QP-SVC-002"), ("sriov_numvfs", "QP-SRIOV-001")],
)
def test_a_file_that_blocks_is_unknown_and_the_others_are_read(name: str, finding: str) -> None:
    host = simulated("spr-2s-ready", faults=Faults(Fault("hang", op="read", path=f"*/{PF}/{name}", times=0)))
    found = qatprep("doctor", "--profile", "qat", "-o", "json", host=host).json["findings"]
    (told,) = [each for each in found if each["status"] in ("unknown", "fail")]
    assert told["id"] == finding and "blocked in the kernel" in str(told)
    assert told["subjects"] == [PF]


@pytest.mark.parametrize("verb", ["device bind", "device unbind", "device services", "device vfs create"])
def test_a_verb_that_changes_says_what_does_not_answer(verb: str) -> None:
    journey = BY_NAME[verb]
    for name in ("qat/state", "sriov_numvfs", "driver_override", "qat/cfg_services"):
        host = journey.host("6.12", Fault("hang", op="read", path=f"*/{name}", times=0))
        begin = host.now()
        end = journey.call(host)  # Fell where it is a mistake of its own
        assert end.status in ("applied", "rolled back", "partial", "error", "refused", "unchanged"), end
        assert host.now() - begin < 120


# -- on this machine --------------------------------------------------------------------------------------------------


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads of files called stuck... do not return while the test runs; in the helpers, which are forks."""
    known = child.read

    def read(real: str, limit: int) -> bytes:
        if "stuck" in real:
            time.sleep(20)
        return known(real, limit)

    monkeypatch.setattr(child, "read", read)


def test_those_that_answer_are_read_whoever_does_not(stuck: None, tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"file{number}").write_bytes(b"%d\n" % number)
    paths = [str(tmp_path / f"file{number}") for number in range(300)]
    for place in (0, 70, 71, 150, 301):
        paths.insert(place, str(tmp_path / f"stuck{place}"))
    helpers = child.Helpers()
    outcomes = dict(zip(paths, helpers.read_all(paths, 2.0), strict=True))
    assert len(helpers._idle) == 1
    for path, outcome in outcomes.items():
        assert outcome == (errno.ETIMEDOUT if "stuck" in path else b"%d\n" % int(path.rsplit("file", 1)[1]))


def test_one_that_was_only_slow_is_read_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known = child.read

    def read(real: str, limit: int) -> bytes:
        if "slow" in real:
            time.sleep(3 * child.PATIENCE)
        return known(real, limit)

    monkeypatch.setattr(child, "read", read)
    for name in ("one", "slow", "two"):
        (tmp_path / name).write_text(name)
    paths = [str(tmp_path / name) for name in ("one", "slow", "two")]
    assert child.Helpers().read_all(paths, 60.0) == [b"one", b"slow", b"two"]


def test_a_file_without_an_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert child.Helpers().read_all(["/dev/zero", str(tmp_path / "file")], 60.0) == [errno.EFBIG, b"x"]


def test_one_look_asks_a_file_that_blocked_once(stuck: None, tmp_path: Path) -> None:
    (tmp_path / "sys/bus").mkdir(parents=True)
    (tmp_path / "file").write_text("7\n")
    files = DeviceFiles(LinuxHost(str(tmp_path)))
    files.fetch(("/stuck", "/file", "/absent"))
    files.forget(("/stuck", "/file"))
    assert files.number("/file") == 7 and files.number("/absent") is None
    found = files.number("/stuck")
    assert isinstance(found, Unknown) and found.reason == "/stuck: blocked in the kernel"
