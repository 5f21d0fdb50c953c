"""The main walk on a real kernel: from a node nobody has touched to a ready one, and back."""

from __future__ import annotations

import pytest

from .conftest import Boot, full
from .node import PF0, PF1, Node, vf

pytestmark = pytest.mark.vm


@full
def test_what_is_said_of_a_node_before_and_after(boot: Boot, kernel: str) -> None:
    with boot(kernel) as guest:
        node = Node(guest)
        untouched = node.picture()

        # Before: the driver is there to be loaded, everything after it waits for that.
        found = node.findings(status=3)
        assert {name for name, status in found.items() if status == "fail"} == {
            "QP-MOD-003",
            "QP-MOD-004",
            "QP-NODE-004",
        }
        assert found["QP-FW-001"] == found["QP-IOMMU-002"] == found["QP-KRN-001"] == "ok"
        assert found["QP-SRIOV-001"] == found["QP-VFIO-001"] == "blocked"
        assert "module qat_4xxx: not loaded -> loaded" in node.qatprep("plan", status=3).out
        assert node.picture() == untouched

        # Bootstrap, and nothing is left to be done.
        node.qatprep("bootstrap --yes --no-smoke")
        assert set(node.findings(status=0).values()) <= {"ok"}
        ready = node.picture()
        assert "Nothing to do" in node.qatprep("bootstrap --yes --no-smoke").out
        assert node.picture() == ready

        # Somebody who may not write changes nothing and is told so.
        guest.run("chmod o+x /root")  # the interpreter may be there
        somebody = "setpriv --reuid=65534 --regid=65534 --clear-groups"
        refused = guest.run(f"{somebody} qatprep device vfs remove {PF0} --yes")
        assert refused.status == 7, refused.err
        assert node.picture() == ready


def test_a_node_is_made_ready_used_and_put_back(boot: Boot, kernel: str) -> None:
    with boot(kernel) as guest:
        node = Node(guest)
        untouched = node.picture()
        node.qatprep("bootstrap --yes --no-smoke")
        for pf in (PF0, PF1):
            assert node.sysfs(pf, "qat/state") == "up"
            assert set(node.sysfs(pf, "qat/cfg_services").split(";")) == {"sym", "asym"}
            assert node.sysfs(pf, "sriov_numvfs") == "16"
            assert node.drivers([vf(pf, n) for n in range(16)]) == ["vfio-pci"] * 16
        assert node.nodes() == ["660 root:qat"] * 32

        # Services of one PF: its VFs come back, bound and owned as before; the other PF is left alone.
        node.qatprep(f"device services dc {PF0} --yes")
        assert node.sysfs(PF0, "qat/cfg_services") == "dc"
        assert node.sysfs(PF0, "sriov_numvfs") == "16"
        assert node.nodes() == ["660 root:qat"] * 32
        assert set(node.sysfs(PF1, "qat/cfg_services").split(";")) == {"sym", "asym"}
        assert node.failed() == {"QP-SVC-001"}
        refused = node.qatprep(f"device services nonsense {PF0} --yes", status=2)
        assert "nonsense" in refused.err

        # The low-level verbs.
        first = vf(PF0, 0)
        node.qatprep(f"device unbind {first} --yes")
        assert node.driver(first) == ""
        assert len(node.nodes()) == 31
        node.qatprep(f"device bind {first} --group qat --yes")
        assert node.driver(first) == "vfio-pci"
        assert node.nodes() == ["660 root:qat"] * 32
        node.qatprep(f"device vfs remove {PF1} --yes")
        assert node.sysfs(PF1, "sriov_numvfs") == "0"
        assert len(node.nodes()) == 16

        # Bootstrap mends what was changed, rollback takes all of it back, run by run.
        assert node.failed() == {"QP-SRIOV-001", "QP-SVC-001"}
        node.qatprep("bootstrap --yes --no-smoke")
        assert set(node.findings(status=0).values()) <= {"ok"}
        node.put_back()
        assert node.picture() == untouched
        assert not node.complaints()
