"""What shells offer after TAB: hosts, findings, stages, BDFs, keys of the configuration, runs.

Each function gives values with a word about them. Nothing here may fail: a completion that raises is noise in the
middle of a command line.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import typer

from qatprep.host.base import Host

Values = Iterable[tuple[str, str]]


def _safely(values: Callable[[typer.Context], Values]) -> Callable[[typer.Context, str], list[tuple[str, str]]]:
    """For typer's `autocompletion`: () where anything goes wrong."""

    def complete(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
        try:
            return [found for found in values(ctx) if found[0].startswith(incomplete)]
        except Exception:
            return []

    return complete


def _host(ctx: typer.Context) -> Host:
    """The host that the options before name."""
    from qatprep.cli.open_host import open_host

    given: dict[str, Any] = ctx.params
    state = os.environ.get("QATPREP_STATE", "")
    return open_host(given.get("root") or "/", given.get("simulate") or "", state)


@_safely
def hosts(ctx: typer.Context) -> Values:
    from qatprep.simulator.scenarios import scenarios

    return [(one.name, one.title) for one in scenarios()]


@_safely
def findings(ctx: typer.Context) -> Iterator[tuple[str, str]]:
    """Ids, stages and documents."""
    from qatprep.findings.pages import pages
    from qatprep.schema_check import documents

    yield from ((page.id, page.title) for page in pages().values())
    yield from ((stage, "a stage") for stage in dict.fromkeys(page.stage for page in pages().values()))
    yield from ((name, "a JSON document") for name in documents())


@_safely
def pfs(ctx: typer.Context) -> Values:
    from qatprep.facts import pci

    found = pci.gather(_host(ctx))
    here = [(pf.bdf, f"{pf.name}, NUMA node {pf.numa_node}") for pf in found.pfs]
    return here or [(vf.bdf, "VF") for vf in found.vfs]


@_safely
def devices(ctx: typer.Context) -> Values:
    """PFs where the verb is about them, else VFs and PFs."""
    from qatprep.facts import pci

    found = pci.gather(_host(ctx))
    about_pfs = ctx.info_name in ("services", "vfs", "reset", "up", "down", "take-over")
    known = [(pf.bdf, f"PF, {pf.name}") for pf in found.pfs]
    return known if about_pfs else [*((vf.bdf, "VF") for vf in found.all_vfs), *known]


@_safely
def keys(ctx: typer.Context) -> Values:
    """KEY= of --set."""
    from qatprep.config import NodeConfig
    from qatprep.config.writing import rows

    return [(f"{row.key}=", "") for row in rows(NodeConfig())]


@_safely
def runs(ctx: typer.Context) -> Values:
    from qatprep.engine import journal
    from qatprep.engine.bootstrap import EVERY

    every = [(run.id, f"{run.command}, {run.time}") for run in journal.runs(_host(ctx))]
    return [*every, (EVERY, "every run")] if every else []


BASH = r"""_qatprep_completion() {
    # Bash cuts words at : and =, which BDFs and --set have: the line is cut at blanks instead, and what is before
    # the last : or = of the word is taken off the answers again.
    local IFS=$' \t\n' line="${COMP_LINE:0:COMP_POINT}" words current= number
    read -ra words <<<"$line"
    number=${#words[@]}
    if [[ "$line" != *[[:space:]] ]]; then
        number=$((number - 1))
        current="${words[number]}"
    fi
    IFS=$'\n'
    COMPREPLY=( $( env COMP_WORDS="$line" COMP_CWORD=$number _QATPREP_COMPLETE=complete_bash "$1" ) )
    COMPREPLY=( "${COMPREPLY[@]#"${current%"${current##*[:=]}"}"}" )
    return 0
}

complete -o default -o nosort -F _qatprep_completion qatprep
"""
"""The script for bash: typer's cuts a BDF into five words."""
