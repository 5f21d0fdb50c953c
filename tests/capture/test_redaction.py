"""Nothing of a host's people, names, addresses or secrets comes into a capture; all that findings need does."""

from __future__ import annotations

import base64
from collections import Counter

import pytest

from qatprep import config
from qatprep.cli.capture import survey
from qatprep.cli.open_host import open_host
from qatprep.exits import ExitCode
from qatprep.host.captured import extra, names
from qatprep.host.record import Recorder
from qatprep.host.redact import redact, scrub
from qatprep.host.tree import Tree
from qatprep.simulator.host import SimulatedHost
from tests.conftest import qatprep
from tests.persist.hosts import installed

MACHINE_ID = "f00dfeed0123456789abcdef01234567"
PRIVATE = (
    "somebody else",
    "frankfurt-rack7", "example-corp", MACHINE_ID, "alice", "bob", "carol", "hunter2", "s3cr3t", "t0ken", "10.20.30.40",
    "2001:470:1f0b", "aa:bb:cc:dd:ee:ff", "aa-bb-cc-dd-ee-ff", "5e6f7a8b", "WD-WX41A", "payroll", "grub.pbkdf2",
    "customer-app", "--customer",
)  # fmt: skip


def _append(tree: Tree, path: str, text: str) -> None:
    node = tree.find(path) or tree.file(path)
    node.data += text.encode()


@pytest.fixture
def host() -> SimulatedHost:
    """A node that runs Kubernetes, with private things in every place where hosts have them."""
    host = open_host("/", "spr-2s-ready")
    assert isinstance(host, SimulatedHost)
    tree = host.tree
    tree.file("/proc/sys/kernel/hostname", b"frankfurt-rack7\n", 0o444)
    tree.file("/etc/hostname", b"frankfurt-rack7.example-corp.net\n")
    tree.file("/etc/machine-id", f"{MACHINE_ID}\n".encode(), 0o444)
    tree.file("/etc/payroll.conf", b"alice=1\n")
    _append(tree, "/etc/group", "payroll:x:5000:alice,bob\n")
    node = tree.get("/etc/group")
    node.data = node.data.replace(b"qat:x:996:", b"qat:x:996:alice,bob")
    _append(tree, "/etc/passwd", "alice:x:1000:1000:Alice:/home/alice:/bin/sh\n")
    tree.get("/proc/cmdline").data = (
        b"BOOT_IMAGE=/boot/vmlinuz-6.12.117 root=UUID=5e6f7a8b-1c2d-4e3f-8a9b-0c1d2e3f4a5b ro quiet "
        b"ip=10.20.30.40::10.20.30.1:255.255.255.0:frankfurt-rack7 BOOTIF=01-aa-bb-cc-dd-ee-ff "
        b"rd.iscsi.password=hunter2 intel_iommu=on,sm_on\n"
    )
    _append(
        tree,
        "/.qatprep/dmesg",
        "ice 0000:17:00.0 eth0: hardware address aa:bb:cc:dd:ee:ff\n"
        "nvme nvme0: serial WD-WX41A\n"
        "systemd[1]: Hostname set to <frankfurt-rack7>.\n"
        "Command line: root=UUID=5e6f7a8b-1c2d-4e3f-8a9b-0c1d2e3f4a5b rd.iscsi.password=hunter2 intel_iommu=on\n"
        "<4>pcieport 0000:00:01.0: link of somebody else\n"
        "<4>pcieport 0000:6b:00.1: a sentence that no table knows\n"
        "4xxx 0000:6b:00.0: told by bob@example-corp.net on frankfurt-rack7 at 10.20.30.40 and 2001:470:1f0b::7\n",
    )
    tree.file(
        "/boot/grub/grub.cfg", b"password_pbkdf2 alice grub.pbkdf2.sha512.1\n\tlinux /boot/x root=UUID=5e6f7a8b ro\n"
    )
    tree.file(f"/boot/loader/entries/{MACHINE_ID}-6.12.conf", b"title carol\noptions root=UUID=5e6f7a8b quiet\n")
    tree.file(
        "/etc/containerd/config.toml",
        b'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry.configs."registry.example-corp.net".auth]\n'
        b'  username = "bob"\n  password = "hunter2"\n  identitytoken = "t0ken"\n',
    )
    processes = {
        700: (
            "containerd",
            "/usr/bin/containerd\0--config\0/etc/containerd/config.toml\0",
            "/system.slice/containerd.service",
        ),
        800: (
            "kubelet",
            "/usr/bin/kubelet\0--bootstrap-token=t0ken\0--password\0s3cr3t\0",
            "/system.slice/kubelet.service",
        ),
        900: ("customer-app", "/opt/customer-app\0--customer\0carol\0", "/user.slice/user-1000.slice"),
    }
    for pid, (comm, line, cgroup) in processes.items():
        tree.file(f"/proc/{pid}/comm", f"{comm}\n".encode(), 0o444)
        tree.file(f"/proc/{pid}/cmdline", line.encode(), 0o444)
        tree.file(f"/proc/{pid}/cgroup", f"0::{cgroup}\n".encode(), 0o444)
        tree.file(f"/proc/{pid}/status", b"Name:\tx\nGroups:\t5000\nUid:\t0\t0\t0\t0\nCapEff:\t0\n", 0o444)
        tree.dir(f"/proc/{pid}/fd", 0o500)
        tree.link(f"/proc/{pid}/fd/3", "/home/alice/payroll.xls")
    return host


