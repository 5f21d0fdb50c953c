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


_REFUSED = "The operator's CustomResourceDefinition lists what it takes: the API server refuses anything else."
SERVICES_CAUSE = (
    "The init container writes them into the PFs' cfg_services, and the kernel refuses what a device does not offer."
)


@dataclass(frozen=True)
class Problem:
    field: tuple[str | int, ...]
    """Its path in spec."""
    value: object
    title: str
    cause: str
    fix: str
    fatal: bool = True
    """The API server refuses it, or no VF is offered."""


def problems(spec: dict[str, Any]) -> Iterator[Problem]:
    for key in spec:
        if key not in _FIELDS:
            fix = did_you_mean(str(key), _FIELDS, "Leave it out.")
            cause = "kubectl refuses a field that the CustomResourceDefinition does not have; other clients drop it."
            yield Problem((str(key),), key, f"QatDevicePlugin has no field {key!r}", cause, fix)
    for number, driver in enumerate(sequence(spec.get("kernelVfDrivers"))):
        if driver not in _VF_DRIVERS:
            fix = did_you_mean(str(driver), _VF_DRIVERS, f"One of {', '.join(_VF_DRIVERS)}.")
            title = f"{driver!r} is no VF driver that the operator knows"
            yield Problem(("kernelVfDrivers", number), driver, title, _REFUSED, fix)
    for key, choices in _CHOICES.items():
        if key in spec and spec[key] not in choices:
            yield Problem((key,), spec[key], f"{key} is {spec[key]!r}", _REFUSED, f"One of {', '.join(choices)}.")
    if spec.get("dpdkDriver") == "igb_uio":
        title = "dpdkDriver igb_uio: Envoy takes VFs from vfio-pci"
        cause = "qatlib opens VFs through VFIO, and finds none that igb_uio has."
        yield Problem(("dpdkDriver",), "igb_uio", title, cause, "Set dpdkDriver: vfio-pci.", fatal=False)
    most = spec.get("maxNumDevices")
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        title = f"maxNumDevices is {most!r}"
        yield Problem(("maxNumDevices",), most, title, _REFUSED, "Set a whole number from 1.")
    elif most is not None and most < 16:
        title = f"maxNumDevices {most}: the node offers {most} of its VFs, and one PF alone has 16"
        cause = "The plugin offers the first VFs that it finds, up to this number: whole PFs can be missing."
        fix = "Set it to the VFs of the node, or leave it out (64)."
        yield Problem(("maxNumDevices",), most, title, cause, fix, fatal=False)
    if "initImage" in spec and mapping(spec).get("provisioningConfig"):
        title = "the init container sets services by provisioningConfig: it undoes what qatprep has prepared"
        cause = "It writes services and makes VFs again whenever the plugin's pod begins."
        fix = "Leave initImage and provisioningConfig out."
        value = spec["provisioningConfig"]
        yield Problem(("provisioningConfig",), value, title, cause, fix, fatal=False)


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
