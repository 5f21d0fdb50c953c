"""Pods judged: do their containers ask for VFs in a way that Kubernetes and the runtime take?

Sources: Kubernetes' pkg/apis/core/validation/validation.go (ValidateResourceRequirements,
validateEphemeralContainers) and apimachinery's resource.Quantity; containerd's and CRI-O's
device_ownership_from_security_context.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from qatprep.facts.kubernetes import PREFIX, can_sign, resource_problem
from qatprep.mesh.inspect import shapes
from qatprep.mesh.inspect.judge.found import Found, absent, kind_of
from qatprep.mesh.inspect.manifest import Spot, dig, mapping, sequence, shown

_QUANTITY = re.compile(
    r"([+-]?(?:[0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40}))(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]{1,2})?"
)
_UNITS = {unit: Fraction(1000) ** power for power, unit in enumerate(("n", "u", "m", "", "k", *"MGTPE"), -3)}
_UNITS |= {unit: Fraction(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)}

_DROPPED = (
    "Kubernetes has no such field there: kubectl refuses it, other clients drop it, and the container gets no VF."
)


def quantity(value: object) -> Fraction | None:
    """An amount as Kubernetes reads it (1, "2", 1.5k, 500m); None for what is none."""
    match = _QUANTITY.fullmatch("" if isinstance(value, bool) else "0" if value is None else str(value))
    if match is None:
        return None
    unit = match[2] or ""
    scale = Fraction(10) ** int(unit[1:]) if unit[:1] in ("e", "E") and unit[1:] not in ("", "i") else _UNITS[unit]
    return Fraction(match[1].rstrip(".")) * scale


def judge(found: Found, pod: shapes.Pod) -> None:
    spec, spot = pod.spec, pod.spot
    context = _typed(found, pod, spot.at("securityContext"), spec.get("securityContext"), dict)
    for key in shapes.CONTAINERS:
        for number, item in enumerate(_typed(found, pod, spot.at(key), spec.get(key), list)):
            place = spot.at(key, number)
            container = _typed(found, pod, place, item, dict)
            _container(found, pod, place, container, context)


def _typed(found: Found, pod: shapes.Pod, spot: Spot, value: Any, wanted: type) -> Any:
    """The value where it is of the type that Kubernetes has there, else an empty one."""
    if not isinstance(value, wanted) and value is not None and pod.strict:
        key = next(key for key in reversed(spot.path) if isinstance(key, str))
        what = f"an item of {key}" if isinstance(spot.path[-1], int) else key
        right = kind_of(wanted())
        found.fail(
            "QP-K8S-008",
            spot,
            value,
            f"{what} is {kind_of(value)}, not {right}",
            "The API server cannot read the object, and refuses it.",
            f"Write it as {right}.",
            "qatprep render kubernetes",
        )
    return value if isinstance(value, wanted) else wanted()


def _container(found: Found, pod: shapes.Pod, spot: Spot, container: dict[str, Any], context: dict[str, Any]) -> None:
    asked = _typed(found, pod, spot.at("resources"), container.get("resources"), dict)
    for key in ("limits", "requests"):
        _typed(found, pod, spot.at("resources", key), asked.get(key), dict)
    resources(found, spot.at("resources"), asked)
    for key in container:
        for name in mapping(container[key]) if key in ("requests", "limits") else (key,):
            if str(name).startswith(PREFIX):
                place = spot.at(key, str(name)) if name is not key else spot.at(str(key))
                title = f"{shown(name)} is not below resources"
                found.fail("QP-K8S-008", place, name, title, _DROPPED, "Indent it below resources.limits.")
    own = _typed(found, pod, spot.at("securityContext"), container.get("securityContext"), dict)
    both = {**context, **own}
    env = _environment(found, pod, spot, container)
    if wanted_vfs(container) or "QAT_POLICY" in env:
        _ways_around(found, spot, pod.spec, container, both.get("privileged") is True)
    if not wanted_vfs(container):
        return
    if "ephemeralContainers" in spot.path:
        found.fail(
            "QP-K8S-008",
            spot.at("resources"),
            "resources",
            "an ephemeral container asks for a VF",
            'The API server refuses it ("cannot be set for an Ephemeral Container"): devices are given to containers '
            "when the pod begins.",
            "Ask for it in containers.",
        )
    _user(found, spot, both, own)
    if str(env.get("QAT_POLICY")) != "1":
        found.warn(
            "QP-K8S-008",
            spot,
            f"QAT_POLICY {absent(env.get('QAT_POLICY'))}",
            "QAT_POLICY=1 is not set: the first process may take more VFs than are its own",
            "qatlib's first process takes a VF of each PF, or all that are in the container, and the next finds none.",
            'Set the environment variable QAT_POLICY to "1".',
        )


def _environment(found: Found, pod: shapes.Pod, spot: Spot, container: dict[str, Any]) -> dict[str, Any]:
    """Values by name; what comes from elsewhere (valueFrom) is not known here, and "1"."""
    items = map(mapping, _typed(found, pod, spot.at("env"), container.get("env"), list))
    return {str(item.get("name")): "1" if "valueFrom" in item else item.get("value") for item in items}


def _user(found: Found, spot: Spot, both: dict[str, Any], own: dict[str, Any]) -> None:
    user, group = both.get("runAsUser"), both.get("runAsGroup")
    place = spot.at("securityContext") if own else spot
    if user in (None, 0) or group in (None, 0):
        found.warn(
            "QP-K8S-008",
            place,
            f"runAsUser {absent(user)}, runAsGroup {absent(group)}",
            "runAsUser and runAsGroup are not both set and above 0: device ownership does nothing for it",
            "containerd and CRI-O give the device nodes of VFs to runAsUser and runAsGroup where these are set and not "
            "0. Otherwise the nodes stay root's, and a process that is not root cannot open them.",
            "Set both, for Envoy's image to 101.",
        )
    if "IPC_LOCK" in sequence(dig(both, "capabilities").get("add")) and user not in (None, 0):
        found.warn(
            "QP-MEM-006",
            place,
            "capabilities.add IPC_LOCK",
            f"IPC_LOCK does nothing for user {user}: the node's memlock limit is what counts",
            "A capability that is added is in effect for root alone. A process of another user keeps the memlock limit "
            "that containerd or CRI-O gives to its containers.",
            "qatprep explain QP-MEM-001",
        )


def wanted_vfs(container: dict[str, Any]) -> list[Any]:
    """The resources of VFs among its limits."""
    return [name for name in dig(container, "resources", "limits") if str(name).startswith(PREFIX)]


def host_paths(spec: dict[str, Any], container: dict[str, Any]) -> list[tuple[int, str]]:
    """Which of a container's volumeMounts show device nodes of the host that VFs are among, and their paths."""
    volumes = [mapping(volume) for volume in sequence(spec.get("volumes"))]
    paths = {str(volume.get("name")): mapping(volume.get("hostPath")).get("path") for volume in volumes}
    mounted = [paths.get(str(mapping(mount).get("name"))) for mount in sequence(container.get("volumeMounts"))]
    return [(n, str(p)) for n, p in enumerate(mounted) if re.fullmatch(r"/dev(/vfio(/.*)?)?/?", str(p))]


