"""Services that the device offers, but that this kernel may be too old for: whoever would lose VFs by it is asked."""

from __future__ import annotations

from collections.abc import Iterable

from qatprep.facts.base import Unknown
from qatprep.facts.pci import Pf
from qatprep.hardware import services_since, spell_services
from qatprep.text import plural


def of(changing: Iterable[tuple[Pf, frozenset[str]]], version: tuple[int, int, int] | Unknown) -> tuple[str, ...]:
    """What setting these services risks, a sentence each; () where mainline of this version takes them, and where a PF
    has no VFs to lose.

    A version only makes it doubtful: distributions backport.
    """
    doubtful: dict[frozenset[str], list[Pf]] = {}
    for pf, wanted in changing:
        if not isinstance(version, Unknown) and version[:2] < services_since(wanted) and pf.vfs:
            doubtful.setdefault(wanted, []).append(pf)
    return tuple(_text(wanted, pfs, version) for wanted, pfs in doubtful.items())


def _text(wanted: frozenset[str], pfs: list[Pf], version: tuple[int, int, int] | Unknown) -> str:
    assert not isinstance(version, Unknown)
    since = services_since(wanted)
    ranges = [f"{pf.vfs[0].bdf} to {pf.vfs[-1].bdf}" if len(pf.vfs) > 1 else pf.vfs[0].bdf for pf in pfs]
    return (
        f"Linux {version[0]}.{version[1]} may refuse {spell_services(wanted)}: mainline takes it from {since[0]}."
        f"{since[1]} on, distributions backport. {plural(sum(len(pf.vfs) for pf in pfs), 'VF')} are destroyed to find "
        f"out: {', '.join(ranges)}"
    )
