"""What bootstrap gives to the group, where VFs have device nodes of their own beside the group nodes."""

from __future__ import annotations

from qatprep.cli.open_host import open_host
from qatprep.exits import ExitCode
from qatprep.facts import pci
from qatprep.facts.pci import DeviceNode
from qatprep.host.base import FileStat
from tests.conftest import qatprep

FOLDER = "/dev/vfio/devices"


def test_the_folder_of_device_nodes_keeps_its_x_bit() -> None:
    """`chmod 660 /dev/vfio/*` takes it, and then no ordinary user reaches any node below. bootstrap goes by VF."""
    host = open_host(simulate="spr-2s-cdev")

    def beside() -> dict[str, FileStat]:
        return {name: host.stat(f"{FOLDER}/{name}".rstrip("/")) for name in ("", *host.listdir(FOLDER))}

    before = beside()
    assert before[""].mode & 0o111 == 0o111 and len(before) == 129
    assert qatprep("bootstrap", "--no-smoke", "--set", "nodes.mode=0640", host=host).code == ExitCode.OK
    nodes = [vf.node for vf in pci.gather(host).all_vfs]
    assert {node.mode for node in nodes if isinstance(node, DeviceNode)} == {0o640} and len(nodes) == 128
    assert beside() == before
