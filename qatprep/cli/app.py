"""The verbs, and how one is found: a verb's module is imported when it is called, never before."""

from __future__ import annotations

import functools
import importlib
from typing import Annotated, Any

import typer
from typer.exceptions import Abort

from qatprep.cli.command import App, Group
from qatprep.cli.session import Session
from qatprep.version import VERSION

GROUPS = {
    "Look (no root, nothing changes)": {
        "doctor": "Find what is wrong, with cause and fix.",
        "status": "Show the node on one screen.",
        "plan": "Show what bootstrap would change, and what it costs.",
        "explain": "Show the page of a finding, or a JSON schema.",
    },
    "Change (root; undone when a step fails)": {
        "bootstrap": "Make the node match its configuration.",
        "rollback": "Undo a run.",
        "device": "List, bind, services, vfs, reset: one device at a time.",
        "config": "Make, check or show the configuration of this node.",
    },
    "Prove and measure": {
        "smoke": "Sign with RSA on each provider, and check every signature.",
        "bench": "Measure what this node signs and encrypts with each library.",
        "tune": 'Find provider and poll delay for a load, or say "do not accelerate".',
    },
    "Envoy, Istio, Kubernetes": {
        "render": "Print configuration that works on this node.",
        "inspect": "Read config dumps, statistics, logs, manifests; try a handshake.",
    },
    "Fleets and reports": {
        "gen-conf": "Print the files that keep a node prepared, for images.",
        "metrics": "Print the node's state for Prometheus.",
        "features": "Print labels for node-feature-discovery.",
        "capture": "Record the node in one file, without secrets.",
        "report": "Write the node on one page, as HTML or Markdown.",
        "hosts": "List the simulated hosts, or show the story of one.",
    },
}
"""In the order of --help. A verb's module is qatprep.cli.<verb>, dashes as underscores."""
VERBS = {verb: words for verbs in GROUPS.values() for verb, words in verbs.items()}


_made = functools.cache(typer.main.get_command)
"""An app as commands, made once: typer reads every parameter's annotation for it, some milliseconds a verb."""


class LazyGroup(Group):
    """A group whose commands come from qatprep.cli.<verb>."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"qatprep.cli.{cmd_name.replace('-', '_')}")
        command = _made(module.app)
        command.name = cmd_name
        return command

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as e:  # typer would make a status of it, and no word
            raise Abort from e

    def sections(self, ctx: Any) -> dict[str, list[tuple[str, str]]]:
        return {
            **{heading: list(verbs.items()) for heading, verbs in GROUPS.items()},
            "No hardware? What is about a node takes --simulate HOST": [
                ("qatprep doctor --simulate spr-2s", "a node with nothing set up"),
                ("qatprep hosts", "all simulated hosts"),
            ],
        }


app = App(cls=LazyGroup, name="qatprep", no_args_is_help=True, add_completion=True)


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
        bool, typer.Option("--verbose", "-v", callback=_verbose, help="Print every read, write and program to stderr.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Make a Linux node ready for accelerated TLS (Intel QAT, AVX-512 CryptoMB) under Envoy and Istio, and prove it by
    a signature.

    Exit status: 0 done or ready, 1 failed, 2 usage, 3 findings or changes pending, 4 rolled back, 5 partly undone, 6
    restart or reboot needed, 7 needs root, 8 locked by another run, 130 interrupted.
    """


def call(argv: list[str], session: Session) -> int:
    """Run one verb; its exit status. Usage errors come out as typer's own exceptions."""
    code = _made(app).main(args=argv, prog_name="qatprep", standalone_mode=False, obj=session)
    return int(code or 0)
