"""Options that mean the same in every verb."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


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
    typer.Option("--root", metavar="DIR|FILE", help="Look at the host mounted at DIR, or recorded in a host FILE."),
]
SimulateOption = Annotated[
    str,
    typer.Option(
        "--simulate",
        metavar="HOST[@KERNEL]",
        help="Use a simulated host, e.g. spr-2s or spr-2s@6.17; `qatprep hosts` lists them.",
        callback=_given,
    ),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="For people or for programs.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
ConfigOption = Annotated[
    str,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The configuration; /etc/qatprep.yaml of the host unless given.",
        callback=_given,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one key of the configuration: nodes.group=qat, or of some PFs: devices@numa1.services=dc.",
    ),
]
DeviceOption = Annotated[
    list[str] | None,
    typer.Option("--device", "-d", metavar="BDF", help="Only this PF, a BDF or a glob of one; may be repeated."),
]
