"""Makes the manual page and the shell completions out of the command line itself: nothing here repeats it.

    python packaging/share.py [DIRECTORY]

DIRECTORY (build/share unless given) becomes what packages install below /usr/share. Needs typer, and nothing compiled.
"""

from __future__ import annotations

import ast
import itertools
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

PAGE = "man/man1/qatprep.1"
BASH = "bash-completion/completions/qatprep"
ZSH = "zsh/site-functions/_qatprep"
FISH = "fish/vendor_completions.d/qatprep.fish"
FILES = (
    ("/etc/qatprep.yaml", "The configuration: what the node should be. Without it the defaults hold."),
    ("/var/lib/qatprep/runs", "The journals of the runs, which rollback reads."),
    ("/run/qatprep.lock", "Held by the one qatprep that may change the node."),
    ("/run/qatprep/proof.json", "What signed at this boot; READY is read from it."),
)
ENVIRONMENT = (
    ("QATPREP_DEBUG", "Set to 1: the traceback of an internal error is shown."),
    ("QATPREP_LOG", "A file to which every read, write and program is appended, as with -v."),
    ("QATPREP_STATE", "A file that keeps the host of --simulate between calls."),
    ("NO_COLOR", "Set to anything: no colours."),
)


def write(directory: Path) -> list[Path]:
    """Write every file; their paths, relative to `directory`."""
    for name, text in contents().items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return [Path(name) for name in contents()]


def contents() -> dict[str, str]:
    """Path below /usr/share -> text."""
    from typer._completion_shared import get_completion_script

    from qatprep.cli import complete

    def script(shell: str) -> str:
        return get_completion_script(prog_name="qatprep", complete_var="_QATPREP_COMPLETE", shell=shell) + "\n"

    # As an autoloaded function the file is run by the first completion, which has to give something already.
    zsh, found = re.subn(
        r"^compdef _qatprep_completion qatprep$",
        'if [[ "$funcstack[1]" == _qatprep ]]; then\n  _qatprep_completion\nelse\n'
        "  compdef _qatprep_completion qatprep\nfi",
        script("zsh"),
        flags=re.MULTILINE,
    )
    if not found:
        raise SystemExit("typer's script for zsh has another form than before: see packaging/share.py")
    return {PAGE: page(), BASH: complete.BASH, ZSH: zsh, FISH: script("fish")}


# -- the manual page --------------------------------------------------------------------------------------------------


def page() -> str:
    """qatprep(1), in man(7)."""
    import typer.main

    from qatprep.cli.app import app
    from qatprep.version import VERSION

    top: Any = typer.main.get_command(app)
    ctx = top.context_class(top, info_name="qatprep")
    day = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))) if _dated() else ""
    first, _, rest = top.help.partition("\n\n")
    summary = first[0].lower() + first[1:].rstrip(".").split(":")[0]
    out = [
        f'.TH QATPREP 1 "{day}" "qatprep {VERSION}" "User Commands"',
        ".SH NAME",
        f"qatprep \\- {roff(summary)}",
        ".SH SYNOPSIS",
        ".B qatprep",
        roff(" ".join(top.collect_usage_pieces(ctx))),
        ".SH DESCRIPTION",
        *paragraphs(f"{first}\n\n{rest}"),
        ".SH OPTIONS",
        *options(top, ctx),
        ".SH COMMANDS",
        *commands(top, ctx),
        ".SH EXIT STATUS",
    ]
    for number, words in exit_codes():
        out += [".TP", f".B {number}", roff(words)]
    for title, entries in (("FILES", FILES), ("ENVIRONMENT", ENVIRONMENT)):
        out.append(f".SH {title}")
        for name, words in entries:
            out += [".TP", f".B {roff(name)}", roff(words)]
    out += [".SH SEE ALSO", ".BR modprobe (8),", ".BR udev (7),", ".BR systemd.unit (5)"]
    return "\n".join(out) + "\n"


def _dated() -> bool:
    return "SOURCE_DATE_EPOCH" in os.environ


def walk(group: Any, ctx: Any) -> Iterator[tuple[Any, Any]]:
    """Every command below a group, each with its context."""
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        below = command.context_class(command, info_name=name, parent=ctx)
        if hasattr(command, "list_commands"):
            yield from walk(command, below)
        else:
            yield command, below


def commands(group: Any, ctx: Any) -> Iterator[str]:
    """The section of each command."""
    for command, below in walk(group, ctx):
        yield f'.SS "{roff(below.command_path)} {roff(" ".join(command.collect_usage_pieces(below)))}"'
        yield from paragraphs(command.help or "")
        yield from options(command, below)


def options(command: Any, ctx: Any) -> Iterator[str]:
    """Arguments and options as --help shows them."""
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None and (ctx.parent is None or parameter.name != "help"):
            yield from (".TP", f".B {roff(record[0])}", roff(record[1]) or "\\&")


def paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.replace("\b", "").strip().split("\n\n")):
        yield from [".PP"] if number else []  # the first one follows a heading
        yield roff(paragraph)


def roff(text: str) -> str:
    """A text on one line, with what roff would take for its own escaped."""
    text = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    text = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", text)
    return f"\\&{text}" if text.startswith((".", "'")) else text


def exit_codes() -> Iterator[tuple[int, str]]:
    """Number and meaning of each status: the words below it in qatprep/exits.py."""
    tree = ast.parse((ROOT / "qatprep" / "exits.py").read_text())
    members = next(node for node in tree.body if isinstance(node, ast.ClassDef)).body
    for assignment, words in itertools.pairwise(members):
        if isinstance(assignment, ast.Assign) and isinstance(words, ast.Expr):
            yield ast.literal_eval(assignment.value), ast.literal_eval(words.value)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "share"
    for path in write(target):
        sys.stdout.write(f"{target / path}\n")
