"""A private key provider: which one, how often it polls, and what it does without its hardware."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from qatprep import json_input
from qatprep.errors import InputError
from qatprep.host.user_files import read_file
from qatprep.mesh import durations


class Kind(StrEnum):
    QAT = "qat"
    CRYPTOMB = "cryptomb"
    PLAIN = "plain"
    """No provider: the key itself, BoringSSL on the worker thread."""


TYPE_URLS = {
    Kind.QAT: "type.googleapis.com/envoy.extensions.private_key_providers.qat.v3alpha.QatPrivateKeyMethodConfig",
    Kind.CRYPTOMB: (
        "type.googleapis.com/envoy.extensions.private_key_providers.cryptomb.v3alpha.CryptoMbPrivateKeyMethodConfig"
    ),
}
"""envoyproxy/data-plane-api contrib/envoy/extensions/private_key_providers. Intel's QAT... is unknown."""

PAPER_DELAY = {Kind.QAT: 5 * durations.MS, Kind.CRYPTOMB: 10 * durations.MS}
"""Intel's starting points (sections 2.2.1 and appendix 1)."""

TUNE_SCHEMA = "qatprep.tune/1"
_TUNE_LIMIT = 4 << 20


@dataclass(frozen=True)
class Provider:
    kind: Kind
    delay: int = 0
    """Nanoseconds; 0 for plain."""
    fallback: bool = False
    source: str = ""
    """Where the delay comes from: for people."""


def choose(kind: Kind, *, delay: str = "", tune: str = "", fallback: bool = False) -> Provider:
    """The provider with its poll delay: as given, from a tune result, or Intel's.

    InputError when the delay is out of range, the tune file is not usable, or speaks of another provider.
    """
    if kind is Kind.PLAIN:
        if delay or tune or fallback:
            raise InputError("plain has no provider: no poll delay, tune result or fallback belongs to it")
        return Provider(kind)
    if delay and tune:
        raise InputError("--poll-delay and --tune both give the poll delay", "give one of them")
    if delay:
        nanoseconds, source = durations.parse(delay), "--poll-delay"
    elif tune:
        nanoseconds, source = from_tune(kind, tune)
    else:
        nanoseconds, source = (
            PAPER_DELAY[kind],
            "the starting point of Intel's guide; `qatprep tune` measures this node's",
        )
    durations.check(nanoseconds)
    return Provider(kind, nanoseconds, fallback, source)


def from_tune(kind: Kind, path: str) -> tuple[int, str]:
    """Nanoseconds and where they come from, of what `qatprep tune --save FILE` wrote.

    Read are `recommendation.provider` and `recommendation.poll_delay_ms` (schema/tune.json).
    """
    document = _load(path)
    if document.get("schema") != TUNE_SCHEMA:
        raise InputError(
            f"{path!r} has the schema {str(document.get('schema'))[:60]!r}, not {TUNE_SCHEMA!r}",
            "make one with `qatprep tune --save FILE`",
        )
    recommended = document.get("recommendation")
    if not isinstance(recommended, dict):
        raise InputError(f"{path!r} has no recommendation")
    provider = recommended.get("provider")
    if provider != kind:
        chosen = (
            "not to accelerate" if provider in ("none", "openssl", None) else f"the provider {str(provider)[:40]!r}"
        )
        raise InputError(
            f"{path!r} recommends {chosen}, and {kind} was asked for",
            f"give --poll-delay if you want {kind} all the same",
        )
    delay = recommended.get("poll_delay_ms")
    if isinstance(delay, int) and not isinstance(delay, bool) and 0 < delay < 1_000_000:
        return delay * durations.MS, f"measured on this node ({path})"
    raise InputError(f"{path!r} recommends {kind} without a poll delay")


def _load(path: str) -> dict[str, Any]:
    data = read_file(path, _TUNE_LIMIT, "the tune result")
    try:
        document = json_input.loads(data)
    except ValueError as e:
        raise InputError(f"{path!r} is not JSON", "make one with `qatprep tune --save FILE`") from e
    if not isinstance(document, dict):
        raise InputError(f"{path!r} is no tune result")
    return document
