"""The simulated kernel held against a real one: both play the script of script/."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from typing import Any

from qatprep.host import kmsg
from qatprep.host.tree import Node, Tree
from qatprep.simulator.host import SimulatedHost

from . import script
from .machine import HERE, Guest
from .play import Player

PFS = ("0000:6b:00.0", "0000:70:00.0")
RECORDINGS = os.path.join(HERE, "recordings")
HOLDER = 4711
"""The process that holds VFs on the simulated host."""


@dataclass(frozen=True)
class Difference:
    act: str
    number: int
    line: str
    kernel: str
    model: str

    def __str__(self) -> str:
        return f"{self.act} {self.number}: {self.line}\n    kernel: {self.kernel}\n    model:  {self.model}"


def play_in(guest: Guest, acts: list[list[str]]) -> list[dict[str, Any]]:
    """The guest's state before each act, and its answers."""
    guest.put("/root/script.json", json.dumps({"pfs": PFS, "acts": acts}))
    player = os.path.join(HERE, "play.py")
    text = guest.check(f"{guest.interpreter} -I -S {player} /root/script.json", timeout=500)
    played: list[dict[str, Any]] = json.loads(text)
    return played


def differences(played: list[dict[str, Any]]) -> list[Difference]:
    """Play the same acts on the model, each from the state the guest was in, and say where it answers otherwise."""
    found = []
    for name, act in zip(script.NAMES, played, strict=True):
        host = ModelHost(tree_of(act["before"]))
        player = Player(host, PFS)
        for number, (line, answer) in enumerate(act["answers"], 1):
            mine = player.play(line)
            if mine != answer:
                found.append(Difference(name, number, line, answer, mine))
    return found


# -- recordings -------------------------------------------------------------------------------------------------


def save(path: str, played: list[dict[str, Any]]) -> None:
    """Keep what a kernel answered. Of the states before each act only what changed since the one before is kept."""
    known: dict[str, Any] = {}
    acts = []
    for act in played:
        changed = {path: entry for path, entry in act["before"].items() if known.get(path) != entry}
        gone = sorted(set(known) - set(act["before"]))
        known = act["before"]
        acts.append({"changed": dict(sorted(changed.items())), "gone": gone, "answers": act["answers"]})
    with open(path, "w", encoding="utf-8") as f:
        json.dump(acts, f, indent=0, sort_keys=True)
        f.write("\n")


def load(path: str) -> list[dict[str, Any]]:
    """What `save` kept."""
    with open(path, encoding="utf-8") as f:
        acts = json.load(f)
    known: dict[str, Any] = {}
    played = []
    for act in acts:
        known = {path: entry for path, entry in known.items() if path not in act["gone"]} | act["changed"]
        played.append({"before": known, "answers": act["answers"]})
    return played


def tree_of(before: dict[str, dict[str, Any]]) -> Tree:
    """The tree that play.picture() describes."""
    tree = Tree()
    for path, entry in sorted(before.items()):
        if "target" in entry:
            node = Node("link", entry["mode"], target=entry["target"])
        elif "dir" in entry:
            node = Node("dir", entry["mode"])
        elif "rdev" in entry:
            node = Node("char", entry["mode"])
            node.rdev = entry["rdev"]
        else:
            node = Node("file", entry["mode"], entry.get("data", "").encode("latin-1"))
            node.error = entry.get("error", 0)
        node.uid, node.gid = entry["uid"], entry["gid"]
        tree.add(path, node)
    return tree


class ModelHost:
    """The simulated host in the form that Player wants."""

    def __init__(self, tree: Tree) -> None:
        release = tree.get("/proc/sys/kernel/osrelease").content().decode().strip()
        self.host = SimulatedHost(tree, kernel=release)
        self.read = self.host.read
        self.write = self.host.write
        self.listdir = self.host.listdir
        self.readlink = self.host.readlink
        self.stat = self.host.stat
        self.chmod = self.host.chmod
        self.sleep = self.host.sleep
        self.held = 0

    def run(self, argv: list[str]) -> int:
        return self.host.run(argv).rc

    def log(self) -> list[str]:
        return [kmsg.parse(line).text for line in self.host.kernel_log().raw.splitlines()]

    def hold(self, node: str, bdf: str) -> str:
        if not self.host.exists(node):
            raise OSError(errno.ENOENT, "no node", node)
        self.held += 1
        self.host.tree.link(f"/proc/{HOLDER}/fd/{2 + self.held}", node)
        return "ok"

    def release(self) -> str:
        self.host.end_process(HOLDER)
        return "ok"
