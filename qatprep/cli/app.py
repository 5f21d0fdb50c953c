"""The verbs, and how one is found: a verb's module is imported when it is called, never before."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import Abort

from qatprep.cli.session import Session
from qatprep.version import VERSION

VERBS = {
    "doctor": "Say what this node can do, and what is in the way.",
    "plan": "Show every change that bootstrap would make.",
    "bootstrap": "Make the node ready: services, VFs, binding, device nodes.",
    "rollback": "Undo what a run changed.",
    "status": "Show the node as it is, its last run, and whether it has drifted.",
    "smoke": "Sign with RSA on what the node has, and check every signature.",
    "bench": "Measure what this node signs and encrypts with each library it has.",
    "tune": "Find the provider and the poll delay for a load, or say that acceleration does not pay.",
    "render": "Print configuration for Envoy, Istio and Kubernetes.",
    "inspect": "Read Envoy's dumps, statistics and logs, and say whether acceleration is really used.",
    "config": "Make, check and show the configuration of this node.",
    "gen-conf": "Print or write the files that keep a node prepared, for hosts where no tool may run.",
    "metrics": "Print or write the node's state for Prometheus.",
    "features": "Print labels for node-feature-discovery.",
    "capture": "Record this node in one file, without secrets, for a bug report or to look at elsewhere.",
    "explain": "Tell what a finding means and how to fix it.",
    "device": "List devices, set services, create and remove VFs, bind and unbind.",
    "hosts": "List the hosts that --simulate knows.",
}
"""In the order of --help. A verb's module is qatprep.cli.<verb>, dashes as underscores."""


class LazyGroup(TyperGroup):
    """A group whose commands come from qatprep.cli.<verb>."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"qatprep.cli.{cmd_name.replace('-', '_')}")
        module.app._add_completion = False
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as e:  # typer would make a status of it, and no word
            raise Abort from e

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


app = typer.Typer(
    cls=LazyGroup,
    name="qatprep",
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(ctx: typer.Context, value: bool) -> None:
    if value:
        session: Session = ctx.obj
        session.line(f"qatprep {VERSION}")
        raise typer.Exit


def _verbose(ctx: typer.Context, value: bool) -> None:
    session: Session = ctx.obj
    session.verbose = value


@app.callback()
def qatprep(
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", callback=_verbose, help="Tell every read, write and program on stderr."),
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Make a Linux node ready for accelerated TLS: Intel QAT or AVX-512 CryptoMB under Envoy and Istio.

    Start with `qatprep doctor`. Everything can be tried on a simulated host: `qatprep bootstrap --simulate spr-2s`.
    Exit status: 0 done, 1 failed, 2 usage, 3 findings or changes pending, 4 rolled back, 5 partly undone,
    6 reboot needed, 7 needs root, 8 locked by another run, 130 interrupted.
    """


def call(argv: list[str], session: Session) -> int:
    """Run one verb; its exit status. Usage errors come out as typer's own exceptions."""
    code = typer.main.get_command(app).main(args=argv, prog_name="qatprep", standalone_mode=False, obj=session)
    return int(code or 0)
