"""Options that mean the same in every verb."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from qatprep.cli import complete
from qatprep.cli.command import HOST, OUTPUT


class Output(StrEnum):
    human = "human"
    json = "json"


def _given(ctx: typer.Context, param: typer.CallbackParam, value: str) -> str:
    """Refuse `--simulate ""`: a script whose variable is empty must not end up changing the real machine."""
    if value == "" and param.name and ctx.get_parameter_source(param.name).name == "COMMANDLINE":  # type: ignore[union-attr]
        from qatprep.errors import InputError

        raise InputError(f"{param.opts[0]} '' is empty", f"give it a value, or leave {param.opts[0]} out")
    return value


RootOption = Annotated[
    str,
    typer.Option(
        "--root", metavar="DIR|FILE", help="A host mounted at DIR, or captured in FILE.", rich_help_panel=HOST
    ),
]
SimulateOption = Annotated[
    str,
    typer.Option(
        "--simulate",
        metavar="HOST",
        help="A simulated host: spr-2s, or spr-2s@6.17 for another kernel.",
        callback=_given,
        rich_help_panel=HOST,
        autocompletion=complete.hosts,
    ),
]
OutputOption = Annotated[
    Output,
    typer.Option("--output", "-o", metavar="FORMAT", help="human or json.", rich_help_panel=OUTPUT, show_default=False),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
ConfigOption = Annotated[
    str,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The configuration (default: the host's /etc/qatprep.yaml).",
        callback=_given,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        autocompletion=complete.keys,
        help="Override one key: nodes.group=qat; of some PFs: devices@numa1.services=dc.",
    ),
]
DeviceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        "-d",
        metavar="BDF",
        help="Only this PF: a BDF or a glob; can be repeated.",
        autocompletion=complete.pfs,
    ),
]
