"""The configuration held against the devices: what no kernel can set on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from qatprep import hardware, schema_check
from qatprep.config.reading import ConfigError, Mistake
from qatprep.config.values import NodeConfig
from qatprep.facts.pci import Pf
from qatprep.text import plural


def impossible(config: NodeConfig, pfs: Iterable[Pf]) -> list[tuple[Mistake, list[Pf]]]:
    """Services that these PFs cannot offer together: one mistake for each family and key, and its PFs."""
    found: dict[tuple[schema_check.Path, str], list[Pf]] = {}
    for pf in pfs:
        if problem(config, pf):
            found.setdefault((config.origin(pf, "services"), pf.family.name), []).append(pf)
    return [(_mistake(config, path, mine), mine) for (path, _), mine in found.items()]


def problem(config: NodeConfig, pf: Pf) -> str:
    """Why no kernel can set what is configured for a PF, "" when one can: a clause without its subject."""
    want = config.of(pf).services
    return "" if want is None or not pf.family.supported else pf.family.services.problem(want)


def demand(config: NodeConfig, pfs: Iterable[Pf], only: Callable[[str], bool] | None = None) -> None:
    """ConfigError when the configuration is impossible on one of the PFs (of those that `only` chooses)."""
    if found := impossible(config, [pf for pf in pfs if only is None or only(pf.bdf)]):
        raise ConfigError([one._replace(text=f"{one.text} ({_named(mine)})") for one, mine in found])


def _mistake(config: NodeConfig, path: schema_check.Path, pfs: list[Pf]) -> Mistake:
    want, family = config.of(pfs[0]).services or frozenset(), pfs[0].family
    key = schema_check.name(path)
    text = f"{key} is {hardware.spell_services(want)!r}, but a {family.name} device {family.services.problem(want)}"
    return Mistake(config.place(path), key, text, f"for example {' or '.join(family.services.nearest(want))}")


def _named(pfs: list[Pf]) -> str:
    some = ", ".join(pf.bdf for pf in pfs[:4]) + (" ..." if len(pfs) > 4 else "")
    return f"{plural(len(pfs), 'PF')}: {some}"
