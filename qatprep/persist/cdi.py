"""The node's VFs for Podman, Docker and other runtimes that read CDI: by address, and all of them at once.

Container Device Interface (cncf-tags/container-device-interface, SPEC.md). Version 0.5.0 is what Podman 4.3 reads, and
the first in which a device's name may begin with a digit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qatprep.errors import QatprepError
from qatprep.facts import Facts
from qatprep.facts.nodes import CONTAINER_NODE
from qatprep.facts.pci import DeviceNode, Vf

VERSION = "0.5.0"
KIND = "intel.com/qat"
PATH = "/run/cdi/intel-qat.json"
"""Of the two directories that are read, the one for what does not outlive a boot, as numbers of IOMMU groups do not."""
ALL = "all"


def spec(facts: Facts, mode: int) -> dict[str, Any]:
    """The document. `mode` is that of the device nodes in a container.

    Owner and group are left out: they are then those of the container's user, as device ownership has it for pods
    (run with Podman 4.3.1). QatprepError where no VF can be used.
    """
    usable = [(vf, vf.node) for vf in facts.pci.all_vfs if _usable(vf) and isinstance(vf.node, DeviceNode)]
    if not usable:
        raise QatprepError(
            f"none of the {len(facts.pci.all_vfs)} VFs can be given to a container: none has a device node",
            "qatprep bootstrap makes them usable; qatprep doctor says what is in the way",
        )
    devices = [{"name": name(vf.bdf), "containerEdits": _nodes([node.path], mode)} for vf, node in usable]
    everything = {"name": ALL, "containerEdits": _nodes(dict.fromkeys(node.path for _, node in usable), mode)}
    return {
        "cdiVersion": VERSION,
        "kind": KIND,
        "devices": [*devices, everything],
        "containerEdits": _nodes([CONTAINER_NODE], mode),
    }


def name(bdf: str) -> str:
    """A VF's name as --device takes it: the specification has no colon in names."""
    return bdf.replace(":", "-")


def _usable(vf: Vf) -> bool:
    return vf.family.supported and vf.bound is True and not vf.noiommu and not vf.neighbours


def _nodes(paths: Iterable[str], mode: int) -> dict[str, Any]:
    return {"deviceNodes": [{"path": path, "permissions": "rw", "fileMode": mode} for path in paths]}
