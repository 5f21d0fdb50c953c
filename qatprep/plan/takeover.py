"""Taking over devices whose driver driverctl has stored: from then on the configuration alone says what drives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from qatprep import persist
from qatprep.config import NodeConfig, load
from qatprep.errors import InputError
from qatprep.facts import pci, setters
from qatprep.facts import persist as boot
from qatprep.facts.base import Unknown
from qatprep.facts.pci import Pf
from qatprep.hardware import VFIO_DRIVERS
from qatprep.host.base import Host
from qatprep.plan.model import Plan
from qatprep.steps.base import Change
from qatprep.steps.files import InstallFile, content, encode
from qatprep.steps.overrides import ForgetOverride
from qatprep.steps.overrides import stored as stored_driver
from qatprep.text import Foreign, listed


class _Stored(NamedTuple):
    """One override of driverctl's."""

    bdf: str
    driver: str
    path: str
    old: str
    """The file in base64."""
    owner: tuple[int, int, int]


def take_over(host: Host, bdfs: Sequence[str], *, adopt: bool = False) -> Plan:
    """Forget driverctl's overrides of these QAT functions. Empty where it has stored none.

    The configuration says what drives them from the next boot on; with `adopt`, what driverctl had stored for VFs goes
    into /etc/qatprep.yaml first. InputError for what is no QAT function of this host (other devices are none of
    qatprep's business), for a mistake in the configuration, and for what cannot be adopted.
    """
    found = pci.gather(host)
    pfs = {pf.bdf: pf for pf in found.pfs}
    owners = {vf.bdf: pfs.get(vf.pf or "") for vf in found.all_vfs}
    owners |= {pf.vf_bdf(index): pf for pf in found.pfs for index in range(pf.family.total_vfs)}
    if strange := [bdf for bdf in bdfs if bdf not in pfs and bdf not in owners]:
        raise InputError(f"{strange[0]} is no QAT function of this host", "qatprep device list shows them")
    stored = list(_stored(host, bdfs))
    if not stored:
        return Plan()
    config = load(host)
    changes: list[Change] = []
    adopted: dict[str, str] = {}
    if adopt:
        adopted = _adopted(config, stored, owners)
        settings = [f"devices@{pf}.driver={driver}" for pf, driver in adopted.items()]
        config = load(host, settings=settings)
        changes += _configuration(host, config, adopted)
    bound: dict[str, str | Unknown | None] = {pf.bdf: pf.driver for pf in found.pfs}
    bound |= {vf.bdf: vf.driver for vf in found.all_vfs}
    facts = boot.gather(host)
    prepared = config.persist is not False and facts.ours(boot.APPLY) is True and facts.enabled[boot.APPLY] is True
    for one in stored:
        after, why = _after(config, one.bdf, pfs, owners, prepared=prepared)
        cost = _cost(bound.get(one.bdf), one.driver, after, why)
        pf = owners.get(one.bdf)
        if pf and (driver := adopted.pop(pf.bdf, "")):
            cost = _joined(cost, f"with the next bootstrap or boot all VFs of {pf.bdf} go to {driver}")
        changes.append(ForgetOverride(one.path, one.old, one.owner, why, cost))
    return Plan(finish=tuple(changes))


def _stored(host: Host, bdfs: Sequence[str]) -> Iterator[_Stored]:
    for bdf in bdfs:
        path = f"{setters.DRIVERCTL}/pci-{bdf}"
        text = content(host, path)
        if text is not None:
            stat = host.stat(path)
            old = encode(text)
            yield _Stored(bdf, stored_driver(old), path, old, (stat.uid, stat.gid, stat.mode))


def _after(
    config: NodeConfig, bdf: str, pfs: dict[str, Pf], owners: dict[str, Pf | None], *, prepared: bool
) -> tuple[str, str]:
    """The driver from the next boot on, "" where nothing binds it, and why."""
    if bdf in pfs:
        driver = pfs[bdf].family.driver
        return driver, f"a PF is left to its own driver, {driver}"
    driver = _configured(config, owners[bdf])
    if driver not in VFIO_DRIVERS:
        return "", "the configuration binds its VFs to no driver"
    if not prepared:
        return "", f"nothing binds it to {driver} before bootstrap runs: qatprep does not prepare this host at boot"
    return driver, f"the configuration binds it to {driver}"


def _configured(config: NodeConfig, pf: Pf | None) -> str:
    """The driver of a PF's VFs; in a VM, where no PF is seen, that of all."""
    return (config.of(pf) if pf else config.devices).driver


def _cost(now: str | Unknown | None, stored: str, after: str, why: str) -> str:
    """What is lost where driverctl holds the device at the driver that it has now, and nothing else would."""
    if now != stored or now == after:
        return ""
    return f"it is on {stored} now and will not be after the next boot: {why}"


def _joined(*costs: str) -> str:
    return "; ".join(filter(None, costs))


def _adopted(config: NodeConfig, stored: list[_Stored], owners: dict[str, Pf | None]) -> dict[str, str]:
    """PF -> the driver that driverctl has for VFs of it, where the configuration has another one."""
    wanted: dict[str, set[str]] = {}
    for one in stored:
        if one.bdf not in owners:
            raise InputError(
                f"{one.path} has the PF {one.bdf} on {one.driver}: no configuration of qatprep's says that",
                "without --adopt the override is removed, and the PF is left to its own driver",
            )
        pf = owners[one.bdf]
        if one.driver == _configured(config, pf):
            continue
        if one.driver not in VFIO_DRIVERS:
            raise InputError(
                f"{one.path} says {one.driver}: the configuration knows {listed(VFIO_DRIVERS)} alone",
                "without --adopt the override is removed, and the configuration's driver holds",
            )
        if pf is None:
            raise InputError(
                f"{one.bdf} has no PF on this host, and the configuration names VFs by their PF",
                f"set devices.driver: {one.driver} in {boot.CONFIG}; then take over without --adopt",
            )
        wanted.setdefault(pf.bdf, set()).add(one.driver)
    for bdf, drivers in wanted.items():
        if len(drivers) > 1:
            raise InputError(
                f"driverctl has VFs of {bdf} on {listed(sorted(drivers))}: the configuration has one driver a PF",
                "adopt those of one driver; the others stay with driverctl",
            )
    return {bdf: driver for bdf, (driver,) in wanted.items()}


def _configuration(host: Host, config: NodeConfig, adopted: Mapping[str, str]) -> list[Change]:
    """/etc/qatprep.yaml with these drivers; nothing where it already does."""
    old = content(host, boot.CONFIG)
    text = None if old is None else Foreign(old).text
    file = persist.config_file(config, text) if adopted else None
    if file is None:
        return []
    if text is not None and not boot.is_ours(text):
        lines = [f"- {{match: {{device: '{bdf}'}}, driver: {driver}}}" for bdf, driver in adopted.items()]
        raise InputError(
            f"{boot.CONFIG} was not written by qatprep, and is left as it is",
            f"add to its overrides {listed(lines)}; then take over without --adopt",
        )
    pairs = listed(f"{bdf} to {driver}" for bdf, driver in adopted.items())
    note = f"sets the driver of all VFs of {pairs}"
    stat = None if old is None else host.stat(boot.CONFIG)
    owner = None if stat is None else (stat.uid, stat.gid, stat.mode)
    return [InstallFile.of(boot.CONFIG, file.text.encode(), old, mode=file.mode, owner=owner, note=note)]
