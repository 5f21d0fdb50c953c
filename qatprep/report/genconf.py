"""What persistence installs, in the forms in which image-based hosts are given files."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from qatprep.facts import persist as facts
from qatprep.persist import File, arguments
from qatprep.version import VERSION

SCHEMA = "qatprep.gen-conf/1"


@dataclass(frozen=True)
class Set:
    """Everything to be given to a host."""

    files: tuple[File, ...]
    config: str
    kernel_arguments: tuple[str, ...]
    """Those that are part of the form as well; () for none: they are shown as text alone."""

    @property
    def units(self) -> tuple[File, ...]:
        return tuple(file for file in self.files if file.unit)

    @property
    def plain(self) -> tuple[File, ...]:
        return tuple(file for file in self.files if not file.unit)

    @property
    def links(self) -> tuple[tuple[str, str], ...]:
        """Path and target of the links that `systemctl enable` would make."""
        return tuple(
            (f"{facts.SYSTEMD_DIR}/{file.wanted_by}.wants/{file.unit}", f"../{file.unit}")
            for file in self.units
            if file.wanted_by
        )


def text(what: Set) -> str:
    """All files one after the other, for reading."""
    out = [f"# --- {file.path} ({file.mode:04o}): {file.purpose}\n{file.text}" for file in what.files]
    out += [f"# --- {path} -> {target}\n" for path, target in what.links]
    told = arguments.describe(what.kernel_arguments or arguments.NEEDED)
    out.append("# --- kernel arguments\n" + "".join(f"# {line}".rstrip() + "\n" for line in told.splitlines()))
    return "\n".join(out)


def document(what: Set) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "config": what.config,
        "files": [{"path": f.path, "mode": f"{f.mode:04o}", "what": f.purpose, "content": f.text} for f in what.files],
        "links": [{"path": path, "target": target} for path, target in what.links],
        "kernel_arguments": {
            "needed": list(what.kernel_arguments or arguments.NEEDED),
            "included": bool(what.kernel_arguments),
            "ways": [
                {"loader": way.loader, "path": way.path, "content": way.text, "commands": list(way.commands)}
                for way in arguments.ways(what.kernel_arguments or arguments.NEEDED)
            ],
        },
    }


def ignition(what: Set) -> str:
    """Ignition 3.3.0 (coreos/ignition, docs/configuration-v3_3.md): the first version with kernelArguments."""
    config: dict[str, Any] = {
        "ignition": {"version": "3.3.0"},
        "storage": {
            "files": [
                {
                    "path": file.path,
                    "mode": file.mode,
                    "overwrite": True,
                    "contents": {"source": f"data:;base64,{base64.b64encode(file.text.encode()).decode()}"},
                }
                for file in what.plain
            ]
        },
        "systemd": {"units": [_unit(file) for file in what.units]},
    }
    if what.kernel_arguments:
        config["kernelArguments"] = {"shouldExist": list(what.kernel_arguments)}
    return json.dumps(config, indent=2) + "\n"


def butane(what: Set) -> str:
    """Butane, variant fcos 1.4.0, which butane --strict makes Ignition 3.3.0 of (coreos/butane, docs/specs.md)."""
    config: dict[str, Any] = {
        "variant": "fcos",
        "version": "1.4.0",
        "storage": {
            "files": [
                {"path": f.path, "mode": _Octal(f.mode), "overwrite": True, "contents": {"inline": f.text}}
                for f in what.plain
            ]
        },
        "systemd": {"units": [_unit(file) for file in what.units]},
    }
    if what.kernel_arguments:
        config["kernel_arguments"] = {"should_exist": list(what.kernel_arguments)}
    return _yaml(config)


def _unit(file: File) -> dict[str, Any]:
    enabled = {"enabled": True} if file.wanted_by else {}
    return {"name": file.unit, **enabled, "contents": file.text}


def cloud_init(what: Set) -> str:
    """cloud-config: the files, and the first start in this boot; from the next on systemd does it.

    Nothing is waited for: the unit runs while cloud-init goes on (--no-block).
    """
    units = [file.unit for file in what.units if file.wanted_by]
    files = [{"path": f.path, "permissions": f"{f.mode:04o}", "content": f.text} for f in what.files]
    run: list[list[str]] = [
        ["systemd-sysusers", facts.SYSUSERS],
        ["udevadm", "control", "--reload"],
        ["systemctl", "daemon-reload"],
        ["systemctl", "enable", *units],
        ["systemctl", "start", "--no-block", *units],
    ]
    if what.kernel_arguments:
        way = next(way for way in arguments.ways(what.kernel_arguments) if way.path == arguments.GRUB_SNIPPET)
        files.append({"path": way.path, "permissions": "0644", "content": way.text})
        run.append(["sh", "-c", "command -v update-grub && update-grub"])
    return "#cloud-config\n" + _yaml({"write_files": files, "runcmd": run})


class _Octal(int):
    """A mode that YAML shows as people write it."""


def _yaml(document: dict[str, Any]) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Texts of several lines as blocks, lists set in."""

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, False)

    def block(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    def octal(dumper: yaml.SafeDumper, value: _Octal) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:int", f"0{value:o}")

    Dumper.add_representer(str, block)
    Dumper.add_representer(_Octal, octal)
    out: str = yaml.dump(document, Dumper=Dumper, sort_keys=False, default_flow_style=False, width=1000)
    return out
