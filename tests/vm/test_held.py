"""Somebody uses a VF through VFIO. Whoever takes it away would wait in the kernel, perhaps for ever, and could not be
killed: so qatprep looks first, names the process, and leaves everything as it is."""

from __future__ import annotations

import pytest

from .conftest import Boot, full
from .machine import HERE, Guest, Job
from .node import PF0, PF1, Node, vf

pytestmark = [pytest.mark.vm, full]


def hold(guest: Guest, device: str, *, unseen: bool = False) -> Job:
    """A process that has a VF open as libqat does.

    `unseen`: the descriptors are under way in a socket, where /proc shows them nowhere.
    """
    hide = "ends = socket.socketpair(); socket.send_fds(ends[0], [b'x'], host.held); host.release(); " if unseen else ""
    script = (
        f"import socket, sys, time; sys.path.insert(0, {HERE!r}); import play; host = play.Local(); "
        f"group = host.readlink('/sys/bus/pci/devices/{device}/iommu_group').rpartition('/')[2]; "
        f"host.hold('/dev/vfio/' + group, '{device}'); {hide}print('held', flush=True); time.sleep(1000)"
    )
    job = guest.start(f'exec -a envoy-stand-in {guest.interpreter} -I -S -c "{script}"')
    job.wait_for("held")
    return job


def test_nothing_that_takes_a_held_vf_away_is_begun(boot: Boot, kernel: str) -> None:
    with boot(kernel) as guest:
        node = Node(guest)
        node.qatprep("bootstrap --yes --no-smoke")
        held = vf(PF0, 3)
        job = hold(guest, held)
        before = node.picture()

        pf = node.pfs()[PF0]
        holders = {v["device"]: v["holders"] for v in pf["vfs"] if v["holders"]}
        assert list(holders) == [held]

        for verb in (
            f"device vfs remove {PF0} --yes",
            f"device services dc {PF0} --yes",
            f"device unbind {held} --yes",
            "bootstrap --yes --no-smoke --set devices.services=dc",
            "rollback --yes",
        ):
            refused = node.qatprep(verb, status=None)
            assert refused.status in (1, 3), (verb, refused.out, refused.err)
            assert held in refused.out + refused.err, verb
            assert "envoy-stand-in" in refused.out + refused.err, verb
            assert node.sysfs(PF0, "sriov_numvfs") == "16", verb

        # Nothing of the held PF has changed, and it still works for its holder.
        after = node.picture()
        for path, entry in before.items():
            if PF0[5:-2] in path:
                assert after.get(path) == entry, path

        # Other VFs and other PFs are free to be changed.
        node.qatprep(f"device unbind {vf(PF0, 4)} --yes")
        node.qatprep(f"device bind {vf(PF0, 4)} --group qat --yes")
        node.qatprep(f"device services dc {PF1} --yes")

        job.kill()
        node.qatprep(f"device services dc {PF0} --yes")
        assert node.sysfs(PF0, "qat/cfg_services") == "dc"
        assert not node.complaints()


def test_a_holder_that_cannot_be_seen_does_not_hang_qatprep(boot: Boot, kernel: str) -> None:
    """The window between looking and writing cannot be closed; the wait is bounded, and what still waits is named."""
    with boot(kernel) as guest:
        node = Node(guest)
        node.qatprep("bootstrap --yes --no-smoke")
        job = hold(guest, vf(PF0, 3), unseen=True)
        assert not any(v["holders"] for v in node.pfs()[PF0]["vfs"])
        result = node.qatprep(f"device vfs remove {PF0} --yes", status=None, timeout=300)
        assert result.status not in (0, 2), result.out
        assert PF0 in result.out + result.err
        assert "waiting" in result.out + result.err
        job.kill()
        # Let go, the kernel goes on by itself.
        guest.check(f"timeout 60 cat /sys/bus/pci/devices/{PF0}/sriov_numvfs")
        node.qatprep("bootstrap --yes --no-smoke")
        assert set(node.findings(status=0).values()) <= {"ok"}
