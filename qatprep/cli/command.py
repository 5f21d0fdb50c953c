"""What all commands have in common: their help in one style, --color and --quiet, and what is said of a mistyped word.

The help of a command is its docstring's first paragraph, its usage, the rest of the docstring, its examples
(cli/examples.py), and its options in groups (rich_help_panel names the group).
"""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException
from typer.main import get_params_convertors_ctx_param_name_from_function as parameters_of

from qatprep.cli.examples import EXAMPLES
from qatprep.errors import InputError
from qatprep.text import did_you_mean

WIDTH = 80
"""Columns of every help text; fewer on a terminal that has fewer."""
_COLUMN = 24
"""Columns for an option's names and metavar; longer ones have a line of their own."""
_EXAMPLE = 50
OUTPUT = "Output"
HOST = "Which host"
_LAST = (OUTPUT, HOST)
"""Groups of options that are the same in most commands, after the command's own."""
_UNSAID: tuple[Any, ...] = (None, "", "/", False, 0, 0.0, (), [])
"""Defaults that mean "not given"."""


F = TypeVar("F", bound=Callable[..., Any])


class When(StrEnum):
    auto = "auto"
    always = "always"
    never = "never"


def _color(ctx: typer.Context, value: When) -> None:
    if ctx.obj is not None and (value is not When.auto or ctx.parent is None):
        ctx.obj.color = value.value


def _quiet(ctx: typer.Context, value: bool) -> None:
    if ctx.obj is not None and value:
        ctx.obj.quiet = True


def _shared(
    color: Annotated[
        When,
        typer.Option(
            "--color",
            metavar="WHEN",
            callback=_color,
            help="auto (on a terminal, unless NO_COLOR is set), always or never.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = When.auto,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", callback=_quiet, help="Only the result and errors.", rich_help_panel=OUTPUT),
    ] = False,
) -> None: ...


def shared() -> list[Any]:
    """The parameters that every command has."""
    found = parameters_of(_shared)[0]
    for parameter in found:
        parameter.expose_value = False
    return list(found)


@contextlib.contextmanager
def _in(ctx: Any) -> Iterator[None]:
    """Mistakes know of which command they are; typer's parser forgets it for an option without its value."""
    try:
        yield
    except TyperException as e:
        if getattr(e, "ctx", None) is None:
            e.ctx = ctx  # type: ignore[attr-defined]
        raise


class Command(TyperCommand):
    """One verb."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.params += shared()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _in(ctx):
            return list(super().parse_args(ctx, args))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write("\n".join(help_lines(self, ctx, _width(ctx))) + "\n")


class Group(TyperGroup):
    """A verb of verbs."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.params += shared()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _in(ctx):
            return list(super().parse_args(ctx, args))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write("\n".join(help_lines(self, ctx, _width(ctx))) + "\n")

    def sections(self, ctx: Any) -> dict[str, list[tuple[str, str]]]:
        """Heading -> names of verbs with what they do."""
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        return {"Commands": [(name, first(command.help)) for name, command in commands if command]}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        known = self.list_commands(ctx)
        if name not in known and not name.startswith("-") and not ctx.resilient_parsing:
            near = did_you_mean(name, known, "")
            near = near.replace("did you mean ", f"did you mean: {ctx.command_path} ") if near else ""
            raise InputError(f"unknown command {name!r}", near or f"{ctx.command_path} --help lists them")
        return super().resolve_command(ctx, args)


class App(typer.Typer):
    """A Typer whose commands are ours."""

    def __init__(self, *, cls: Any = Group, add_completion: bool = False, **keywords: Any) -> None:
        names = {"help_option_names": ["-h", "--help"]}
        super().__init__(
            cls=cls, rich_markup_mode=None, add_completion=add_completion, context_settings=names, **keywords
        )

    def command(self, name: str | None = None, *, cls: Any = Command, **keywords: Any) -> Callable[[F], F]:
        made: Callable[[F], F] = super().command(name, cls=cls, **keywords)
        return made


# -- help -------------------------------------------------------------------------------------------------------------


def first(text: str | None) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join((text or "").split("\n\n", 1)[0].split())


def _width(ctx: Any) -> int:
    from qatprep.report.fold import columns_of

    return WIDTH if ctx.obj is None else min(WIDTH, columns_of(ctx.obj.out, ctx.obj.env))


def help_lines(command: Any, ctx: Any, width: int = WIDTH) -> Iterator[str]:
    """The help of a command."""
    summary, *rest = (command.help or "").strip().split("\n\n")
    yield from wrapped(summary, width)
    yield ""
    pieces = ["COMMAND", "[OPTIONS]"] if isinstance(command, Group) else command.collect_usage_pieces(ctx)
    usage = " ".join([ctx.command_path, *(piece.strip("{}") for piece in pieces)])
    yield from wrapped(f"Usage: {usage}", width, hang=7)
    at_end = [paragraph for paragraph in rest if paragraph.startswith("Exit status")]
    for paragraph in rest:
        if paragraph not in at_end:
            yield from ("", *wrapped(paragraph, width))
    for heading, rows in getattr(command, "sections", lambda ctx: {})(ctx).items():
        yield from ("", heading)
        yield from table(rows, width)
    if examples := EXAMPLES.get(ctx.command_path.removeprefix("qatprep").strip(), ()):
        yield from ("", "Examples")
        yield from table([(line if "qatprep " in line else f"qatprep {line}", why) for line, why in examples], width)
    found = options(command, ctx)
    column = min(_COLUMN, max((len(name) for rows in found.values() for name, _ in rows), default=0))
    for heading, rows in found.items():
        yield from ("", heading)
        yield from table(rows, width, column)
    for paragraph in at_end:
        yield from ("", *wrapped(paragraph, width))


