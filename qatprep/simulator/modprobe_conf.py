"""What modprobe reads before it acts: modules.dep, modules.builtin and modprobe.d(5)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from qatprep.host.tree import Tree

DIRECTORIES = ("/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d")
_PATH = re.compile(r"([^\s:]*?([^/\s:]+)\.ko(?:\.\w+)?)(?::|$)")


def normal(name: str) -> str:
    return name.replace("-", "_")


@dataclass
class Config:
    """The lines of modprobe.d that matter, by module name with underscores."""

    blacklist: set[str] = field(default_factory=set)
    install: dict[str, str] = field(default_factory=dict)
    options: dict[str, list[str]] = field(default_factory=dict)
    pre: dict[str, list[str]] = field(default_factory=dict)
    post: dict[str, list[str]] = field(default_factory=dict)


def read_config(tree: Tree, cmdline: str) -> Config:
    """Every *.conf, an earlier directory hiding its namesakes; then the options of the kernel command line."""
    config = Config()
    seen = set()
    for directory in DIRECTORIES:
        listing = tree.find(directory)
        for name in sorted(listing.children) if listing else ():
            if name.endswith(".conf") and name not in seen:
                seen.add(name)
                node = tree.find(f"{directory}/{name}")
                if node is not None and node.kind == "file":
                    _lines(config, node.content().decode("utf-8", "replace"))
    for token in cmdline.replace('"', "").split():
        key, equals, value = token.partition("=")
        if key == "modprobe.blacklist":
            config.blacklist.update(normal(name) for name in value.split(","))
        module, dot, parameter = key.partition(".")
        if dot and equals and module not in ("modprobe",):
            config.options.setdefault(normal(module), []).append(f"{parameter}={value}")
    return config


def _lines(config: Config, text: str) -> None:
    for line in text.replace("\\\n", " ").splitlines():
        words = line.split()
        if len(words) < 2 or words[0].startswith("#"):
            continue
        module = normal(words[1])
        if words[0] == "blacklist":
            config.blacklist.add(module)
        elif words[0] == "install" and len(words) > 2:
            config.install[module] = " ".join(words[2:])
        elif words[0] == "options":
            config.options.setdefault(module, []).extend(words[2:])
        elif words[0] == "softdep":
            where = config.pre
            for word in words[2:]:
                if word in ("pre:", "post:"):
                    where = config.pre if word == "pre:" else config.post
                else:
                    where.setdefault(module, []).append(normal(word))


def read_dependencies(tree: Tree, release: str) -> dict[str, list[str]]:
    """modules.dep: module -> what it needs, nearest first. Empty when the file is not there."""
    node = tree.find(f"/lib/modules/{release}/modules.dep")
    found: dict[str, list[str]] = {}
    for line in (node.content().decode("utf-8", "replace") if node else "").splitlines():
        paths = [match[2] for word in line.split() if (match := _PATH.match(word))]
        if paths:
            found[normal(paths[0])] = [normal(name) for name in paths[1:]]
    return found


def read_builtin(tree: Tree, release: str) -> set[str]:
    node = tree.find(f"/lib/modules/{release}/modules.builtin")
    text = node.content().decode("utf-8", "replace") if node else ""
    return {normal(match[2]) for line in text.splitlines() if (match := _PATH.match(line.strip()))}
