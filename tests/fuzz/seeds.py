"""The inputs that a target begins with, where they are more than a line or a file of the sources."""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path

from qatprep.host.values import META
from tests.fuzz.node import NEXT, fresh
from tests.fuzz.parsers import RUN, rsa_key


def host_values() -> list[bytes]:
    def form(name: str, value: str) -> str:
        return f"{META}/{name} == {json.dumps(value)}\n"

    program = json.dumps({"argv": ["kubectl", "version"], "rc": 0, "stdout": "x", "stderr": ""})
    values = {
        "euid": "1000",
        "cpuid": "0x7 0x0: 0x0 0xf1bfb7af 0x1b415f6e 0xbc814410",
        "xcr0": "0x602e7",
        "machine": "aarch64",
        "time": "2026-03-02T08:00:00Z",
        "modified": "12.5 /etc/group",
        "programs": program,
        "program": '["/usr/bin/qatprep"]',
        "dmesg": "<4>x",
    }
    return [form(name, value).encode() for name, value in values.items()]


def journal() -> list[bytes]:
    """The journal of the run that prepared the node, and each kind of line in it with the first alone."""
    ((name, node),) = fresh().get("/var/lib/qatprep/runs").children.items()
    written = node.content().replace(name.removesuffix(".jsonl").encode(), RUN.encode())
    first, *rest = written.splitlines(keepends=True)
    return [written[:16384], *(first + line for line in rest[:20])]


def emulator() -> list[bytes]:
    """A conversation of QEMU's kind, one message of each command after it."""
    from qat_emulator.vfio_user import HANDLERS, HEADER

    def message(command: int, body: bytes) -> bytes:
        return HEADER.pack(1, command, HEADER.size + len(body), 0, 0) + body

    version = message(1, struct.pack("<HH", 0, 1) + b'{"capabilities": {}}\0')
    region = struct.pack("<QII", 0, 0, 4)
    bodies = (
        b"",
        struct.pack("<IIII", 16, 0, 0, 0),
        struct.pack("<IIIIQQ", 32, 0, 2, 0, 0, 0),
        region,
        region + b"\1\0\0\0",
    )
    messages = [message(command, body) for command in HANDLERS for body in bodies]
    return [b"wrong=2 lost" + NEXT + version + each for each in messages]


def native() -> list[bytes]:
    return [b"\0" + rsa_key(), b"\1\x10" + b"x" * 300, b"\2/lib/x86_64-linux-gnu/libz.so.1"]


def key_file() -> list[bytes]:
    from qatprep.mesh import keys

    with tempfile.TemporaryDirectory() as folder:
        found = []
        for kind in ("rsa2048", "p256"):
            for path in map(Path, keys.generate(folder, kind, ["localhost"])):
                found.append(path.read_bytes())
                path.unlink()
    return found


def captured() -> list[bytes]:
    program = '{"metadata": {"labels": {"qat": "x"}}, "status": {"allocatable": {"qat.intel.com/cy": "1"}}}'
    checkpoint = '{"Data": {"PodDeviceEntries": [{"ResourceName": "qat.intel.com/cy"}], "RegisteredDevices": {}}}'
    grub = 'GRUB_CMDLINE_LINUX="intel_iommu=on password=x"'
    parts = (
        journal()[0].decode(), checkpoint, program, "<4>qat: x", "qat:x:985:u,v", "root=/dev/x password=y", grub,
        "/usr/bin/containerd\0--token\0x", "Uid:\t0", "[plugins]",
    )  # fmt: skip
    return [NEXT.join(part.encode() for part in parts)]


def measurement() -> list[bytes]:
    row = {"key": "rsa-2048", "workers": 1, "peer": "x", "provider": "cryptomb", "detail": "", "median": 1.5}
    rsa = {
        "schema": "qatprep.bench-rsa/1", "cpu": "x", "cpus": 2, "rounds": 5, "seconds": 0.2, "baseline": "",
        "interrupted": False, "absent": [], "notes": [],
        "results": [{**row, "ratio": None, "rates": [1.5], "trouble": ""}],
    }  # fmt: skip
    aes = {
        "schema": "qatprep.bench-aes/1", "cpu": "x", "openssl": "3", "rounds": 1, "interrupted": False, "missing": [],
        "results": [{"cipher": "aes-128-gcm", "size": 16, "vector": [1.0], "plain": [1.0], "speedup": 2.0}],
        "notes": [],
    }  # fmt: skip
    return [json.dumps(document).encode() for document in (rsa, aes)]
