"""What of a text may stay in a capture: words by their shape, and lines of configuration by their key.

Permission, not exception: a word stays when it can only be a word, a number, a path made of words, or a name that the
kernel or qatprep has for something. A token, a password with a digit in it, base64, a UUID or a serial number is none
of these, whatever it is called and wherever it is. What goes is replaced by its kind and length: `<text 24>`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from qatprep.hardware import BDF, DRIVERS, FAMILIES

GONE = "redacted"
_PIECE = re.compile(r"[^\s\0\"'`=,;()\[\]{}<>|&!*]+")
"""A word with what belongs to it: paths, BDFs and versions are one."""
_NAMES = """
    k3s rke2 k0s microk8s type1 vfio_iommu_type1 iommu_v2 v1 v2 v3 x86 x86_64 amd64 arm64 x2apic idle_d3 disable_idle_d3
    sha256 sha512 rsa2048 rsa4096 ecdsa p256 pci0000 D0 D3hot D3cold L0s L1 DMAR0 DeviceIDs PodUID aarch64 riscv64
    k0sworker k0scontroller k8s NoNewPrivileges IPAddressDeny UMask WantedBy SCHED_IDLE
    OnUnitActiveSec OnBootSec ppc64le s390x i686 armv7l rev0 dmar0 dmar1
