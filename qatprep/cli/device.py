"""qatprep device: typer's commands, made of the table in qatprep.cli.device_verbs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from qatprep.cli import complete
from qatprep.cli.command import App
from qatprep.cli.device_verbs import OPTIONS, VERBS, Options, Verb
from qatprep.cli.options import Output, OutputOption, RootOption, SimulateOption, YesOption
from qatprep.exits import ExitCode

app = App(no_args_is_help=True, help="List devices, set services, create and remove VFs, restart PFs, bind and unbind.")

_SHARED = {"yes": YesOption, "root": RootOption, "simulate": SimulateOption, "output": OutputOption}
_GLOBS = typer.Argument(
    metavar="BDF...",
    help="BDFs (6b:00.1 is 0000:6b:00.1), globs of them, or network interfaces.",
    autocompletion=complete.devices,
)


def _command(verb: Verb) -> Callable[..., ExitCode]:
    """A function whose signature is what typer reads a verb's words and options from."""

    def run(ctx: typer.Context, **given: Any) -> ExitCode:
        words = [given.pop(word.name) for word in verb.words]
        return verb.run(ctx.obj, [*words, *given.pop("devices", [])], Options(**given))

    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)]
    for word in verb.words:
        argument = typer.Argument(metavar=word.metavar, help=word.help or None)
        parameters.append(inspect.Parameter(word.name, kind, annotation=Annotated[str, argument]))
    if verb.devices:
        parameters.append(inspect.Parameter("devices", kind, annotation=Annotated[list[str], _GLOBS]))
    for name in verb.options:
        default = Options._field_defaults[name]
        annotation = _SHARED.get(name) or _option(name, default)
        default = Output(default) if name == "output" else default
        parameters.append(inspect.Parameter(name, kind, annotation=annotation, default=default))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    run.__doc__ = verb.help
    return run


def _option(name: str, default: object) -> Any:
    """How typer gets an option of the device verbs alone."""
    option = OPTIONS[name]
    made = typer.Option(*option.flags, help=option.help, metavar=option.metavar or None, min=option.least)
    return Annotated[int | None if default is None else type(default), made]


for _name, _verb in VERBS.items():
    app.command(_name)(_command(_verb))
