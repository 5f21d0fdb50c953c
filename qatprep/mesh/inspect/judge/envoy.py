"""Pieces of Envoy's configuration judged, each mistake tried on Envoy 1.40."""

from __future__ import annotations

from typing import Any

from qatprep.errors import InputError
from qatprep.mesh import durations
from qatprep.mesh.inspect import shapes
from qatprep.mesh.inspect.judge.found import Found, absent
from qatprep.mesh.inspect.manifest import Spot, dig, mapping, walk
from qatprep.mesh.provider import TYPE_URLS, Kind

_STRICT = (
    "Envoy refuses a field that it does not know at this place: it does not start with such a file, and rejects such a "
    "listener from a control plane."
)
_REJECTED = "Envoy refuses the listener, or the secret, that the provider is in."


def judge(found: Found, shape: shapes.Envoy) -> None:
    spot, tree = shape.spot, shape.tree
    if shape.whole:
        _admin(found, spot, tree)
    for path, key, value in walk(tree):
        here = spot.at(*path)
        if key == "private_key_provider":
            provider(found, here, mapping(value))
        elif key == "tls_certificates":
            items = enumerate(value) if isinstance(value, list) else [(None, value)]
            for number, item in items:
                _certificate(found, here if number is None else here.at(number), mapping(item))
        elif key == "common_tls_context":
            for wrong, right in (
                ("filters", "next to transport_socket"),
                ("private_key_provider", "inside an item of tls_certificates"),
            ):
                if wrong in mapping(value):
                    title = f"{wrong} is in common_tls_context"
                    found.fail("QP-ENVOY-004", here.at(wrong), wrong, title, _STRICT, f"Put it {right}.")
        if _is_router(mapping(value)):
            found.fail(
                "QP-ENVOY-004",
                here.at("typed_config"),
                "no @type",
                "the router has no @type",
                "Envoy finds a filter's code by the type of its configuration, and refuses one without.",
                'Add "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router',
            )


def _is_router(value: dict[str, Any]) -> bool:
    typed = "typed_config" in value and "@type" not in mapping(value["typed_config"])
    return typed and str(value.get("name")).endswith("router")


def _admin(found: Found, spot: Spot, tree: dict[str, Any]) -> None:
    below = "admin" in mapping(tree.get("static_resources"))
    if below:
        title = "admin is inside static_resources"
        place = spot.at("static_resources", "admin")
        found.fail("QP-ENVOY-004", place, "admin", title, _STRICT, "Put it at the top of the file.")
    path = ("admin", "address", "socket_address")
    outside = dig(tree, *path)
    admin = outside or dig(tree, "static_resources", *path)
    address = str(admin.get("address", "127.0.0.1"))
    if address not in ("127.0.0.1", "::1"):
        found.warn(
            "QP-ENVOY-013",
            spot.at(*(() if outside else ("static_resources",)), *path, "address"),
            address,
            f"others can reach the admin interface on {address}",
            "Every client that reaches it can stop Envoy, read its configuration and change its log. Intel's guide "
            "binds it so.",
            "Bind it to 127.0.0.1.",
        )


def _certificate(found: Found, spot: Spot, item: dict[str, Any]) -> None:
    block = mapping(item.get("private_key_provider"))
    if block.get("fallback") is True and not item.get("private_key"):
        kind = Kind.CRYPTOMB if block.get("provider_name") == Kind.CRYPTOMB else Kind.QAT
        found.fail(
            "QP-ENVOY-004",
            spot.at("private_key_provider", "fallback"),
            "fallback true, private_key not set",
            "fallback: true without private_key next to the provider: Envoy refuses it",
            'Without the hardware Envoy signs with the key next to the provider, and requires one: "Failed to load '
            'incomplete private key".',
            "Add private_key next to it.",
            f"qatprep render envoy -p {kind} --fallback",
        )


def provider(found: Found, spot: Spot, block: dict[str, Any]) -> None:
    """A private_key_provider."""
    config = mapping(block.get("typed_config"))
    name, kind = block.get("provider_name"), str(config.get("@type", ""))
    for key in ("poll_delay", "private_key"):
        if key in block:
            title = f"{key} is next to typed_config"
            found.fail("QP-ENVOY-004", spot.at(key), key, title, _STRICT, "Put it inside typed_config.")
    if name not in (Kind.QAT, Kind.CRYPTOMB):
        found.fail(
            "QP-ENVOY-004",
            spot.at("provider_name"),
            f"provider_name {absent(name)}",
            f"provider_name is {str(name)[:40]!r}" if name is not None else "provider_name is missing",
            'Envoy finds the provider by this name, and has no other than qat and cryptomb: "Failed to load private '
            'key provider".',
            "Use qat or cryptomb.",
        )
    elif kind != TYPE_URLS[Kind(name)]:
        right = TYPE_URLS[Kind(name)].rsplit(".", 1)[-1]
        title = f"the type is {kind.rsplit('.', 1)[-1][:80] or 'missing'}, not {right}"
        cause = 'Envoy finds the message by its exact type: "could not find @type".'
        place = spot.at("typed_config", "@type")
        found.fail("QP-ENVOY-004", place, f"@type {kind}", title, cause, f"Write it as {TYPE_URLS[Kind(name)]}")
    inside = "poll_delay" in config
    _delay(found, spot.at("typed_config", "poll_delay") if inside else spot.at("poll_delay"), {**block, **config})


def _delay(found: Found, spot: Spot, fields: dict[str, Any]) -> None:
    delay = fields.get("poll_delay")
    said = f"poll_delay {absent(delay)}"
    if delay is None:
        title = "poll_delay is missing, and Envoy requires it"
        found.fail("QP-ENVOY-005", spot, said, title, _REJECTED, "Set poll_delay: 0.005s.")
        return
    try:
        nanoseconds = durations.parse(str(delay))
        right = durations.for_envoy(nanoseconds)
    except InputError as e:
        found.fail("QP-ENVOY-005", spot, said, f"poll_delay: {e.message}", _REJECTED, "Set poll_delay: 0.005s.")
        return
    if not str(delay).endswith("s") or str(delay).endswith("ms"):
        title = f"poll_delay: {delay} is not Envoy's form"
        cause = f"Envoy takes durations in seconds, as protobuf's JSON has them. {_REJECTED}"
        found.fail("QP-ENVOY-005", spot, said, title, cause, f"Write it as poll_delay: {right}")
    elif nanoseconds > 100 * durations.MS:
        title = f"poll_delay: {delay} is added to each handshake at low load"
        cause = "A signature waits so long for others to share its batch (cryptomb), or for the next poll (qat)."
        found.warn("QP-ENVOY-005", spot, said, title, cause, "qatprep tune")
