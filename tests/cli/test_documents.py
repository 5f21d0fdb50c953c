"""Verbs with --output json, and the statuses they can end with: a document that fits its schema, or none at all."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from qatprep.cli.open_host import open_host
from qatprep.engine.run import LOCK
from qatprep.exits import ExitCode
from qatprep.host.base import Host
from qatprep.host.capture import Capture
from qatprep.simulator.faults import Fault, Faults
from qatprep.simulator.host import SimulatedHost
from tests.conftest import qatprep
from tests.engine.test_interrupts import host as interrupted_at

ROOT = Path(__file__).parents[2]
SCHEMAS = files("qatprep.schema")
ELSEWHERE = {
    "bench-rsa": "tests/measure/test_bench.py",
    "bench-aes": "tests/measure/test_bench.py",
    "bench-queue": "tests/measure/test_bench.py",
    "tune": "tests/measure/test_tune.py",
    "config": "tests/cli/test_bad_input.py",
    "scenario": "tests/cli/test_open_host.py",
    "smoke-direct": "tests/direct/test_emulated.py",
    "direct-record": "tests/direct/test_emulated.py",
    "journal": "tests/persist/test_schemas.py",
    "proof": "tests/outcome/test_proof.py",
    "fleet": "tests/fleet/lab.py",
    "inspect-handshake": "tests/mesh/test_handshake.py",
}
"""Documents that take real signing, or are no output: who holds them against their schema."""
ONE = "0000:6b:00.0"
PF = f"/sys/bus/pci/devices/{ONE}"

Maker = Callable[[], Host]


def on(name: str) -> Maker:
    return lambda: open_host("/", name)


def failing(*faults: tuple[int, str], name: str = "spr-2s") -> Maker:
    """A host where the n-th write to these paths and all after it fail."""

    def make() -> Host:
        host = open_host("/", name)
        assert isinstance(host, SimulatedHost)
        host.faults = Faults(*(Fault("errno", at, errno.EIO, "write", path, times=0) for at, path in faults))
        return host

    return make


_HELD: list[AbstractContextManager[None]] = []
"""Locks that nobody lets go."""


def lock(host: Host) -> Host:
    """Another qatprep is at work there."""
    _HELD.append(host.lock(LOCK))
    _HELD[-1].__enter__()
    return host


def prepared() -> SimulatedHost:
    host = open_host("/", "spr-2s")
    assert isinstance(host, SimulatedHost)
    assert qatprep("bootstrap", "--no-smoke", host=host).code == ExitCode.OK
    return host


def prepared_and(change: Callable[[SimulatedHost], Any]) -> Maker:
    def make() -> Host:
        host = prepared()
        change(host)
        return host

    return make


def left_to_user() -> Host:
    tree = prepared().tree
    tree.file("/.qatprep/euid", b"1000\n")
    return SimulatedHost(tree)


def members(host: SimulatedHost) -> None:
    """Somebody is in the group that rollback would remove."""
    lines = host.read_text("/etc/group").raw.splitlines()
    host.replace("/etc/group", "".join(f"{x}envoy\n" if x[:4] == "qat:" else f"{x}\n" for x in lines).encode())


def hold(host: SimulatedHost) -> None:
    """A process has a VF open."""
    group = host.readlink(f"{PF[:-1]}1/iommu_group").rsplit("/", 1)[-1]
    host.tree.file("/proc/4711/comm", b"envoy\n")
    host.tree.link("/proc/4711/fd/9", f"/dev/vfio/{group}")


def grub() -> Host:
    host = open_host("/", "iommu-off-by-default")
    assert isinstance(host, SimulatedHost)
    host.tree.make_dirs("/etc/default/grub.d")
    return host


def picture() -> Host:
    host = open_host("/", "spr-2s")
    assert isinstance(host, SimulatedHost)
    return Capture(host.tree, "a host file")


@dataclass(frozen=True)
class Row:
    verb: str
    host: Maker
    code: int
    kind: str = ""
    """Of the document; "" for none."""
    status: str = ""
    """What its `status` says, where it has one."""


FRESH, READY, USER = on("spr-2s"), on("spr-2s-ready"), on("spr-2s-as-user")
COSTLY = on("dc-only")
HELD, NO_IOMMU, NONE = on("vf-held"), on("iommu-off-by-default"), on("no-qat")
LOCKED: Maker = lambda: lock(open_host("/", "spr-2s-ready"))  # noqa: E731
LATE = (20, "*/vfio-pci/bind")  # a write that fails when much is done
BACK = (1, f"*/{ONE}/qat/state")  # one that rollback needs
ROWS = [
    # -- what looks
    Row("doctor --profile qat", READY, 0, "doctor"),
    Row("doctor", FRESH, 3, "doctor"),
    Row("doctor", USER, 0, "doctor"),
    Row("doctor --profile qat", NONE, 3, "doctor"),
    Row("doctor --only nonsense", READY, 2),
    Row("plan", READY, 0, "plan"),
    Row("plan --diff", FRESH, 3, "plan"),
    Row("plan", NO_IOMMU, 3, "plan"),
    Row("plan", HELD, 3, "plan"),
    Row("plan --device 0000:ff:00.0", FRESH, 2),
    Row("status", READY, 0, "status"),
    Row("status", FRESH, 3, "status"),
    Row("status", left_to_user, 0, "status"),
    Row("rollback --list", left_to_user, 7),
    Row("device list", FRESH, 0, "devices"),
    Row("device list --all", NONE, 0, "functions"),
    Row("device list extra", FRESH, 2),
    Row("features", READY, 0, "features"),
    Row("config check", READY, 0, "config-check"),
    Row("config check --set devices.vfs=8", READY, 2, "config-check"),
    Row("config check", on("services-impossible"), 2, "config-check"),
    Row("config show --set devices.vfs=8", READY, 2),
    Row("config show", NONE, 0, "config-show"),
    Row("plan", on("services-impossible"), 2),
    Row("explain", NONE, 0, "explain"),
    Row("explain QP-IOMMU-001", NONE, 0, "explain"),
    Row("explain QP-NONE-001", NONE, 2),
    Row("explain qatprep.doctr/1", NONE, 2),
    Row("hosts", NONE, 0, "hosts"),
    Row("gen-conf", FRESH, 0, "gen-conf"),
    Row("capture {tmp}/node.txt", FRESH, 0, "capture"),
    Row("capture {tmp}/no/such/node.txt", FRESH, 1),
    Row("smoke", READY, 0, "smoke"),
    Row("smoke --provider nonsense", READY, 2),
    Row("inspect config-dump tests/mesh/data/config_dump-1.40.json", NONE, 3, "inspect-config-dump"),
    Row("inspect config-dump pyproject.toml", NONE, 2),
    Row("inspect stats {tmp}/stats", NONE, 0, "inspect-stats"),
    Row("inspect log {tmp}/log", NONE, 3, "inspect-log"),
    Row("inspect log /no/such/file", NONE, 2),
    Row("inspect manifest tests/mesh/data/paper-qat.yaml", NONE, 3, "inspect-manifest"),
    # -- bootstrap
    Row("bootstrap", FRESH, 0, "bootstrap", "applied"),
    Row("bootstrap", READY, 0, "bootstrap", "unchanged"),
    Row("bootstrap --check --diff", FRESH, 3, "bootstrap", "planned"),
    Row("bootstrap", NO_IOMMU, 3, "bootstrap", "unchanged"),
    Row("bootstrap", HELD, 1, "bootstrap", "refused"),
    Row("bootstrap", COSTLY, 2, "bootstrap", "unconfirmed"),
    Row("bootstrap", picture, 1),
    Row("bootstrap --set devices.services=nonsense", FRESH, 2),
    Row("bootstrap", failing(LATE), 4, "bootstrap", "rolled back"),
    Row("bootstrap", failing(LATE, BACK), 5, "bootstrap", "partial"),
    Row("bootstrap", USER, 7),
    Row("bootstrap", LOCKED, 8),
    Row("bootstrap", lambda: interrupted_at({12}), 130, "bootstrap", "interrupted"),
    Row("bootstrap --boot", FRESH, 0, "bootstrap", "applied"),
    Row("bootstrap --boot", USER, 7),
    # -- rollback
    Row("rollback", prepared, 0, "rollback", "rolled back"),
    Row("rollback", FRESH, 0, "rollback", "unchanged"),
    Row("rollback --check", prepared, 3, "rollback", "planned"),
    Row("rollback --list", prepared, 0, "runs"),
    Row("rollback 20200101T000000Z-0001", prepared, 2),
    Row("rollback", prepared_and(members), 5, "rollback", "partial"),
    Row("rollback", prepared_and(hold), 1, "rollback", "refused"),
    Row("rollback", left_to_user, 7),
    Row("rollback", prepared_and(lock), 8),
    # -- device
    Row(f"device services dc {ONE}", FRESH, 0, "bootstrap", "applied"),
    Row(f"device services dc {ONE}", READY, 2, "bootstrap", "unconfirmed"),
    Row(f"device vfs remove {ONE}", READY, 2, "bootstrap", "unconfirmed"),
    Row(f"device reset {ONE}", READY, 2, "bootstrap", "unconfirmed"),
    Row(f"device down {ONE}", READY, 2, "bootstrap", "unconfirmed"),
    Row(f"device services sym;asym {ONE}", FRESH, 0, "bootstrap", "unchanged"),
    Row(f"device services nonsense {ONE}", FRESH, 2),
    Row(f"device vfs create {ONE}", failing((1, f"{PF}/sriov_numvfs")), 4, "bootstrap", "rolled back"),
    Row("device vfs remove 0000:6b:00.0", HELD, 1, "bootstrap", "refused"),
    Row("device bind 0000:6b:00.1", on("spr-2s-no-vfs"), 2),
    Row("device unbind 0000:6b:00.1", READY, 0, "bootstrap", "applied"),
    Row(f"device vfs create {ONE}", USER, 7),
    Row(f"device services dc {ONE}", LOCKED, 8),
    # -- gen-conf
    Row("gen-conf --stage-kernel-arguments --yes", grub, 6, "bootstrap", "applied"),
    Row("gen-conf --stage-kernel-arguments --yes", READY, 0, "bootstrap", "unchanged"),
]


@cache
def schema(kind: str) -> Callable[[Any], Any]:
    compiled: Callable[[Any], Any] = fastjsonschema.compile(json.loads(SCHEMAS.joinpath(f"{kind}.json").read_text()))
    return compiled


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.code} {row.verb} {row.status}".replace("/", " "))
def test_a_document_or_none(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "stats").write_text("cryptomb.rsa_queue_sizes: P0(nan,1) P100(nan,8)\n")
    (tmp_path / "log").write_text("Failed to create QAT provider: no QAT devices found\nfailed to allocate memory\n")
    host = row.host()
    called = qatprep(*(word.format(tmp=tmp_path) for word in row.verb.split()), "-o", "json", host=host)
    assert called.code == row.code, called.out[:300] + called.err
    if not row.kind:
        assert called.out == ""
        assert re.match(r"error: .+", called.err) and "internal error" not in called.err
        return
    document = called.json
    assert document["schema"] == f"qatprep.{row.kind}/1"
    schema(row.kind)(document)
    if row.status:
        assert document["status"] == row.status
    if row.status == "unconfirmed":
        assert re.match(r"error: .+ cost .+\n  fix:   say --yes", called.err)
    if "exit" in document:
        assert document["exit"] == row.code


def test_every_status_is_in_the_table() -> None:
    assert {row.code for row in ROWS} == set(ExitCode)


def shipped() -> set[str]:
    return {file.name.removesuffix(".json") for file in SCHEMAS.iterdir() if file.name.endswith(".json")}


def test_every_document_is_in_the_table() -> None:
    assert {row.kind for row in ROWS} - {""} | set(ELSEWHERE) == shipped()
    assert all((ROOT / path).is_file() for path in ELSEWHERE.values())


def test_every_schema_is_printed() -> None:
    for kind in shipped():
        printed = qatprep("explain", f"qatprep.{kind}/1").json
        assert printed == json.loads(SCHEMAS.joinpath(f"{kind}.json").read_text())
    assert "did you mean qatprep.doctor/1?" in qatprep("explain", "qatprep.doctr/1").err


def test_the_documentation_has_them_all() -> None:
    page = (ROOT / "docs/json.md").read_text()
    assert set(re.findall(r"qatprep/schema/([a-z-]+)\.json", page)) == shipped()
    for text in (page, (ROOT / "README.md").read_text()):
        assert [int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)] == list(ExitCode)
