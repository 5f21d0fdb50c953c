"""inspect log: lines as they are met, each with its cause, and nothing of what stands beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qatprep.findings import Status
from qatprep.findings.messages import MESSAGES, Message, matching
from qatprep.findings.messages.literals import literals
from qatprep.findings.pages import pages
from qatprep.report.findings import is_command
from tests.conftest import at_most
from tests.mesh.cli import Ran, qatprep_

COMMANDS = {"qatprep", "kubectl", "containerd", "setsebool", "grep", "ls", "echo"}

LINES = (
    # appendix 1, 1a: the device file cannot be found
    ("error gathering device information while adding custom device \"/dev/vfio/42\": no such file or directory.",
     "QP-K8S-010"),
    ("Warning  FailedScheduling  0/3 nodes are available: 3 Insufficient qat.intel.com/cy.", "QP-K8S-010"),
    ("Allocate failed due to requested number of devices unavailable for qat.intel.com/cy. Requested: 1, Available: 0",
     "QP-K8S-010"),
    ("QAT_HW device not available & QAT_SW not enabled. Using OpenSSL_SW!", "QP-K8S-010"),
    # 1b: it cannot be opened
    ("open /dev/vfio/42: permission denied", "QP-K8S-011"),
    ("Open vfio file /dev/vfio/42 failed", "QP-K8S-011"),
    # 1c: memory
    ("vfio_pin_pages_remote: RLIMIT_MEMLOCK (65536) exceeded", "QP-MEM-005"),
    ("dma_map_slab:200 VFIO_IOMMU_MAP_DMA failed va=7f iova=0 size=200000 -- errno=12", "QP-MEM-005"),
    ("dma_map_slab:200 VFIO_IOMMU_MAP_DMA failed va=7f iova=0 size=200000 -- errno=22", "QP-IOMMU-002"),
    # 1d: dc instead of cy
    ("[warning][config] Failed to start QAT.", "QP-K8S-003"),
    ("Failed to initialise all service instances", "QP-K8S-003"),
    ("[warning][config] Failed to start QAT device.", "QP-ENVOY-006"),
    # 3: AppArmor
    ('audit: apparmor="DENIED" operation="open" profile="cri-containerd.apparmor.d" name="/x/vfio-pci/new_id"',
     "QP-K8S-006"),
    ("avc:  denied  { read write } for  comm=\"envoy\" tcontext=system_u:object_r:vfio_device_t:s0", "QP-K8S-006"),
    # keys
    ("[warning] Only RSA keys are supported.", "QP-ENVOY-003"),
    ("Only P-256 ECDSA keys are supported.", "QP-ENVOY-003"),
    ("Only RSA keys of 1024, 2048, 3072, and 4096 bits are supported.", "QP-ENVOY-003"),
    # Envoy
    ("Multi-buffer CPU instructions not available.", "QP-CPU-001"),
    ("lds: listener 'refused' config rejected: Failed to load private key provider: qat", "QP-ENVOY-002"),
    ("Failed to load incomplete private key from path: ", "QP-ENVOY-004"),
    ("Didn't find a registered implementation for 'envoy.filters.http.router' with type URL: ''", "QP-ENVOY-004"),
    ("QatPrivateKeyMethodConfigValidationError.PollDelay: value must be greater than or equal to 1ms", "QP-ENVOY-005"),
    ("X86_64 architecture is required for cryptomb provider.", "QP-ENVOY-002"),
    ("could not find @type 'type.googleapis.com/envoy.extensions.private_key_providers.qat.v3alpha.QatPrivate'",
     "QP-ENVOY-002"),
    ("INVALID_ARGUMENT: no such field: 'poll_delay'", "QP-ENVOY-004"),
    # Kubernetes
    ('The Pod "x" is invalid: resources.limits: Limit must be set for non overcommitable resources',
     "QP-K8S-008"),
    ('ResourceName "qat.intel.com/sym;dc" is invalid', "QP-K8S-005"),
    # runtimes
    ("containerd.service:3: Failed to parse resource value, ignoring: 16MB", "QP-MEM-004"),
    ("failed to load TOML from /etc/containerd/q.toml: invalid plugin key URI \"cri\" expect io.containerd.x.vx",
     "QP-RT-002"),
    ("containerd: drop-in config version 3 higher than root config version 2", "QP-RT-002"),
    ('msg="Ignoring unknown key in TOML for plugin" error="x" key=device_ownership_from_security_context', "QP-RT-005"),
    ("containerd: failed to unmarshal TOML: toml: table runc already exists", "QP-RT-005"),
    ('msg="Start cri plugin with config {DeviceOwnershipFromSecurityContext:false}"', "QP-RT-001"),
    ("vfio 0000:6b:00.1: group 12 is not viable", "QP-VFIO-003"),
)  # fmt: skip


def inspect(tmp_path: Path, data: str | bytes, *more: str) -> Ran:
    path = tmp_path / "log"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return qatprep_("inspect", "log", str(path), *more)


@pytest.mark.parametrize(("line", "id"), LINES, ids=[line[:40] for line, _ in LINES])
def test_a_line_and_its_cause(line: str, id: str, tmp_path: Path) -> None:
    ran = inspect(tmp_path, f"some other line\n{line}\n", "--output", "json")
    document = json.loads(ran.out)
    found = {f["id"]: f for f in document["findings"]}
    assert id in found, document
    assert found[id]["evidence"][0]["path"].endswith(":2")
    assert found[id]["fix"] and ran.code == 3
    assert inspect(tmp_path, line).code == 3


KERNEL = (
    ("firmware-missing", "4xxx 0000:6b:00.0: Failed to load MMP firmware qat_4xxx_mmp.bin"),
    ("firmware-missing", "4xxx 0000:6b:00.0: Direct firmware load for qat_4xxx_mmp.bin failed with error -2"),
    ("firmware-rejected", "QAT: authentication error (FCU_STATUS = 0x1),retry = 0"),
    ("firmware-rejected", "4xxx 0000:6b:00.0: Failed to load MMP"),
    ("firmware-svn", "QAT: Security Version Number failure"),
    ("probe-failed", "4xxx 0000:6b:00.0: probe with driver 4xxx failed with error -14"),
    ("probe-failed", "4xxx: probe of 0000:6b:00.0 failed with error -14"),
    ("power", "4xxx 0000:6b:00.0: Failed to power up the device"),
    ("numa", "4xxx 0000:6b:00.0: Invalid NUMA configuration."),
    ("fused", "4xxx 0000:6b:00.0: No acceleration units found"),
    ("start-failed", "4xxx 0000:6b:00.0: Failed to start qat_dev0"),
    ("order", "4xxx 0000:6b:00.0: Device qat_dev0 must be down to reconfigure the service."),
    ("out-of-tree", "qat_api: disagrees about version of symbol adf_dev_get"),
    ("pf-iommu", "Cannot use PF with IOMMU enabled"),
    ("hang", "4xxx 0000:6b:00.0: Fatal error, reset required"),
    ("cold-reset", "6xxx 0000:6b:00.0: Fatal error, cold reset required"),
    ("heartbeat-lost", "4xxx 0000:6b:00.0: Heartbeat ERROR: QAT is not responding."),
    ("started", "4xxx 0000:6b:00.0: qat_dev0 started 9 acceleration engines"),
    ("device-errors", "4xxx 0000:6b:00.0: Correctable error detected in AE: 0x1"),
    ("device-errors", "4xxx 0000:6b:00.0: Uncorrectable error detected in AE: 0x1"),
    ("device-errors", "6xxx 0000:6b:00.0: Uncorrectable error detected: 0x1"),
    ("device-errors", "4xxx 0000:6b:00.0: HI CPP agent command parity error: 0x1"),
    ("engines", "QAT: AE0 is inactive!!"),
    ("engines", "QAT: failed to get device out of reset"),
    ("engines", "4xxx 0000:6b:00.0: qat_hal_clr_reset error"),
    ("engines", "4xxx 0000:6b:00.0: Failed to init the AEs"),
    ("fused", "6xxx 0000:75:00.0: error -EFAULT: No acceleration units were found."),
    ("reset-failed", "4xxx 0000:6b:00.0: QAT: device restart failed. Device is unusable"),
    ("heartbeat", "4xxx 0000:6b:00.0: HB polling too frequent. Configured HB timer 200 ms"),
    ("vf-interrupts", "4xxx 0000:6b:00.0: Too many ints from VF1"),
    ("pfvf", "4xxx 0000:6b:00.0: Failed to send response to VF1"),
    ("vfs-already", "4xxx 0000:6b:00.0: Already enabled for this device"),
    ("vfs-rounded", "4xxx 0000:6b:00.0: 8 VFs requested; only 16 enabled"),
    ("vfs-busy", "pci 0000:6b:00.0: 16 VFs already enabled. Disable before enabling 8 VFs"),
    ("no-driver", "pci 0000:6b:00.0: no driver bound to device; cannot configure SR-IOV"),
    ("mmio", "ice 0000:17:00.0: not enough MMIO resources for SR-IOV"),
    ("busy", "4xxx 0000:6b:00.0: Device qat_dev0 is busy"),
    ("vf-running", "4xxx 0000:6b:00.0: Some VFs are still running"),
    ("held", "vfio-pci 0000:6b:00.1: No device request channel registered, blocked until released by user"),
    ("iommu-off", "4xxx 0000:6b:00.0: IOMMU should be enabled for SR-IOV to work correctly"),
    ("vfio-probe", "vfio-pci 0000:6b:00.1: probe with driver vfio-pci failed with error -22"),
    ("denylist", "vfio-pci 0000:3d:01.0: 8086:37c9 exists in vfio-pci device denylist, driver probing disallowed"),
    ("memlock", "vfio_pin_pages_remote: RLIMIT_MEMLOCK (65536) exceeded"),
    ("no-remapping", "vfio_iommu_type1_attach_group: No interrupt remapping support."),
    ("dma-fault", "DMAR: [DMA Read NO_PASID] Request device [0000:6b:00.1] fault addr 0x1000"),
    ("lockdown", "Lockdown: cat: debugfs access is restricted; see man kernel_lockdown.7"),
)


@pytest.mark.parametrize(("key", "line"), KERNEL, ids=[line[-40:] for _, line in KERNEL])
def test_lines_of_the_kernel(key: str, line: str, tmp_path: Path) -> None:
    """`dmesg | qatprep inspect log -` reads the table that doctor reads."""
    (row,) = [row for row, _ in matching(f"[    3.141592] {line}")]
    assert row.key == key
    (found,) = json.loads(inspect(tmp_path, line, "--output", "json").out)["findings"]
    assert (found["id"], found["status"]) == (row.finding, str(row.status))
    assert found["evidence"][0]["value"] in line
    if "0000:6b:00.0" in line:
        assert found["subjects"] == ["0000:6b:00.0"]


GOOD = (
    "[info][config] initialized QAT private key provider",
    "found 4 QAT instances",
    'msg="Start cri plugin with config {DeviceOwnershipFromSecurityContext:true}"',
)


def test_every_row_has_a_line_here_that_it_matches() -> None:
    lines = [*(line for line, _ in LINES), *(line for _, line in KERNEL), *GOOD]
    met = {row.key for line in lines for row, _ in matching(line)}
    assert {row.key for row in MESSAGES} - met == set()


@pytest.mark.parametrize("row", MESSAGES, ids=lambda row: row.key)
def test_a_row_is_whole(row: Message) -> None:
    assert [other.key for other in MESSAGES].count(row.key) == 1
    assert row.finding in pages()
    assert row.status is Status.OK or row.fix
    assert ".*" not in row.pattern and ".+" not in row.pattern
    assert all(len(word) > 3 for word in literals(row.pattern)), "a text that nearly every line has"
    for step in row.fix:
        assert not is_command(step) or step.split()[0] in COMMANDS, step
        assert is_command(step) or step[0].isupper()


def test_good_news(tmp_path: Path) -> None:
    ran = inspect(tmp_path, "[info][config] initialized QAT private key provider\n")
    assert ran.code == 0 and "QAT works in this Envoy" in ran.out


def test_nothing_known_points_to_dc_instead_of_cy(tmp_path: Path) -> None:
    ran = inspect(tmp_path, "all is quiet\n")
    assert ran.code == 0
    assert "QP-K8S-003" in ran.out


def test_configuration_beside_the_message_is_not_repeated(tmp_path: Path) -> None:
    """Envoy writes its whole configuration, inline keys and all, into the log."""
    line = (
        "error initializing configuration: Unable to parse JSON as proto (INVALID_ARGUMENT: could not find @type "
        "'type.googleapis.com/envoy.extensions.private_key_providers.qat.v3alpha.QatPrivateKeyMethodConfig'): "
        '{"private_key":{"inline_string":"-----BEGIN PRIVATE KEY-----SECRET"}}'
    )
    for form in ("json", "human"):
        ran = inspect(tmp_path, line, "--output", form)
        assert "QP-ENVOY-002" in ran.out
        assert "SECRET" not in ran.out + ran.err


def test_repeated_lines_are_counted(tmp_path: Path) -> None:
    ran = inspect(tmp_path, "RLIMIT_MEMLOCK (1) exceeded\n" * 50)
    assert "50 times" in ran.out


def test_weird_bytes_and_utf16(tmp_path: Path) -> None:
    assert inspect(tmp_path, b"\xff\xfe\x00RLIMIT_MEMLOCK (1) exceeded \x1b[31m\n").code in (0, 3)
    ran = inspect(tmp_path, "RLIMIT_MEMLOCK (1) exceeded\r\nx\r\n".encode("utf-16"))
    assert "QP-MEM-005" in ran.out
    assert "\x1b" not in inspect(tmp_path, b"Failed to parse resource value, ignoring: \x1b[2J\n").out


@pytest.mark.parametrize(
    "line", [b"x" * 30_000_000, b"vfio " * 4_000_000, b"qat open /dev/vfio/" * 500_000, b"vfio\n" * 300_000],
    ids=["one long line", "one long line of words", "almost a match", "many short lines"],
)  # fmt: skip
def test_large_logs(line: bytes, tmp_path: Path) -> None:
    """No expression runs away: each is bounded, and a line is cut at 64 KiB."""
    with at_most():
        assert inspect(tmp_path, line).code == 0