def test_nothing_private_is_left(host: SimulatedHost) -> None:
    called = qatprep("capture", host=host)
    assert called.code == ExitCode.OK
    assert [word for word in PRIVATE if word in called.out] == []
    assert "taken out:" in called.err and "words that could be secrets" in called.err


def test_what_findings_need_is_left(host: SimulatedHost) -> None:
    text = qatprep("capture", host=host).out
    for word in (
        "intel_iommu=on,sm_on", "0000:6b:00.0", "qat:x:", "root=redacted", "rd.iscsi.password=redacted",
        "/etc/containerd/config.toml", "io.containerd.grpc.v1.cri", "6.12.117", "sym;asym", "CONFIG_VFIO_PCI=m",
        "/usr/bin/kubelet", "4xxx 0000:6b:00.0: told by",
        "<4>pcieport 0000:6b:00.1: a sentence that no table knows",
    ):  # fmt: skip
        assert word in text, word


def test_files_that_a_run_changed_are_not_told() -> None:
    host = installed()
    mine = "# Written by qatprep long ago\n# kept-private-text\n"
    host.tree.file("/etc/modules-load.d/qatprep.conf", mine.encode())
    qatprep("bootstrap", "--no-smoke", host=host)
    text = qatprep("capture", host=host).out
    assert base64.b64encode(mine.encode()).decode() not in text
    assert "/var/lib/qatprep/runs/" in text and "install-file" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("link aa:bb:cc:dd:ee:ff up", "link 00:00:00:00:00:00 up"),
        ("from 10.1.2.3:443", "from 192.0.2.1:443"),
        ("kernel 5.15.167.4-microsoft /lib/modules/6.1.2.3/x", "kernel 5.15.167.4-microsoft /lib/modules/6.1.2.3/x"),
        ("0000:6b:00.0 and 0000:e8:00.1", "0000:6b:00.0 and 0000:e8:00.1"),
        ("fe80::1ff:fe23:4567:890a!", "2001:db8::1!"),
        ("/home/alice/venv", "/home/user/venv"),
        ("Linux version 6.12 (root@builder) x", "Linux version 6.12 (somebody@somewhere) x"),
        ("node-7 is not node-77 nor my-node-7", "node is not node-77 nor my-node-7"),
        ("registry.corp.net:5000 and acorp.net", "registry.example.org:5000 and acorp.net"),
        ("0::/system.slice/x 1: a::b", "0::/system.slice/x 1: 2001:db8::1"),
        ("08:00:00 12:34:56", "08:00:00 12:34:56"),
        ("[8086:4940] class 0x0b4000", "[8086:4940] class 0x0b4000"),
    ],
)
def test_what_is_replaced(text: str, expected: str) -> None:
    assert scrub(text, ("node-7", ".corp.net")) == expected


def test_the_file_is_private_and_the_summary_for_programs(host: SimulatedHost, tmp_path: object) -> None:
    import os

    file = f"{tmp_path}/node.txt"
    called = qatprep("capture", file, "-o", "json", host=host)
    assert os.stat(file).st_mode & 0o777 == 0o600
    assert called.json["bytes"] == os.path.getsize(file)
    assert called.json["redacted"]["members of groups"] >= 2
    assert qatprep("capture", "-o", "json", host=host).code == ExitCode.USAGE
    called = qatprep("capture", f"{tmp_path}/no/node.txt", host=host)
    assert called.code == ExitCode.ERROR and "no/node.txt" in called.err


@pytest.mark.parametrize(
    ("path", "text", "kind", "number"),
    [
        ("/etc/group", "payroll:x:5000:\nstaff2:x:5001:\n", "groups", 2),
        ("/proc/cmdline", " customer.token=hunter2 customer.flag=s3cr3t", "kernel arguments", 2),
        ("/proc/cmdline", " -- init-arguments --of-somebody", "kernel arguments", 1),
        ("/etc/modprobe.d/payroll.conf", "# of alice\noptions nvme x=hunter2\n", "lines of files", 2),
        ("/.qatprep/dmesg", "<6>nvme nvme0: serial WD-WX41A\n<6>usb 1-1: new device\n", "lines of the kernel log", 2),
        ("/.qatprep/dmesg", "<4>4xxx 0000:6b:00.0: told by bob@example.net\n", "names of users", 1),
        ("/.qatprep/dmesg", "<4>4xxx 0000:6b:00.0: from 10.20.30.40 and 10.20.30.41\n", "IP addresses", 2),
        ("/.qatprep/dmesg", "<4>4xxx 0000:6b:00.0: at aa:bb:cc:dd:ee:ff\n", "hardware addresses", 1),
    ],
)
def test_what_was_taken_out_is_counted(path: str, text: str, kind: str, number: int) -> None:
    """One private thing more is one more of its kind, and of no other kind."""
    assert taken(path, text) - taken() == Counter({kind: number})


def taken(path: str = "", text: str = "") -> Counter[str]:
    """How much of each kind a capture of a ready node takes out, with `text` at the end of a file."""
    host = open_host("/", "spr-2s-ready")
    assert isinstance(host, SimulatedHost)
    if path:
        node = host.tree.find(path)
        if node is not None:
            node.data = (
                (node.data.rstrip(b"\n") + text.encode()) if path == "/proc/cmdline" else node.data + text.encode()
            )
        else:
            host.tree.file(path, text.encode())
    recorder = Recorder(host)
    recorder.prefetch()
    survey(recorder, config.load(recorder, "", ()))
    extra(recorder)
    return redact(recorder.tree, recorder.touched, names(host), set())[1]
