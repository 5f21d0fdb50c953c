"""The shell commands that doctor gives are pasted into a shell on a real kernel, as they are printed."""

from __future__ import annotations

from typing import Any

import pytest

from qatprep.report.findings import is_command

from .conftest import Boot
from .node import PF0, PF1, Node, vf

pytestmark = pytest.mark.vm

DEVICES = "/sys/bus/pci/devices"
GROUP = "/dev/vfio/$(basename $(readlink {device}/iommu_group))"
FREE = "cd /sys/bus/pci/drivers/vfio-pci; for v in 0*; do echo $v > unbind; done; cd /; "

BROKEN = (
    ("QP-VFIO-001", f"for v in {vf(PF0, 3)} {vf(PF1, 4)}; do echo $v > /sys/bus/pci/drivers/vfio-pci/unbind; done"),
    ("QP-VFIO-001", FREE),
    ("QP-VFIO-002", f"echo pci-stub > {DEVICES}/{vf(PF0, 2)}/driver_override"),
    ("QP-NODE-001", f"chgrp root {GROUP.format(device=f'{DEVICES}/{vf(PF0, 5)}')}"),
    ("QP-NODE-001", "chgrp root /dev/vfio/[0-9]*"),
    ("QP-NODE-002", f"chmod 0666 {GROUP.format(device=f'{DEVICES}/{vf(PF0, 6)}')}"),
    ("QP-NODE-003", "chmod 0600 /dev/vfio/vfio"),
    ("QP-NODE-004", "groupdel qat"),
    ("QP-SRIOV-001", f"for pf in {PF0} {PF1}; do echo 0 > {DEVICES}/$pf/sriov_numvfs; done"),
    ("QP-SVC-001", f"cd {DEVICES}/{PF0}/qat; echo down > state; echo dc > cfg_services; echo up > state"),
    ("QP-PF-002", f"echo down > {DEVICES}/{PF1}/qat/state"),
    ("QP-PF-001", f"echo {PF0} > /sys/bus/pci/drivers/4xxx/unbind"),
    (
        "QP-PF-001",
        f"echo vfio-pci > {DEVICES}/{PF0}/driver_override; echo {PF0} > /sys/bus/pci/drivers/4xxx/unbind; "
        f"echo {PF0} > /sys/bus/pci/drivers/vfio-pci/bind",
    ),
    ("QP-MOD-004", f"{FREE}modprobe -r vfio-pci vfio_iommu_type1"),
    ("QP-MOD-003", f"{FREE}modprobe -r qat_4xxx"),
)
"""A finding, and what brings it about on a node that is ready."""


def bad(node: Node, id: str) -> list[dict[str, Any]]:
    """What doctor says against the node under this id."""
    found = node.json(f"doctor --only {id}", status=None)["findings"]
    return [f for f in found if f["id"] == id and f["status"] in ("fail", "warn", "unknown")]


def test_what_is_pasted_clears_the_finding(boot: Boot, kernel: str) -> None:
    wrong: list[str] = []
    with boot(kernel) as guest:
        node = Node(guest)
        for id, text in BROKEN:
            node.qatprep("bootstrap --yes --no-smoke", timeout=300)
            guest.check(text)
            before = bad(node, id)
            steps = [step for f in before for step in f["fix"] if is_command(step) and not step.startswith("qatprep")]
            if not steps:
                wrong.append(f"{id} after {text!r}: no command in {before}")
            for step in steps:
                result = guest.run(step)
                print(f"{id}: {step}\n{result.out}{result.err}", flush=True)
                if result.status:
                    wrong.append(f"{id}: {step!r} ended with status {result.status}: {result.err}")
            if steps and (after := bad(node, id)):
                wrong.append(f"{id} after {steps}: {after}")
    assert not wrong, "\n".join(wrong)