def _ways_around(found: Found, spot: Spot, spec: dict[str, Any], container: dict[str, Any], privileged: bool) -> None:
    """Ways around the device plugin, where QAT is meant: the plugin itself has /dev/vfio by right."""
    if privileged:
        found.warn(
            "QP-K8S-008",
            spot.at("securityContext", "privileged"),
            "privileged: true",
            "a privileged container can open every VF of the node, also those of other pods",
            "The device cgroup does not hold for it, and the kubelet does not know which VFs it takes.",
            "Take privileged out: a limit of qat.intel.com gives it its VFs.",
        )
    for number, path in host_paths(spec, container):
        lacks = "" if privileged else ", and does not let the container open them"
        found.warn(
            "QP-K8S-008",
            spot.at("volumeMounts", number),
            f"hostPath {path}",
            f"hostPath {path} shows the device nodes of all VFs{lacks}",
            "The container can take VFs that the kubelet gives to other pods."
            if privileged
            else 'The device cgroup lets a container open what the kubelet gave to it, and nothing else: "Operation '
            'not permitted".',
            "Take the volume out: a limit of qat.intel.com brings the device nodes of its VFs.",
        )


def resources(found: Found, spot: Spot, asked: dict[str, Any]) -> None:
    """limits and requests, wherever they are."""
    limits, requests = mapping(asked.get("limits")), mapping(asked.get("requests"))
    for name in dict.fromkeys(map(str, (*limits, *requests))):
        place = spot.at("limits" if name in limits else "requests", name)
        wrong = resource_problem(name)
        if wrong:
            cause = "No node offers a resource of this name: the pod stays Pending."
            found.fail(
                "QP-K8S-008", place, name, f"{shown(name)}: {wrong}", cause, "Write it as qat.intel.com/cy, or asym."
            )
        if name.startswith(PREFIX):
            _amounts(found, spot, place, name, limits, requests)
        if name.startswith(PREFIX) and not can_sign(name) and not wrong:
            title = f"{shown(name)} cannot sign: it has no asymmetric crypto"
            cause = 'TLS handshakes need it: Envoy finds no instance in such a VF, and says "Failed to start QAT.".'
            found.fail("QP-K8S-003", place, name, title, cause, "Ask for a resource with cy or asym.")
    for key in map(str, asked):
        if key.startswith(PREFIX):
            found.fail(
                "QP-K8S-008",
                spot.at(key),
                key,
                f"{shown(key)} is in resources itself",
                _DROPPED,
                "Indent it below limits.",
            )


def _amounts(
    found: Found, spot: Spot, place: Spot, name: str, limits: dict[str, Any], requests: dict[str, Any]
) -> None:
    said = f"limits {absent(limits.get(name))}, requests {absent(requests.get(name))}"
    if name not in limits:
        title = f"{shown(name)} is in requests only: the API server refuses it"
        cause = 'A device cannot be overcommitted: "Limit must be set for non overcommitable resources".'
        found.fail("QP-K8S-008", place, said, title, cause, "Put it into limits.")
        return
    amount = quantity(limits[name])
    if amount is None or amount < 0 or amount.denominator != 1:
        title = f"{shown(name)}: {shown(limits[name])} is no whole number, and the API server refuses it"
        cause = 'Devices are counted in whole numbers: "must be an integer".'
        found.fail("QP-K8S-008", place, limits[name], title, cause, "Ask for whole VFs.")
    elif amount == 0:
        title = f"{shown(name)}: 0 VFs are asked for"
        cause = "Kubernetes takes it, and the container gets no VF."
        found.warn("QP-K8S-008", place, limits[name], title, cause, "Ask for 1, or leave it out.")
    if name in requests and quantity(requests[name]) != amount and str(requests[name]) != str(limits[name]):
        title = f"{shown(name)}: requests and limits differ"
        cause = 'A device cannot be overcommitted: the API server refuses requests that are not "equal to" the limit.'
        at = spot.at("requests", name)
        found.fail("QP-K8S-008", at, said, title, cause, "Make them equal, or leave requests out.")
