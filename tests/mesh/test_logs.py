"""inspect log: lines as they are met, each with its cause, and nothing of what stands beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qatprep.findings import Status
from qatprep.findings.messages import BY_KEY, HARMLESS, MESSAGES, Message, matching
from qatprep.findings.messages.literals import literals
from qatprep.findings.pages import pages
from qatprep.host import kmsg
from qatprep.report.findings import is_command
from tests.conftest import at_most
from tests.mesh.cli import Ran, qatprep_
from tests.mesh.log_lines import LINES

COMMANDS = {
    *("qatprep", "kubectl", "containerd", "setsebool", "grep", "ls", "echo", "cat", "dmesg", "modprobe", "driverctl"),
    *("journalctl", "systemctl"),
}


def inspect(tmp_path: Path, data: str | bytes, *more: str) -> Ran:
    path = tmp_path / "log"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return qatprep_("inspect", "log", str(path), *more)


EVERY = [(key, line) for key, lines in LINES.items() for line in lines]


@pytest.mark.parametrize(("key", "line"), EVERY, ids=[f"{key}-{n}" for n, (key, _) in enumerate(EVERY)])
def test_a_line_and_its_row(key: str, line: str) -> None:
    """The first row is the one that says most; a log may begin its lines with a time."""
    assert next(row.key for row, _ in matching(line)) == key
    assert key in [row.key for row, _ in matching(kmsg.parse(f"[    3.141592] {line}").text)]


@pytest.mark.parametrize(
    "line",
    [
        "RAS: Correctable Errors collector initialized.",
        "EDAC MC0: 1 CE memory read error on CPU_SrcID#0: correctable error",
        "mce: [Hardware Error]: Uncorrectable error in bank 7",
        "ahci 0000:00:17.0: parity error",
    ],
)
def test_what_other_hardware_says_is_not_about_qat(line: str) -> None:
    assert [row.key for row, _ in matching(line) if row.finding.startswith("QP-PF-")] == []


def test_each_row_has_a_line() -> None:
    assert set(LINES) == {row.key for row in MESSAGES}


def test_lines_and_their_causes(tmp_path: Path) -> None:
    """All of them in one log: each gives the finding of its row, with the line, a cause and a fix."""
    document = json.loads(inspect(tmp_path, "".join(f"{line}\n" for _, line in EVERY), "--output", "json").out)
    found = {f["title"].partition(" (")[0]: f for f in document["findings"]}
    for key in LINES:
        row = BY_KEY[key]
        if key in HARMLESS:
            assert row.title not in found
            continue
        finding = found[row.title.partition(" (")[0]]
        assert (finding["id"], finding["status"]) == (row.finding, str(row.status))
        line = int(finding["evidence"][-1]["path"].rpartition(":")[2])
        assert finding["evidence"][-1]["value"] in EVERY[line - 1][1]
        assert (finding["cause"] and finding["fix"]) or row.status is Status.OK or not row.cause
    assert document["not_recognised"] == {"lines": 0, "quoted": []}


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


def test_nothing_known_is_not_recognised(tmp_path: Path) -> None:
    ran = inspect(tmp_path, "all is quiet\n")
    assert ran.code == 0
    assert "not recognised" in ran.out and "1  all is quiet" in ran.out and "QP-" not in ran.out


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
    "line", [b"x" * 30_000_000, b"vfio " * 4_000_000, b"qat open /dev/vfio/" * 500_000, b"vfio\n" * 100_000],
    ids=["one long line", "one long line of words", "almost a match", "many short lines"],
)  # fmt: skip
def test_large_logs(line: bytes, tmp_path: Path) -> None:
    """No expression runs away: each is bounded, and a line is cut at 64 KiB."""
    with at_most():
        assert inspect(tmp_path, line).code == 0


CASES = {
    # what qat_init.sh leaves in the journal when the kernel does not take its services
    "services refused": (
        "Mar 15 15:46:33 node qat_init.sh[1644]: qat_init.sh: 364: echo: echo: I/O error\n"
        "Mar 15 15:46:34 node qatmgr[1650]: No QAT device found\n"
        "Mar 15 15:46:34 node systemd[1]: qat.service: Control process exited, code=exited, status=1/FAILURE\n",
        ["QP-LOG-002", "QP-VFIO-001", "QP-LOG-002"],
        "I/O error",
    ),
    "EPERM is not EACCES": (
        "Open vfio file /dev/vfio/481 failed!\n/dev/vfio/481: Operation not permitted\n",
        ["QP-K8S-011", "QP-K8S-010"],
        "EPERM, not EACCES",
    ),
    "memlock, seen by QATzip": (
        "ERR dma_map_slab:200 VFIO_IOMMU_MAP_DMA failed va=7f err=-12 errno=12\n"
        "Error userStarMultiProcess(-1), switch to SW if permitted\n",
        ["QP-MEM-005", "QP-LOG-002"],
        "memlock limit is too low",
    ),
    "DMA mappings used up": (
        "dma_map_slab:200 VFIO_IOMMU_MAP_DMA failed va=7f8 iova=200000 size=200000 -- errno=28\n",
        ["QP-LOG-002"],
        "dma_entry_limit",
    ),
    "the firmware does not answer": (
        "[   80.173461] 4xxx 0000:6b:00.0: qat_dev0 started 9 acceleration engines\n"
        "[   80.173462] 4xxx 0000:6b:00.0: Failed to send init message\n"
        "[   80.386339] 4xxx: probe of 0000:6b:00.0 failed with error -14\n",
        ["QP-PF-001", "QP-PF-001"],
        "cannot reach the memory of the message",
    ),
    "the plugin's init container": (
        "qat-init.sh: line 44: echo: write error: Invalid argument\n"
        "Device /sys/devices/pci0000:6b/0000:6b:00.0 configured with services: dc\n",
        ["QP-SVC-001", "QP-SVC-001"],
        "names the services that the PF had before",
    ),
    "a dc VF is no fault of cpa_sample_code": (
        'qaeMemInit started\nThere are no compression instances\nSample code completed successfully.\n',
        ["QP-K8S-003"],
        "as they should for TLS",
    ),
    "CryptoMB without its instructions": (
        "gRPC config for Secret rejected: Multi-buffer CPU instructions not available.\n"
        "gRPC config for Secret rejected: Failed to load private key provider: cryptomb\n",
        ["QP-CPU-001", "QP-ENVOY-002"],
        "AVX-IFMA",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_case_of_the_field(name: str, tmp_path: Path) -> None:
    text, ids, words = CASES[name]
    document = json.loads(inspect(tmp_path, text, "--output", "json").out)
    assert [f["id"] for f in document["findings"]] == ids
    assert words in json.dumps(document)


def test_the_lines_before_a_failed_probe_are_shown(tmp_path: Path) -> None:
    text = (
        "[ 1.0] 4xxx 0000:70:00.0: Failed to power up the device\n"
        "[ 1.1] 4xxx 0000:6b:00.0: Direct firmware load for qat_4xxx_mmp.bin failed with error -2\n"
        "[ 1.2] 4xxx 0000:6b:00.0: what this kernel says in between\n"
        "[ 1.3] 4xxx 0000:6b:00.0: probe with driver 4xxx failed with error -14\n"
    )
    document = json.loads(inspect(tmp_path, text, "--output", "json").out)
    (probe,) = [f for f in document["findings"] if f["id"] == "QP-PF-001" and "could not start" in f["title"]]
    assert [e["path"].rpartition(":")[2] for e in probe["evidence"]] == ["2", "3", "4"]
    assert document["not_recognised"]["lines"] == 1


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("<3>[ 1.0] 4xxx 0000:6b:00.0: zorp engine refused, code 7", True),
        ("[ 1.0] 4xxx 0000:6b:00.0: zorp engine refused, code 7", True),
        ("<6>[ 1.0] 4xxx 0000:6b:00.0: zorp engine refused, code 7", False),
        ("kern  :err   : [ 1.0] vfio-pci 0000:6b:00.1: zorp", True),
        ("[ 1.0] usb 1-1: device descriptor read/64, error -71", False),
        ("my-program: cannot open its VF", True),
        ("my-program: all is well", False),
    ],
)
def test_what_counts_as_not_recognised(line: str, counts: bool, tmp_path: Path) -> None:
    ran = inspect(tmp_path, f"found 4 QAT instances\n{line}\n", "--output", "json")
    quoted = json.loads(ran.out)["not_recognised"]
    assert ran.code == 0 and quoted["lines"] == int(counts)
    if counts:
        assert quoted["quoted"][0]["line"] == 2
        human = inspect(tmp_path, f"found 4 QAT instances\n{line}\n").out
        assert "not recognised: 1 line" in human and line.rpartition("] ")[2] in human


def test_a_log_without_anything_known_is_not_recognised_with_its_last_lines(tmp_path: Path) -> None:
    ran = inspect(tmp_path, "".join(f"line {n}\n" for n in range(9)), "--output", "json")
    document = json.loads(ran.out)
    assert (ran.code, document["result"], document["findings"]) == (0, "unknown", [])
    assert [q["text"] for q in document["not_recognised"]["quoted"]] == ["line 6", "line 7", "line 8"]
    assert json.loads(inspect(tmp_path, "", "--output", "json").out)["result"] == "ok"


@pytest.mark.parametrize(
    "line",
    [
        'qat: cannot parse {"inline_bytes":"c2VjcmV0SECRET"}',
        "qat: cannot load -----BEGIN PRIVATE KEY-----SECRET",
        "vfio error, password=SECRET",
        "token: SECRET was refused",
    ],
)
def test_secrets_on_a_line_that_is_not_recognised(line: str, tmp_path: Path) -> None:
    for form in ("json", "human"):
        ran = inspect(tmp_path, line, "--output", form)
        assert "SECRET" not in ran.out + ran.err and line[:5] in ran.out


def test_many_lines_of_a_kind_are_quoted_once(tmp_path: Path) -> None:
    lines = "".join(f"[ {n}.0] 4xxx 0000:6b:00.0: zorp engine {n} refused\n" for n in range(500))
    document = json.loads(inspect(tmp_path, lines, "--output", "json").out)
    assert document["not_recognised"]["lines"] == 500 and len(document["not_recognised"]["quoted"]) == 1
