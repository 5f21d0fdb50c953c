"""The verbs, and how one is found: a verb's module is imported when it is called, never before."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperGroup

VERBS = {
    "doctor": "Say what this node can do, and what is in the way.",
    "plan": "Show every change that bootstrap would make.",
    "bootstrap": "Make the node ready: services, VFs, binding, device nodes.",
    "rollback": "Undo what a run changed.",
    "status": "Show the node as it is.",
    "smoke": "Sign with RSA on what the node has, and check every signature.",
    "explain": "Tell what a finding means and how to mend it.",
    "device": "List devices, set services, create and remove VFs, bind and unbind.",
    "hosts": "List the hosts that --simulate knows.",
}


class LazyGroup(TyperGroup):
    """A group whose commands come from qatprep.cli.<verb>."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"qatprep.cli.{cmd_name}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command
