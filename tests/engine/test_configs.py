"""Configurations other than the usual one: what they come to, that a second run has nothing to do, that all of it
goes back.
"""

from __future__ import annotations

from collections import Counter

import pytest

from qatprep.cli.open_host import open_host
from qatprep.config import parse
from qatprep.engine.bootstrap import bootstrap, undoable
from qatprep.engine.run import undo_run
from qatprep.facts import gather
from qatprep.simulator.host import SimulatedHost
from tests.conftest import qatprep
from tests.engine.state import difference, snapshot

BY_NODE = "overrides: [{match: {numa_node: 1}, driver: qat_vfio_pci, services: dc}]"
BY_BDF = "overrides: [{match: {device: '6b:00.0'}, vfs: false}, {match: {device: '0000:70:*'}, driver: none}]"
GROUP = "nodes: {group: envoy, mode: '0600'}"

CASES = [
    # host, configuration, VFs by driver, PFs by services, subjects skipped
    ("spr-2s@6.12", "devices: {driver: none}", {None: 128}, {"asym;sym": 8}, 0),
    ("spr-2s@6.12", "devices: {driver: qat_vfio_pci}", {"qat_vfio_pci": 128}, {"asym;sym": 8}, 0),
    ("spr-2s@6.6", "devices: {driver: qat_vfio_pci}", {}, {"asym;sym": 4, "dc": 4}, 8),
    ("spr-2s-ready@7.2", "devices: {driver: qat_vfio_pci}", {"qat_vfio_pci": 128}, {"asym;sym": 8}, 0),
    ("vf-ids@6.12", "devices: {driver: qat_vfio_pci}", {"qat_vfio_pci": 128}, {"asym;sym": 8}, 0),
    ("vf-variant-driver@6.12", "devices: {driver: vfio-pci}", {"qat_vfio_pci": 128}, {"asym;sym": 8}, 0),
    ("spr-2s@6.12", BY_NODE, {"vfio-pci": 64, "qat_vfio_pci": 64}, {"asym;sym": 4, "dc": 4}, 0),
    ("spr-2s@6.1", BY_NODE, {"vfio-pci": 64}, {"asym;sym": 6, "dc": 2}, 4),
    ("spr-2s-ready@6.12", BY_BDF, {"vfio-pci": 112}, {"asym;sym": 8}, 0),
    ("spr-2s@6.1", BY_BDF, {"vfio-pci": 96, None: 16}, {"asym;sym": 8}, 0),
    ("spr-2s-ready@6.1", "devices: {vfs: false}", {}, {"asym;sym": 8}, 0),
    ("spr-2s-ready@6.12", "devices: {vfs: false, services: asym}", {}, {"asym": 8}, 0),
    ("pf-down@6.12", "devices: {vfs: false, services: keep}", {}, {"asym;sym": 8}, 0),
    ("dmar-absent@6.12", "devices: {vfs: false, services: asym}", {}, {"asym": 8}, 0),
    ("dc-only@6.1", "devices: {services: keep}", {"vfio-pci": 128}, {"dc": 8}, 0),
    ("module-not-loaded@6.1", "devices: {services: keep, vfs: false}", {}, {"asym;sym": 4, "dc": 4}, 0),
    ("spr-2s@6.12", GROUP, {"vfio-pci": 128}, {"asym;sym": 8}, 0),
    ("vm-vfs@6.12", "devices: {driver: qat_vfio_pci}", {"qat_vfio_pci": 4}, {}, 0),
    ("vm-vfs@6.6", "devices: {driver: qat_vfio_pci}", {None: 4}, {}, 4),
]


def simulated(name: str) -> SimulatedHost:
    host = open_host("/", name)
    assert isinstance(host, SimulatedHost)
    return host


@pytest.mark.parametrize(("name", "text", "drivers", "services", "skipped"), CASES, ids=lambda x: str(x)[:60])
def test_as_configured(
    name: str, text: str, drivers: dict[str | None, int], services: dict[str, int], skipped: int
) -> None:
    host = simulated(name)
    config = parse(text, "a test", ["smoke=false"])
    before = snapshot(host)
    result = bootstrap(host, config)
    assert result.status in ("applied", "unchanged"), result.failure
    assert len(result.skipped) == skipped
    pci = gather(host).pci
    assert Counter(vf.driver for vf in pci.all_vfs) == drivers
    found = Counter(";".join(sorted(pf.services.tokens)) for pf in pci.pfs)  # type: ignore[union-attr]
    assert found == services
    assert bootstrap(host, config).status == "unchanged"
    for run in undoable(host):
        assert undo_run(host, run) == []
    assert difference(before, snapshot(host)) == []


def test_vfs_in_use_do_not_change_to_another_vfio_driver() -> None:
    host = simulated("spr-2s-ready")
    group = host.readlink("/sys/bus/pci/devices/0000:6b:00.1/iommu_group").rsplit("/", 1)[-1]
    host.tree.link("/proc/4711/fd/7", f"/dev/vfio/{group}")
    result = bootstrap(host, parse("", "a test", ["devices.driver=qat_vfio_pci"]))
    assert result.status == "refused"
    assert result.plan.refused[0].holders[0].pid == 4711


def test_nodes_in_use_can_be_given_back_to_their_owner() -> None:
    """Rollback of a run that only changed owners takes nothing from whoever has a VF open."""
    host = simulated("nodes-root-only")
    before = snapshot(host)
    assert bootstrap(host, parse("", "a test", ["smoke=false"])).status == "applied"
    for vf in gather(host).pci.all_vfs:
        assert vf.node
        host.tree.link(f"/proc/4711/fd/{vf.bdf.replace(':', '')}", vf.node.path)  # type: ignore[union-attr]
    called = qatprep("rollback", host=host)
    assert called.code == 0, called.err
    host.tree.remove("/proc/4711")
    assert difference(before, snapshot(host)) == []


@pytest.mark.parametrize("verb", ["plan", "bootstrap"])
def test_an_override_for_nobody_is_told(verb: str) -> None:
    host = simulated("spr-2s")
    host.tree.file("/etc/qatprep.yaml", b"overrides: [{match: {device: '6c:00.0', numa_node: 0}, vfs: false}]\n")
    called = qatprep(verb, host=host)
    assert "no PF of this host matches the override for device 6c:00.0 and numa_node 0" in called.err