"""
_KNOWN = frozenset(
    {*DRIVERS, *(family.name for family in FAMILIES), *(family.module for family in FAMILIES)}
    | {name.rsplit("/", 1)[-1] for family in FAMILIES for name in family.firmware}
    | frozenset(_NAMES.split())
)
"""Names with digits or mixed case that hardware and programs have."""
_WORD = re.compile(r"[a-z]{1,20}|[A-Z][a-z]{1,19}|[A-Z]{1,16}s?")
_CAMEL = re.compile(
    r"[a-z]{2,14}(?:[A-Z][a-z]{2,14}){1,3}|[A-Z][a-z]{2,14}(?:[A-Z][a-z]{2,14}){1,3}|[A-Z][a-z]+[A-Z]{2,8}"
)
"""cpuManagerPolicy, ServicesEnabled, LimitMEMLOCK: parts that can be spoken."""
_NUMBERED = re.compile(
    r"(?:qat_dev|AE|dmar|DMAR|vfio|noiommu-|virtfn|cpu|CPU|node|NUMA|VF|PF|BAR|worker_|libqat\.so\.|qat_service|event)\d{1,4}"
    r"|avx[0-9]{0,3}[a-z0-9_]{0,16}|AVX[0-9]{0,3}[A-Z0-9_-]{0,16}|domU|macOS|iommufd"
)
"""What the kernel counts."""
_NUMBER = re.compile(
    r"[-+]?\d{1,20}(?:[.:]\d{1,10}){0,4}[KMGTkmgt]?i?[Bb]?|\d{1,9}(?:ms|us|ns|s|min|h|st|nd|rd|th|xxx|xx|x)|0[xX][0-9a-fA-F]{1,16}"
    r"|[0-9a-f]{4}|[0-9a-f]{4}:[0-9a-f]{4}|v?\d+\.\d+(?:\.\d+)*(?:[-+~][a-z]{1,12}\d{0,4}|-\d{1,4}|\.[a-z]{2,8}\d{0,3}){0,5}"
)
_SPLIT = re.compile(r"([/_.:@%#+~^$\\-])")


def shape(word: str) -> bool:
    """Whether a word can be nothing but a word, a number, an address of a device, or a path or name made of them."""
    if not word or len(word) > 400:
        return not word
    if word in _KNOWN or any(form.fullmatch(word) for form in (_WORD, _CAMEL, _NUMBERED, _NUMBER)):
        return True
    if BDF.fullmatch(word.strip(".:")):
        return True
    parts = _SPLIT.split(BDF.sub("/", word))
    return len(parts) > 1 and all(shape(part) for part in parts[::2])


def plain(text: str, count: Counter[str]) -> str:
    """The text with every word that has not such a shape replaced by its length."""

    def piece(match: re.Match[str]) -> str:
        word = match[0]
        if shape(word) or word == GONE:
            return word
        count["words that could be secrets"] += 1
        return f"<text {len(word)}>"

    return _PIECE.sub(piece, text)


ID = re.compile(
    r"[0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{64}|(?<=pod)[0-9a-f]{32}"
)
"""Of pods and containers: drawn by a machine."""
_SECRET = re.compile(
    r"(?i)(?P<key>[\w.-]*(?:passw(?:or)?d|username|secret|token|credential|auth|api[_-]?key|private[_-]?key|bearer)[\w.-]*"
    r"[\"']?\s*(?:=|:)\s*[\"']?)(?P<value>[^\s\"',}\]]+)"
)


Keeper = Callable[[str, Counter[str]], str]


def secrets(text: str, count: Counter[str]) -> str:
    """The text without the values of what is called a password, token or key."""

    def replace(match: re.Match[str]) -> str:
        if match["value"] in (GONE, "true", "false", "none", "null", "Always", "webhook", "x509"):
            return match[0]
        count["secrets"] += 1
        return match["key"] + GONE

    return _SECRET.sub(replace, text)


def lines(pattern: str, *, comments: str = "#;") -> Keeper:
    """Keeps the lines that a pattern is in, but for comments; an empty line replaces each other, so that numbers stay.

    A line that a kept one continues on (a backslash at its end) is kept, too.
    """
    wanted = re.compile(pattern)

    def keep(text: str, count: Counter[str]) -> str:
        out = []
        continued = False
        for line in text.split("\n"):
            comment = line.lstrip().startswith(tuple(comments)) if comments else False
            good = not comment and (continued or wanted.search(line) is not None)
            continued = good and line.endswith("\\")
            count["lines of files"] += not good and bool(line.strip())
            out.append(line if good else "")
        return "\n".join(out)

    return keep


_TOML_KEYS = (
    "version", "imports", "disabled_plugins", "device_ownership_from_security_context", "base_runtime_spec",
    "default_ulimits", "runtime_type", "SystemdCgroup", "default_runtime_name", "sandbox_image",
)  # fmt: skip
_TOML_SECTION = re.compile(r"^\s*\[\[?([^\]]*)\]\]?\s*(?:#.*)?$")
_TOML_VALUE = re.compile(
    r"^\s*(?:" + "|".join(_TOML_KEYS) + r")\s*=\s*"
    r"(?:true|false|\d+|\"[^\"\\]*\"|'[^']*'|\[(?:\s*(?:\"[^\"\\]*\"|'[^']*')\s*,?)*\])\s*(?:#.*)?$"
)
_TEMPLATE = re.compile(r'^\s*\{\{-?\s*(?:template "base" \.|end)\s*-?\}\}\s*$')
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_UNREAD = re.compile(r"\\|\"\"\"|'\'\'")


def toml(text: str, count: Counter[str]) -> str:
    """Keys that are judged, in tables whose names are words; whatever else is there is taken out with its line.

    A text that is not TOML stays none.
    """
    import tomllib

    out = []
    known = True
    for line in text.split("\n"):
        section = _TOML_SECTION.match(line)
        if section:
            known = all(
                shape(part.strip("\"' ")) for part in re.split(r"\.(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", section[1])
            )
        good = known and bool(section or _TOML_VALUE.match(line) or _TEMPLATE.match(line))
        mine = line.startswith("# Written by qatprep")
        count["lines of files"] += not good and not mine and bool(line.strip())
        out.append(_without_comment(line) if good else line if mine else "")
    kept = "\n".join(out)
    try:
        tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return text if text == kept else f"{kept}\n= {GONE}\n"
    return kept


def _without_comment(line: str) -> str:
    bare = _QUOTED.sub(lambda match: "x" * len(match[0]), line)
    return line[: bare.index("#")].rstrip() if "#" in bare else line


_FLAGS = (
    "config", "c", "config-dir", "d", "address", "a", "kubelet-args-file", "namespace", "mode", "cpu-manager-policy",
    "topology-manager-policy", "reserved-cpus", "container-runtime-endpoint", "provisioning", "dpdk-driver",
    "kernel-vf-drivers", "max-num-devices", "allocation-policy", "max-num-device", "v",
)  # fmt: skip


def arguments(words: list[str], count: Counter[str]) -> list[str]:
    """A command line: the program, and the flags that are read of it with their values, nothing after `--`."""
    kept = words[:1]
    wanted = False
    for word in words[1:]:
        if word == "--":
            break
        flag, equals, _ = word.lstrip("-").partition("=")
        if word.startswith("-"):
            known = flag in _FLAGS
            wanted = known and not equals
            if known:
                kept.append(word)
        elif wanted:
            kept.append(word)
            wanted = False
    count["arguments of programs"] += max(0, len(words) - len(kept))
    return kept


def values(document: object, count: Counter[str]) -> object:
    """What a parser made of JSON, every text in it made plain, keys too."""
    if isinstance(document, str):
        return plain(document, count)
    if isinstance(document, dict):
        return {plain(str(key), count): values(value, count) for key, value in document.items()}
    return [values(item, count) for item in document] if isinstance(document, list) else document
