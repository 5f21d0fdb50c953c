"""What is made of the files of a node: the facts, and what is planned from them alone. See targets.py."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial

from qatprep.errors import QatprepError
from qatprep.host.base import Host
from tests.fuzz.parsers import documented

# -- containers -------------------------------------------------------------------------------------------------------


def runtime(host: Host) -> object:
    from qatprep.facts import nodes, runtime

    return runtime.gather(host, nodes.PodNames(host))


def containerd(host: Host) -> object:
    """What is read of containerd's files, and every edit that would be tried on them."""
    from qatprep.facts import containerd
    from qatprep.runtime.containerd import ConfigSet, Version, base_spec, judge
    from qatprep.runtime.edit import candidates
    from qatprep.runtime.refusal import Refused

    config = containerd.read(host)
    if isinstance(config, ConfigSet):
        for version in (None, Version(1, 7), Version(2, 1)):
            judge(config, version)
            base_spec(config, version)
            try:
                candidates(config, version)
            except Refused:
                continue
    return config


def crio(host: Host) -> object:
    """CRI-O's files and the drop-in that would be written; k3s' generated file and templates likewise."""
    from qatprep.runtime import crio, rancher
    from qatprep.runtime.containerd import File
    from qatprep.runtime.refusal import Refused

    files = tuple(File(path, _text(host, path)) for path in (crio.MAIN, f"{crio.CONF_D}/10-x.conf", crio.DROPIN))
    crio.judge(files)
    place = rancher.Place("k3s")
    template = place.templates[0]
    plans: tuple[Callable[[], object], ...] = (
        lambda: crio.drop_in(files, ownership=True, memlock=1 << 27),
        lambda: rancher.plan(place, _text(host, place.generated), {template: _text(host, template) or ""}),
    )
    for plan in plans:
        try:
            plan()
        except Refused:
            continue
    return files


def _text(host: Host, path: str) -> str | None:
    return host.read_text(path).raw if host.exists(path) else None


def memlock(host: Host) -> object:
    from qatprep.facts import systemd
    from qatprep.runtime import memlock

    for path in ("/proc/1201/limits", "/etc/containerd/base.json"):
        found = _text(host, path) or ""
        memlock.from_proc_limits(found)
        memlock.from_ulimits(tuple(found.split(",")))
        documented(partial(memlock.from_base_spec, found))
    return systemd.unit_limit(host, "containerd.service")


def kubernetes(host: Host) -> object:
    from qatprep.facts import kubernetes

    return kubernetes.gather(host, "kubelet --config-dir=/etc/kubelet.d --hostname-override=n1")


# -- the kernel and what it loads -------------------------------------------------------------------------------------


def kernel(host: Host) -> object:
    from qatprep.facts import cpu, firmware, iommu, kernel, modules, stack

    found = kernel.gather(host)
    loaded = modules.ModuleFacts(host, found)
    for name in ("intel_qat", "qat_4xxx", "vfio_pci"):
        loaded.get(name)
        loaded.missing(name)
    return (
        cpu.gather(host),
        iommu.gather(host),
        firmware.gather(host, found, ("qat_4xxx.bin",)),
        stack.gather(host, loaded, found.release),
    )


def devices(host: Host) -> object:
    from qatprep.facts import health, nodes, pci
    from qatprep.facts.base import DeviceFiles

    files = DeviceFiles(host)
    found = pci.gather(host, files)
    return health.gather(host, found.pfs, files, polled=False), nodes.gather(host, found.all_vfs)


def functions(host: Host) -> object:
    """What `device list` shows of every function, with the modules that may drive it; what the host is called."""
    from qatprep.facts import bus
    from qatprep.host import captured

    return bus.everything(host, drivers=True), captured.names(host)


def setters(host: Host) -> object:
    from qatprep.facts import pci, setters

    return setters.gather(host, pci.gather(host))


def own(host: Host) -> object:
    from qatprep.facts import persist, proof
    from qatprep.plan import arguments

    with contextlib.suppress(QatprepError):
        arguments._boots(host)
    return persist.gather(host), proof.gather(host)
