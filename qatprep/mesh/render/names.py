"""Names and values that go into manifests: checked before they are written, with the rule in the message."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from qatprep.errors import InputError
from qatprep.text import printable

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_QUALIFIED = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_IMAGE = re.compile(r"[a-z0-9](?:[a-z0-9._/:-]{0,253}[A-Za-z0-9_.-])?(?:@sha256:[0-9a-f]{64})?")
_QUANTITY = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,3})?(?:m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_RESOURCE = re.compile(r"qat\.intel\.com/[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9*](?:[-A-Za-z0-9.]{0,251}[A-Za-z0-9])?")


def label(value: str, what: str) -> str:
    """A Kubernetes object's name (RFC 1123 label): 1 to 63 of a-z, 0-9 and -."""
    if not _LABEL.fullmatch(value):
        raise InputError(f"{what} {value!r} is no Kubernetes name", "lower-case letters, digits and -, at most 63")
    return value


def label_value(value: str, what: str) -> str:
    """The value of a label."""
    if not _QUALIFIED.fullmatch(value):
        raise InputError(f"{what} {value!r} is no label value", "letters, digits, -, _ and ., at most 63")
    return value


def image(value: str) -> str:
    """A container image reference."""
    if not _IMAGE.fullmatch(value):
        raise InputError(f"{value!r} is no image reference", "for example envoyproxy/envoy:contrib-v1.40.0")
    return value


def quantity(value: str, what: str) -> str:
    """A Kubernetes quantity: 500m, 2, 1Gi."""
    if not _QUANTITY.fullmatch(value):
        raise InputError(f"{what} {value!r} is not a quantity", "for example 2, 500m or 1Gi")
    return value


def resource(value: str) -> str:
    """A resource name of the QAT device plugin. One that cannot sign with RSA is refused.

    The plugin makes it of the PF's cfg_services, ; turned into -, and both orders of sym and asym into cy
    (intel-device-plugins-for-kubernetes cmd/qat_plugin/dpdkdrv).
    """
    name = value if "/" in value else f"qat.intel.com/{value}"
    if not _RESOURCE.fullmatch(name):
        raise InputError(f"{value!r} is no resource of the QAT device plugin", "for example cy, asym or asym-dc")
    services = name.partition("/")[2].split("-")
    if "cy" not in services and "asym" not in services and services != ["generic"]:
        raise InputError(
            f"{name} has no asymmetric crypto, which TLS handshakes need",
            "use cy or asym; set the services of the PF with `qatprep bootstrap --set devices.services='sym;asym'`",
        )
    return name


def port(value: int, what: str) -> int:
    if not 1 <= value <= 65535:
        raise InputError(f"{what} {value} is not a port", "1 to 65535")
    return value


def address(value: str, what: str) -> str:
    """An IP address to listen on: Envoy's socket_address takes no host names there."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError as e:
        raise InputError(f"{what} {value!r} is no IP address", "for example 0.0.0.0 or 127.0.0.1") from e


def host(value: str) -> str:
    """A name or address for a certificate."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        pass
    if not _HOST.fullmatch(value) or ".." in value:
        raise InputError(f"{value!r} is no host name", "for example localhost or gateway.example.com")
    return value


def path(value: str, what: str) -> str:
    """An absolute path without line ends or NUL."""
    if not value.startswith("/") or any(ord(c) < 32 for c in value) or len(value) > 1024:
        raise InputError(f"{what} {value!r} is no absolute path")
    return value


def count(value: int, what: str, most: int) -> int:
    if not 1 <= value <= most:
        raise InputError(f"{what} {value} is out of range", f"1 to {most}")
    return value


class Mode(int):
    """Permission bits: written in octal, which Kubernetes reads as such (YAML 1.1)."""


def yaml_text(documents: list[dict[str, Any]], notes: list[str]) -> str:
    """Documents as YAML, notes above as comments, several-line strings in block form."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, False)

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def octal(dumper: yaml.SafeDumper, value: Mode) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:int", f"0{value:o}")

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        # y and n are booleans to Envoy's and Kubernetes' YAML 1.1 parsers, though not to PyYAML.
        style = "|" if "\n" in value else "'" if value in ("y", "n", "Y", "N") else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    Dumper.add_representer(Mode, octal)

    def dumped(document: dict[str, Any]) -> str:
        plain: dict[str, Any] = {"sort_keys": False, "default_flow_style": False, "width": 1000}
        out: str = yaml.dump(document, Dumper=Dumper, allow_unicode=True, **plain)
        # PyYAML counts marks of direction among what prints.
        shown = out.replace("\n", "").isprintable()
        return out if shown else str(yaml.dump(document, Dumper=Dumper, allow_unicode=False, **plain))

    return "".join(f"# {printable(note)}\n" for note in notes) + "---\n".join(map(dumped, documents))
