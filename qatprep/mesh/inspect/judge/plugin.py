"""A QatDevicePlugin's own fields, and the services its init container would set.

Sources: intel-device-plugins-for-kubernetes 94a91bc (v0.36.0), pkg/apis/deviceplugin/v1/qatdeviceplugin_types.go and
deployments/qat_plugin/overlays/qat_initcontainer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qatprep.hardware import FAMILIES, OOT_IDS, SUPPORTED, parse_services
from qatprep.mesh.inspect.manifest import mapping, sequence
from qatprep.text import did_you_mean, listed

_FIELDS = (
    "image", "initImage", "provisioningConfig", "preferredAllocationPolicy", "dpdkDriver", "nodeSelector",
    "kernelVfDrivers", "tolerations", "maxNumDevices", "logLevel",
)  # fmt: skip
_VF_DRIVERS = tuple(dict.fromkeys([*(f.vf_driver for f in FAMILIES), *(f"{name}vf" for name in OOT_IDS.values())]))
_CHOICES = {"preferredAllocationPolicy": ("balanced", "packed"), "dpdkDriver": ("igb_uio", "vfio-pci")}


@dataclass(frozen=True)
class Problem:
    field: str
    value: object
    title: str
    fix: str
    fatal: bool = True
    """The API server refuses it, or no VF is offered."""


def problems(spec: dict[str, Any]) -> Iterator[Problem]:
    for key in spec:
        if key not in _FIELDS:
            fix = did_you_mean(str(key), _FIELDS, "Leave it out.")
            yield Problem(str(key), key, f"QatDevicePlugin has no field {key!r}", fix)
    for driver in sequence(spec.get("kernelVfDrivers")):
        if driver not in _VF_DRIVERS:
            fix = did_you_mean(str(driver), _VF_DRIVERS, f"One of {', '.join(_VF_DRIVERS)}.")
            yield Problem("kernelVfDrivers", driver, f"{driver!r} is no VF driver that the operator knows", fix)
    for key, choices in _CHOICES.items():
        if key in spec and spec[key] not in choices:
            yield Problem(key, spec[key], f"{key} is {spec[key]!r}", f"One of {', '.join(choices)}.")
    if spec.get("dpdkDriver") == "igb_uio":
        title = "dpdkDriver igb_uio: Envoy takes VFs from vfio-pci"
        yield Problem("dpdkDriver", "igb_uio", title, "Set dpdkDriver: vfio-pci.", fatal=False)
    most = spec.get("maxNumDevices")
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        yield Problem("maxNumDevices", most, f"maxNumDevices is {most!r}", "A whole number from 1.")
    elif most is not None and most < 16:
        title = f"maxNumDevices {most}: the node offers {most} of its VFs, and one PF alone has 16"
        yield Problem("maxNumDevices", most, title, "Set it to the VFs of the node, or leave it out (64).", fatal=False)
    if "initImage" in spec and mapping(spec).get("provisioningConfig"):
        title = "the init container sets services by provisioningConfig: it undoes what qatprep has prepared"
        fix = "Leave initImage and provisioningConfig out: qatprep render kubernetes --as device-plugin-operator"
        yield Problem("provisioningConfig", spec["provisioningConfig"], title, fix, fatal=False)


def services(text: str) -> tuple[str, bool]:
    """What is wrong with these services ("" for nothing), and whether no family of devices takes them."""
    try:
        wanted = parse_services(text)
    except ValueError as e:
        return str(e), True
    refusing = {family.name: family.services.problem(wanted) for family in SUPPORTED}
    reasons = {name: why for name, why in refusing.items() if why}
    if not reasons:
        return "", False
    return f"not on {listed(reasons)}, which {next(iter(reasons.values()))}", len(reasons) == len(refusing)