def options(command: Any, ctx: Any) -> dict[str, list[tuple[str, str]]]:
    """Heading -> names and help of arguments and options."""
    found: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(ctx):
        if getattr(parameter, "hidden", False):
            continue
        argument = parameter.param_type_name == "argument"
        if argument and not parameter.help:
            continue
        heading = "Arguments" if argument else getattr(parameter, "rich_help_panel", None) or "Options"
        heading = OUTPUT if parameter.name in ("help", "verbose") else heading
        found.setdefault(heading, []).append(row(parameter, ctx))
    last = [name for name in _LAST if name in found]
    return {name: found[name] for name in [*(name for name in found if name not in last), *last]}


def row(parameter: Any, ctx: Any) -> tuple[str, str]:
    """Names with what they take, and the help with the values that mean something."""
    if parameter.param_type_name == "argument":
        return parameter.make_metavar(ctx).strip("[]{}"), (parameter.help or "").rstrip(".")
    short = [name for name in parameter.opts if not name.startswith("--")]
    long = [name for name in parameter.opts if name.startswith("--")]
    names = f"{short[0]}, " if short else "    "
    names += "/".join([*long, *parameter.secondary_opts])
    choices = getattr(parameter.type, "choices", ())
    if not parameter.is_flag:
        names += f" {parameter.metavar or (long[0][2:].upper().replace('-', '_'))}"
    text = (parameter.help or "").rstrip(".")
    if choices and not parameter.metavar:
        text += f": {', '.join(str(getattr(choice, 'value', choice)) for choice in choices)}"
    default = parameter.default
    if default not in _UNSAID and parameter.show_default and not parameter.is_flag:
        values = default if isinstance(default, (list, tuple)) else [default]
        said = ", ".join(f"{v:g}" if isinstance(v, float) else str(getattr(v, "value", v)) for v in values)
        text += f" (default: {said})"
    return names, text


def table(rows: list[tuple[str, str]], width: int = WIDTH, column: int = 0) -> Iterator[str]:
    """Names and words in two columns; names are never cut. `column`: the width of the first, else as wide as it is up
    to _EXAMPLE."""
    wide = column or min(_EXAMPLE, max((len(name) for name, _ in rows), default=0), width - 30)
    for name, words in rows:
        lines = textwrap.wrap(words, width - wide - 4, break_on_hyphens=False)
        if len(name) > wide:
            yield "  " + name.replace("\n", "\n    ")
        else:
            yield f"  {name:{wide}}  {lines.pop(0) if lines else ''}".rstrip()
        for line in lines:
            yield f"  {'':{wide}}  {line}".rstrip()


def wrapped(paragraph: str, width: int = WIDTH, hang: int = 0) -> list[str]:
    return textwrap.wrap(
        " ".join(paragraph.split()), width, subsequent_indent=" " * hang, break_long_words=False, break_on_hyphens=False
    )


# -- mistakes ---------------------------------------------------------------------------------------------------------


def usage_mistake(error: Any) -> tuple[str, str]:
    """What is wrong with the command line, and what to do: of an exception of typer."""
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else "qatprep"
    kind, message = type(error).__name__, " ".join(error.format_message().split()).rstrip(".")
    see = f"{path} --help"
    every = ctx.command.get_params(ctx) if ctx is not None else []
    name = getattr(error, "option_name", "") or ""
    if kind == "NoSuchOption":
        known = [flag for p in every for flag in (*p.opts, *p.secondary_opts)]
        return f"unknown option {name!r} of {path}", did_you_mean(name, known, see)
    parameter: Any = getattr(error, "param", None) or next((p for p in every if name in p.opts), None)
    if parameter is None:
        extra = message.partition("argument(s) (")[2].rstrip(")")
        return (f"{path} does not take {extra!r}" if extra else message[:1].lower() + message[1:]), see
    flag = max(parameter.opts, key=len)
    flag = flag if flag.startswith("-") else parameter.human_readable_name
    choices = [str(getattr(choice, "value", choice)) for choice in getattr(parameter.type, "choices", ())]
    names, means = row(parameter, ctx)
    usage = f"{names.strip()}: {means}" if means else see
    if kind == "MissingParameter":
        examples = EXAMPLES.get(path.removeprefix("qatprep").strip(), ())
        if examples and parameter.param_type_name == "argument":
            usage = f"for example: qatprep {examples[0][0]}"
        return f"{path} needs {flag}", usage
    if kind == "BadOptionUsage":
        return f"{flag} of {path} " + ("takes no value" if "not take" in message else "needs a value"), usage
    given = quoted(error.message)
    if choices:
        return f"{flag} {given!r} is not one of {', '.join(choices)}", did_you_mean(given, choices, see)
    if number := _number(parameter.type):
        return f"{flag} {given!r} is not {number}", usage
    return message[:1].lower() + message[1:], see


def _number(kind: Any) -> str:
    """What a parameter takes that takes a number, "" for others."""
    words = {"int": "a whole number", "float": "a number"}.get(str(kind.name).partition(" ")[0], "")
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    if words and low is not None:
        words += f" from {low:g} to {high:g}" if high is not None else f" of {low:g} or more"
    return words


def quoted(message: str) -> str:
    """The value that a message of typer is about, with which it begins: 'x' is not ..., or -1 is not ..."""
    value = message.partition(" is not ")[0]
    return value[1:-1] if value[:1] == value[-1:] == "'" else value
