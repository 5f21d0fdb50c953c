"""Facts and a configuration become a plan: host-wide changes first, then for each PF a lane in the order the kernel
forces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from qatprep import hardware
from qatprep.config import NodeConfig, PfConfig
from qatprep.facts import Facts
from qatprep.facts.base import Unknown
from qatprep.facts.modules import normal
from qatprep.facts.pci import DeviceNode, Pf, Services, Vf
from qatprep.plan.model import Left, Plan, Refusal
from qatprep.steps import modules, persist, runtime, sriov
from qatprep.steps.base import Change
from qatprep.steps.binding import BindVf, handover
from qatprep.steps.nodes import AS_MADE
from qatprep.steps.owners import CreateGroup, SetOwnership
from qatprep.steps.pf import BindPf, StartPf
from qatprep.steps.services import SetServices

UNKNOWN_YET = "not known before its driver runs"


def make_plan(
    facts: Facts,
    config: NodeConfig,
    only: Callable[[str], bool] | None = None,
    tried: frozenset[str] = frozenset(),
) -> Plan:
    """What has to change for the configuration to hold.

    `only` chooses PFs by BDF; `tried` are those whose driver was just tried in vain. The files by which it holds at the
    next boot are part of it unless only some PFs are asked for.
    """
    builder = _Builder(facts, config, tried)
    if only is None:
        builder.files()
    for pf in facts.pci.pfs:
        if pf.family.supported and (only is None or only(pf.bdf)):
            builder.pf(pf)
    for vf in facts.pci.vfs:
        if vf.family.supported and (only is None or only(vf.bdf)):
            builder.lone_vf(vf)
    return builder.plan()


class _Builder:
    def __init__(self, facts: Facts, config: NodeConfig, tried: frozenset[str]) -> None:
        self.facts = facts
        self.tried = tried
        self.retries: list[BindPf] = []
        self.config = config
        self.modules, self.hopeless = modules.plan(facts, config)
        self.loading = {change.name for change in self.modules}
        self.lanes: dict[str, tuple[Change, ...]] = {}
        self.left: list[Left] = []
        self.refused: list[Refusal] = []
        self.forecast = False
        self.waited_for: set[str] = set()
        """QAT modules that PFs cannot do without."""
        self.finish: list[Change] = []

    def plan(self) -> Plan:
        needed = [change for change in self.modules if self._needs(change.name)]
        host: list[Change] = [*needed, *self.retries]
        if any(isinstance(c, SetOwnership) for lane in self.lanes.values() for c in lane):
            gid = self.facts.nodes.gid(self.config.group)
            if gid is None:
                host.append(CreateGroup(self.config.group))
        finish = tuple(self.finish)
        return Plan(tuple(host), self.lanes, finish, self.forecast, tuple(self.left), tuple(self.refused))

    def files(self) -> None:
        """What makes it last, and what containers need of the node."""
        self.finish, left = persist.plan(self.facts, self.config)
        containers, refused = runtime.plan(self.facts, self.config)
        self.finish += containers
        self.left += left + refused

    def _needs(self, module: str) -> bool:
        """Whether a module serves something in the lanes; nothing is loaded for PFs that are left alone."""
        if module in {family.module for family in hardware.FAMILIES}:
            return module in self.waited_for
        binds = any(isinstance(c, BindVf) for lane in self.lanes.values() for c in lane)
        bound = any(vf.bound is True for vf in self.facts.pci.all_vfs)
        return binds or (module == "vfio_iommu_type1" and bound)  # a bound VF is of no use without its container

    # -- one PF -------------------------------------------------------------------------------------------

    def pf(self, pf: Pf) -> None:
        reason = self._obstacle(pf)
        if reason:
            self.left.append(reason)
            return
        want = self.config.of(pf)
        lane: list[Change] = []
        running = pf.driver == pf.family.driver
        if not running:
            self.forecast = True
            self.waited_for.add(pf.family.module)
            if pf.family.module not in self.loading:
                self.retries.append(BindPf(pf.bdf, pf.family.driver))
        services = self._services(pf, want, running)
        lane += self._vfs(pf, want, running, services)
        if lane:
            self.lanes[pf.bdf] = tuple(lane)
            self._check_holders(pf.bdf, pf.vfs, lane)

    def _obstacle(self, pf: Pf) -> Left | None:
        """What is broken above the steps, for this PF: BIOS, kernel, firmware, driver. It is told, never touched."""
        if self.facts.stack.active:
            return Left(pf.bdf, "the out-of-tree QAT stack is installed beside the kernel's driver", "QP-STACK-001")
        if isinstance(pf.driver, Unknown):
            return Left(pf.bdf, pf.driver.reason, "QP-PF-001")
        if pf.driver is not None and pf.driver != pf.family.driver:
            return Left(pf.bdf, f"bound to {pf.driver} instead of {pf.family.driver}", "QP-PF-001")
        if pf.driver is None:
            module = pf.family.module
            if module in self.hopeless:
                finding = "QP-MOD-002" if "forbids" in self.hopeless[module] else "QP-MOD-001"
                return Left(pf.bdf, self.hopeless[module], finding)
            for name in pf.family.firmware:
                if not self.facts.firmware.images[name].found:
                    return Left(pf.bdf, f"firmware {name} is not where this kernel looks", "QP-FW-001")
            told = self.facts.log.of("firmware-rejected", "firmware-svn", "power", "numa", "fused", bdf=pf.bdf)
            if pf.bdf in self.tried or (told and module not in self.loading):
                return Left(pf.bdf, told[-1].text if told else self._in_vain(pf), "QP-PF-001")
        want = self.config.of(pf)
        if want.vfs and want.driver != "none":
            if pf.grouped is not True:
                why = pf.grouped.reason if isinstance(pf.grouped, Unknown) else "not behind an IOMMU"
                return Left(pf.bdf, why, "QP-IOMMU-002" if self.facts.iommu.on is False else "QP-IOMMU-004")
            if forbidden := self._no_module(pf.bdf, want):
                return forbidden
        if want.vfs and isinstance(pf.total_vfs, Unknown):
            return Left(pf.bdf, pf.total_vfs.reason, "QP-SRIOV-002")
        if want.vfs and pf.driver is not None and pf.total_vfs in (None, 0):
            return Left(pf.bdf, "it cannot have VFs: sriov_totalvfs is absent or 0", "QP-SRIOV-002")
        if pf.driver is not None and (isinstance(pf.num_vfs, Unknown) or isinstance(pf.state, Unknown)):
            unseen = pf.num_vfs if isinstance(pf.num_vfs, Unknown) else pf.state
            return Left(pf.bdf, str(unseen.reason) if isinstance(unseen, Unknown) else "", "QP-SRIOV-001")
        for vf in pf.vfs:
            if isinstance(vf.driver, Unknown):
                return Left(vf.bdf, vf.driver.reason, "QP-VFIO-001")
        return None

    def _in_vain(self, pf: Pf) -> str:
        """Why a driver that was tried did not take its PF, as far as can be told without a word of the kernel's."""
        version = self.facts.kernel.version
        if isinstance(version, Unknown) or version[:2] >= pf.family.since:
            return "its driver could not start it"
        since = ".".join(map(str, pf.family.since))
        return f"its driver does not take it: {pf.name} came with Linux {since}, this is {self.facts.kernel.release}"

    def _no_module(self, bdf: str, want: PfConfig) -> Left | None:
        """Why the VFs cannot have their driver: a module of VFIO's that this kernel lacks, or must not load."""
        for name in ("vfio_pci", "vfio_iommu_type1", normal(want.driver)):
            if name in self.hopeless:
                return Left(bdf, self.hopeless[name], "QP-MOD-004")
        return None

    def _services(self, pf: Pf, want: PfConfig, running: bool) -> SetServices | None:
        if want.services is None:
            return None
        new = hardware.spell_services(want.services)
        if not running:
            return SetServices(pf.bdf, UNKNOWN_YET, new, "up")
        if isinstance(pf.services, Services) and pf.services.tokens == want.services:
            return None
        if isinstance(pf.configurable, Unknown):
            self.left.append(Left(pf.bdf, f"its services cannot be seen: {pf.configurable.reason}", "QP-SVC-002"))
            return None
        if not pf.configurable:
            release = self.facts.kernel.release
            self.left.append(
                Left(pf.bdf, f"this kernel ({release}) cannot set services; they stay {_text(pf)}", "QP-KRN-001")
            )
            return None
        if not isinstance(pf.services, Services):
            self.left.append(Left(pf.bdf, f"its services cannot be read: {_text(pf)}", "QP-SVC-002"))
            return None
        return SetServices(pf.bdf, pf.services.text, new, pf.state if isinstance(pf.state, str) else "up")

    def _vfs(self, pf: Pf, want: PfConfig, running: bool, services: SetServices | None) -> list[Change]:
        lane: list[Change] = []
        present = len(pf.vfs) if running else 0
        if present and (services is not None or not want.vfs):
            lane.append(sriov.removal(pf, "down" if services else "up"))
            if services is not None:
                services = replace(services, old_state="down")  # undone before the VFs come back, which starts the PF
            present = 0
        if services is not None:
            lane.append(services)
        if not want.vfs:
            if services is not None or pf.state == "down":
                lane.append(StartPf(pf.bdf))
            return lane
        if present:
            for vf in pf.vfs:
                lane += self._vf(vf, want)
            return lane
        total = pf.total_vfs if isinstance(pf.total_vfs, int) and pf.total_vfs else pf.family.total_vfs
        state = "down" if services is not None else pf.state if isinstance(pf.state, str) else ""
        lane.append(sriov.CreateVfs(pf.bdf, total, state))
        if want.driver != "none":
            bdfs = [pf.vf_bdf(index) for index in range(total)]
            lane += [BindVf(bdf, "", "", want.driver) for bdf in bdfs]
            lane += [SetOwnership(bdf, self.config.group, self.config.mode, None, AS_MADE) for bdf in bdfs]
        return lane

    def _vf(self, vf: Vf, want: PfConfig) -> list[Change]:
        """What an existing VF still lacks: hosts are mended VF by VF, not all or nothing."""
        if want.driver == "none":
            return []
        lacks_migration = vf.driver == hardware.VFIO_PCI and want.driver == hardware.VFIO_VARIANT
        if vf.driver not in hardware.VFIO_DRIVERS or lacks_migration:
            return [
                handover(vf, want.driver),
                SetOwnership(vf.bdf, self.config.group, self.config.mode, None, AS_MADE),
            ]
        gid = self.facts.nodes.gid(self.config.group)
        if isinstance(vf.node, DeviceNode) and (vf.node.gid != gid or vf.node.mode != self.config.mode):
            node = vf.node
            words = f"{_owner(node.uid)}:{self.facts.nodes.group_name(node.gid)} {node.mode:04o}"
            return [SetOwnership(vf.bdf, self.config.group, self.config.mode, node.owner, words)]
        return []

    def lone_vf(self, vf: Vf) -> None:
        """A VF without a PF, as a VM sees it."""
        want = self.config.devices
        if vf.grouped is not True and want.driver != "none":
            self.left.append(Left(vf.bdf, "not behind an IOMMU: the VM needs a virtual one", "QP-IOMMU-004"))
            return
        if want.driver != "none" and (forbidden := self._no_module(vf.bdf, want)):
            self.left.append(forbidden)
            return
        lane = self._vf(vf, want)
        if lane:
            self.lanes[vf.bdf] = tuple(lane)
            self._check_holders(vf.bdf, (vf,), lane)

    def _check_holders(self, device: str, vfs: tuple[Vf, ...], lane: list[Change]) -> None:
        """VFs that would go while somebody has them open: the kernel would wait for him without end."""
        doomed = {change.bdf for change in lane if isinstance(change, BindVf)}
        if any(isinstance(change, sriov.RemoveVfs) for change in lane):
            doomed |= {vf.bdf for vf in vfs}
        holders = tuple(holder for holder in self.facts.nodes.holders if holder.vf in doomed)
        if holders:
            held = sorted({holder.vf for holder in holders})
            self.refused.append(Refusal(device, f"{', '.join(held)} would be taken away while in use", holders))


def _text(pf: Pf) -> str:
    if isinstance(pf.services, Unknown):
        return pf.services.reason
    return pf.services.text if pf.services else "unknown"


def _owner(uid: int) -> str:
    return "root" if uid == 0 else str(uid)
