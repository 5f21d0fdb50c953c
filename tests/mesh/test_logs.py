"""inspect log: lines as they are met, each with its cause, and nothing of what stands beside them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from qatprep.checks.table import BY_ID
from qatprep.mesh.inspect.logs import RULES
from tests.mesh.cli import Ran, qatprep_

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
    assert found[id]["line"] == 2
    assert found[id]["fix"] and ran.code == 3
    assert inspect(tmp_path, line).code == 3


def test_every_id_has_a_page() -> None:
    assert {rule.id for rule in RULES} <= set(BY_ID)


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
def test_large_logs_in_little_time(line: bytes, tmp_path: Path) -> None:
    begin = time.monotonic()
    inspect(tmp_path, line)
    assert time.monotonic() - begin < 20
