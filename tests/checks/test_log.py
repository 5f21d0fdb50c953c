"""Lines of the kernel log: evidence of a finding, history, other people's trouble, or a warning of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qatprep.checks.log import READINGS, reservation
from qatprep.facts.base import Unknown
from qatprep.facts.log import LogLine
from qatprep.findings import Finding, Status
from qatprep.findings.messages import Source, of
from tests.checks.hosts import facts, found, judge
from tests.mesh.cli import qatprep_

PF, VF, OTHER = "0000:6b:00.0", "0000:6b:00.1", "0000:70:00.0"


def log(*lines: str) -> str:
    return "/.qatprep/dmesg <<\n" + "\n".join(f"| {line}" for line in lines)


def warnings(host: str, *lines: str, change: str = "") -> list[Finding]:
    report = judge(host, f"{change}\n{log(*lines)}")
    return [f for f in report.of(Status.WARN) if f.id == "QP-LOG-001"]


def test_every_reading_is_of_a_kind_of_line() -> None:
    assert set(READINGS) <= {message.key for message in of(Source.KERNEL)}


HARMLESS = [
    f"4xxx {PF}: 8 VFs requested; only 16 enabled",
    f"4xxx {PF}: Already enabled for this device",
    f"pci {PF}: 16 VFs already enabled. Disable before enabling 8 VFs",
    f"4xxx {PF}: Device qat_dev0 must be down to reconfigure the service.",
    f"4xxx {PF}: Direct firmware load for qat_4xxx_mmp.bin failed with error -2",
    f"4xxx {PF}: Failed to load MMP firmware qat_4xxx_mmp.bin",
    f"4xxx {PF}: probe with driver 4xxx failed with error -14",
    f"4xxx: probe of {PF} failed with error -14",
    "QAT: authentication error (FCU_STATUS = 0x1),retry = 0",
    f"4xxx {PF}: IOMMU should be enabled for SR-IOV to work correctly",
    f"vfio-pci {VF}: probe with driver vfio-pci failed with error -22",
    f"4xxx {PF}: Failed to start qat_dev0",
    f"4xxx {PF}: Device qat_dev0 is busy",
    f"4xxx {PF}: Some VFs are still running",
    f"vfio-pci {VF}: No device request channel registered, blocked until released by user",
    "Lockdown: cat: debugfs access is restricted; see man kernel_lockdown.7",
    "qat_4xxx: loading out-of-tree module taints kernel.",
    # other people's
    "vfio-pci 0000:03:00.0: probe with driver vfio-pci failed with error -22",
    "ice 0000:17:00.0: not enough MMIO resources for SR-IOV",
    "nvidia: disagrees about version of symbol module_layout",
    "DMAR: [DMA Read NO_PASID] Request device [0000:03:00.0] fault addr 0x1000",
    "vfio-pci 0000:6b:1f.1: No device request channel registered, blocked until released by user",
]


@pytest.mark.parametrize("line", HARMLESS)
def test_history_on_a_healthy_host_is_no_finding(line: str) -> None:
    assert found(judge("spr-2s-ready", log(line))) == {}


@pytest.mark.parametrize("line", [line for line in HARMLESS if f"4xxx {PF}" in line or f"{VF}: probe" in line])
def test_history_at_warning_or_worse_is_shown_all_the_same(line: str) -> None:
    (f,) = [f for f in judge("spr-2s-ready", log(f"<4>{line}")).findings if f.id == "QP-LOG-001"]
    assert f.status is Status.OK and [e.value for e in f.evidence if e.path == "kernel log"] == [line]


UNKNOWN = "zorp engine refused, code 7"
NAMED = [
    f"4xxx {PF}: {UNKNOWN}",
    f"vfio-pci {VF}: {UNKNOWN}",
    f"{VF}: {UNKNOWN}",
    f"QAT: {UNKNOWN}",
    f"qat_4xxx: {UNKNOWN}",
    f"4xxx 0000:6c:00.0: {UNKNOWN}",
]
"""The last: a PF that is gone from the bus."""


@pytest.mark.parametrize("line", NAMED)
@pytest.mark.parametrize("level", ["<0>", "<3>", "<4>", "<12>", ""])
def test_a_line_that_nobody_knows_is_shown(line: str, level: str) -> None:
    report = judge("spr-2s-ready", log(f"<6>4xxx {PF}: qat_dev0 started 9 acceleration engines", level + line))
    (f,) = [f for f in report.of(Status.WARN) if f.id == "QP-LOG-001"]
    assert f.title == f"kernel log: 1 line about QAT not recognised: {line}"
    assert [e.value for e in f.evidence] == [line] and f.cause and f.fix
    assert line in reservation(report.findings)


def test_the_verdict_speaks_of_it(tmp_path: Path) -> None:
    line = f"4xxx {PF}: {UNKNOWN}"
    host = tmp_path / "host.txt"
    host.write_text(f"# qatprep host 1\n@include spr-2s-ready\n{log(f'<3>{line}')}\n")
    document = json.loads(qatprep_("doctor", "--profile", "qat", "--root", str(host), "--output", "json").out)
    assert line in document["verdicts"][0]["text"]
    assert qatprep_("doctor", "--profile", "qat", "--root", str(host)).out.count("zorp") >= 2


@pytest.mark.parametrize(
    "line",
    [
        *(f"<{level}>{line}" for line in NAMED for level in (5, 6, 7, 30)),
        f"<3>ice 0000:17:00.0: {UNKNOWN}",
        f"<3>vfio-pci 0000:17:00.0: {UNKNOWN}",
        f"ice 0000:17:00.0: {UNKNOWN}",
        f"<3>usb 1-1: {UNKNOWN}",
    ],
)
def test_what_is_below_warning_or_of_others_is_not(line: str) -> None:
    assert found(judge("spr-2s-ready", log(line))) == {}


def test_unknown_lines_of_many_vfs_are_one_finding() -> None:
    lines = [f"<3>vfio-pci 0000:6b:0{n // 8}.{n % 8}: {UNKNOWN}" for n in range(1, 16)]
    (f,) = warnings("spr-2s-ready", *lines, f"<3>4xxx {PF}: and another")
    assert "16 lines" in f.title and len(f.evidence) == 2 and "(15 such lines)" in f.evidence[0].value


def test_a_host_file_without_priorities_is_read_as_before() -> None:
    """Every line that a healthy host writes is known to be harmless."""
    healthy = judge("spr-2s-ready")
    plain = judge("spr-2s-ready", log(*(line.text for line in _kept("spr-2s-ready"))))
    assert found(plain) == found(healthy) == {}


def _kept(host: str) -> tuple[LogLine, ...]:
    lines = facts(host).log.lines
    assert not isinstance(lines, Unknown) and lines and all(line.level == 6 for line in lines)
    return lines


def test_the_lines_before_a_failed_probe_are_evidence() -> None:
    lines = (
        f"<6>4xxx {PF}: qat_dev0 started 9 acceleration engines",
        f"<3>4xxx {PF}: Failed to send init message",
        "<3>4xxx 0000:70:00.0: Failed to power up the device",
        f"<3>4xxx {PF}: probe with driver 4xxx failed with error -14",
    )
    (f,) = [f for f in judge("pf-unbound", log(*lines)).of(Status.FAIL) if f.id == "QP-PF-001" and PF in f.subjects]
    told = [e.value for e in f.evidence if e.path == "kernel log"]
    assert told == [line[3:] for line in (lines[0], lines[1], lines[3])]
    assert "first message to the firmware got no answer" in f.cause


TROUBLE = [
    (f"4xxx {PF}: Uncorrectable error detected in AE: 0x1", "hardware errors"),
    (f"4xxx {PF}: HB polling too frequent. Configured HB timer 200 ms", "heartbeat"),
    (f"4xxx {PF}: Too many ints from VF1", "too many interrupts"),
    ("vfio_pin_pages_remote: RLIMIT_MEMLOCK (65536) exceeded", "lock enough memory"),
    (f"DMAR: [DMA Read NO_PASID] Request device [{VF}] fault addr 0x1000", "memory it was not given"),
    ("DMAR: [DMA Read] Request device [6b:00.1] fault addr 0x1000 [fault reason 06]", "memory it was not given"),
    ("qat_api: disagrees about version of symbol adf_dev_get", "two QAT drivers"),
    ("Cannot use PF with IOMMU enabled", "refuses the PF because the IOMMU is on"),
    ("vfio_iommu_type1_attach_group: No interrupt remapping support.", "interrupt remapping"),
    ("QAT: device restart failed. Device is unusable", "reset of a device failed"),
]


@pytest.mark.parametrize(("line", "words"), TROUBLE)
def test_what_sysfs_does_not_show_is_told(line: str, words: str) -> None:
    (f,) = warnings("spr-2s-ready", line)
    assert words in f.title and f.evidence[0].value == line and f.cause and f.fix


def test_the_same_trouble_many_times_is_one_finding() -> None:
    (f,) = warnings("spr-2s-ready", *(f"4xxx {PF}: HB polling too frequent. Configured HB timer 200 ms",) * 50)
    assert "50 lines" in f.title and len(f.evidence) < 10


@pytest.mark.parametrize(
    ("host", "line", "id"),
    [
        ("fw-missing", f"4xxx {PF}: Failed to load MMP firmware qat_4xxx_mmp.bin", "QP-FW-001"),
        ("fw-missing", f"4xxx {PF}: probe with driver 4xxx failed with error -14", "QP-FW-001"),
        ("dmar-absent", f"4xxx {PF}: IOMMU should be enabled for SR-IOV to work correctly", "QP-IOMMU-001"),
        ("spr-2s-no-vfs", f"pci {PF}: not enough MMIO resources for SR-IOV", "QP-SRIOV-001"),
        ("spr-2s-no-vfs", f"4xxx {PF}: Device busy", "QP-SRIOV-001"),
    ],
)
def test_a_line_is_evidence_of_the_finding_it_explains(host: str, line: str, id: str) -> None:
    report = judge(host, log(line))
    assert [f for f in report.of(Status.WARN) if f.id == "QP-LOG-001"] == []
    told = [e.value for f in report.of(Status.FAIL) if f.id == id for e in f.evidence]
    assert line in told


STARTED = f"4xxx {PF}: qat_dev0 started 9 acceleration engines"
GIVEN_UP = (
    f"4xxx {PF}: Fatal error, reset required",
    f"4xxx {PF}: Fatal error, cold reset required",
    f"4xxx {PF}: Heartbeat ERROR: QAT is not responding.",
    f"4xxx {PF}: Restart device failed",
)


@pytest.mark.parametrize("line", GIVEN_UP)
@pytest.mark.parametrize("again", [False, True], ids=["", "started again"])
def test_a_pf_given_up_by_its_driver_is_not_ready_until_it_starts_again(line: str, again: bool) -> None:
    """The heartbeat is closed here, so that nothing contradicts a lost one."""
    change = "- /sys/kernel/debug/qat_4xxx_0000:6b:00.0"
    report = judge("spr-2s-ready", f"{change}\n{log(STARTED, line, *([STARTED] if again else []))}")
    cured = again and "cold" not in line
    assert found(report) == ({"warn": ["QP-PF-004"]} if cured else {"fail": ["QP-PF-003"]})
    (f,) = report.of(Status.WARN if cured else Status.FAIL)
    assert f.subjects == (PF,) and line in [e.value for e in f.evidence]


def test_a_heartbeat_that_beats_takes_back_that_it_was_lost() -> None:
    assert found(judge("spr-2s-ready", log(GIVEN_UP[2]))) == {"warn": ["QP-LOG-001"]}


def test_trouble_of_one_device_does_not_hide_that_of_another() -> None:
    """PF 6b is down and the log tells why; that PF 70 hung is not explained by it."""
    change = f"/sys/devices/pci0000:6b/{PF}/qat/state = down"
    told = warnings(
        "spr-2s-ready",
        f"4xxx {PF}: Too many ints from VF1",
        "4xxx 0000:70:00.0: Too many ints from VF1",
        change=change,
    )
    assert [f.subjects for f in told] == [(PF, "0000:70:00.0")]
    hung = judge("spr-2s-ready", f"{change}\n{log(GIVEN_UP[0], GIVEN_UP[0].replace(PF, OTHER))}")
    assert {f.id: f.subjects for f in hung.of(Status.FAIL)} == {"QP-PF-002": (PF,), "QP-PF-003": (OTHER,)}
