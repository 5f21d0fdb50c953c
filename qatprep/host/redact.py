"""Taking out of a recorded host what identifies it or its people, and what nobody needs. Same host, same result.

First each file loses what is not needed (REDUCERS, by its path); then names, addresses and secrets are replaced
everywhere, in paths as well. BDFs, ids of pods and containers, and boot ids stay: they are numbers drawn by a machine,
and findings speak of them.
"""

from __future__ import annotations

import fnmatch
import re
from collections import Counter

from qatprep.host import manifest
from qatprep.host.keep import ID, arguments, plain, secrets, shape
from qatprep.host.reduce import MACHINE_MADE, REDUCERS, any_file, group_lines, log_lines, qat_functions
from qatprep.host.tree import Node, Tree, readable
from qatprep.host.values import META

_RUNS = 20
"""Journals that are kept, the newest."""

_MAC = re.compile(r"(?<![0-9A-Fa-f:-])(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?![0-9A-Fa-f:-])")
_IPV4 = re.compile(r"(?<![\w./-])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w.-]*[\w-])")
_IPV6 = re.compile(
    r"(?<![\w:.])(?:(?:[0-9A-Fa-f]{1,4}:){7}|(?=[0-9A-Fa-f:]*::)[0-9A-Fa-f:]*:)[0-9A-Fa-f]{1,4}(?![\w:.])"
)
_HOME = re.compile(r"(?<=/home/)[^/\s\"']+")
_BUILDER = re.compile(r"(?<=\()[\w.+-]+@[\w.+-]+(?=\))")
_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_COMMON = (
    "localhost", "localdomain", "local", "cluster.local", "linux", "host", "node", "intel", "root", "qat", "vfio",
    "kernel", "systemd", "debian",
)  # fmt: skip
"""Names of hosts that are words of other things: taking them out would take out more."""

_CONTAINER = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_RUNTIME = re.compile(
    r"containerd|conmon|crio|cri-o|docker|kubelet|kubelite|k3s|rke2|k0s|qatmgr|intel_qat_devic|qat_plugin|envoy|\.slice/(?:k3s|rke2)"
)
_WHOLE_LINE = ("kubelet", "k3s", "rke2", "intel_qat_devic", "qat_plugin", "containerd", "crio")
"""Programs whose command line is read for its options; of others only the program's name is kept."""


def redact(tree: Tree, touched: set[str], names: tuple[str, ...], groups: set[str]) -> tuple[str, Counter[str]]:
    """The manifest of a tree that holds nothing private any more, and what was taken out, counted by kind.

    `touched`: paths that were asked for by name. `names`: those of the host, and its domains with a dot before them.
    `groups`: names of groups that are needed.
    `tree` is changed.
    """
    count: Counter[str] = Counter()
    _processes(tree, count)
    _strangers(tree, touched, count)
    functions = qat_functions(tree)
    owners = {node.gid for path, node in tree.walk() if path.startswith("/dev/vfio")}
    for path, node in list(tree.walk()):
        if node.kind != "file" or node.size is not None or node.error:
            continue
        if path in MACHINE_MADE:
            continue
        if b"\0" in node.data.rstrip(b"\0") and not path.endswith(("/cmdline", "/environ")):
            node.data, node.size = b"", len(node.data)
            count["contents of files"] += 1
            continue
        text = node.data.decode("utf-8", "surrogateescape")
        reducers = [reducer for pattern, reducer in REDUCERS.items() if fnmatch.fnmatchcase(path, pattern)]
        if path == f"{META}/dmesg":
            text = plain(log_lines(text, functions, count), count)
        elif path == "/etc/group":
            text = group_lines(text, groups, owners, count)
        elif reducers:
            text = reducers[0](text, count)
        elif path.startswith(("/sys/", "/proc/", f"{META}/")):
            text = plain(text, count)
        else:
            text = any_file(text, count)
        if text == "" and node.data:
            node.data, node.size = b"", len(node.data)
            count["contents of files"] += 1
            continue
        node.data = text.encode("utf-8", "surrogateescape")
    return _names(manifest.dump(tree), names, count), count


# -- what is not needed -------------------------------------------------------------------------------------


def _processes(tree: Tree, count: Counter[str]) -> None:
    """Of processes, those that run containers or have a VF open; of their descriptors, those on VFIO."""
    proc = tree.find("/proc")
    euid = int(_text(tree.find(f"{META}/euid")) or 0)
    blind = False
    for pid in [name for name in (proc.children if proc else ()) if name.isdigit()]:
        assert proc is not None
        process = proc.children[pid]
        fds = process.children.get("fd")
        refused = fds is not None and bool(fds.error or not readable(fds, euid))
        if fds is not None:
            for name in [n for n, fd in fds.children.items() if not fd.target.startswith("/dev/vfio")]:
                del fds.children[name]
        text = "".join(_text(process.children.get(name)) for name in ("comm", "cgroup"))
        held = fds is not None and bool(fds.children)
        if not held and not _RUNTIME.search(text) and not _CONTAINER.search(text):
            if refused and not blind:
                blind = True  # one is enough to say that not all could be looked into
                process.children = {"fd": fds} if fds is not None else {}
                continue
            del proc.children[pid]
            count["processes"] += 1
            continue
        _command_line(process, count)
        status = process.children.get("status")
        if status is not None and status.size is None:
            kept = [
                line for line in _text(status).splitlines(keepends=True) if line.startswith(("Uid:", "Cap", "Cpus_"))
            ]
            status.data = "".join(kept).encode()


def _command_line(process: Node, count: Counter[str]) -> None:
    """Of what a process was started with, what is read of it; of its cgroup, what tells of containers and units."""
    whole = _text(process.children.get("comm")).startswith(_WHOLE_LINE)
    node = process.children.get("cmdline")
    if node is not None and node.size is None:
        words = node.data.decode("utf-8", "replace").removesuffix("\0").split("\0")
        kept = arguments(words, count) if whole else words[:1]
        count["arguments of programs"] += 0 if whole else len(words) - 1
        node.data = "".join(f"{plain(word, count)}\0" for word in kept).encode() if node.data else b""
    node = process.children.get("environ")
    if node is not None and node.size is None:
        items = [item for item in node.data.split(b"\0") if item]
        kept_items = [item for item in items if item.startswith((b"SNAP=", b"SNAP_DATA=", b"SNAP_COMMON="))]
        count["variables of programs"] += len(items) - len(kept_items)
        node.data = b"".join(item + b"\0" for item in kept_items)
    node = process.children.get("cgroup")
    if node is not None and node.size is None:
        node.data = re.sub(r"[^/\n:]+", lambda part: _group_name(part[0], count), _text(node)).encode()


def _group_name(name: str, count: Counter[str]) -> str:
    """A component of a cgroup's path: ids, and what is made of words."""
    return name if shape(ID.sub("", name)) else plain(name, count) if not ID.search(name) else name


def _text(node: Node | None) -> str:
    return node.data.decode("utf-8", "replace") if node is not None and node.size is None else ""


def _strangers(tree: Tree, touched: set[str], count: Counter[str]) -> None:
    """Names in directories that tell of other software, unless somebody asked for them."""
    needed = {"/".join(path.split("/")[:n]) for path in touched for n in range(2, path.count("/") + 2)}
    for directory in ("/etc", "/run", "/var/lib", "/opt", "/home", "/proc"):
        listing = tree.find(directory, follow=False)
        for name in list(listing.children) if listing and listing.kind == "dir" else ():
            if f"{directory}/{name}" not in needed and not re.fullmatch(r"\w+_dev\d+\.conf", name):
                assert listing is not None
                del listing.children[name]
                count["files of other software"] += directory != "/proc"
    runs = tree.find("/var/lib/qatprep/runs")
    for name in sorted(runs.children if runs else ())[:-_RUNS]:
        assert runs is not None
        del runs.children[name]


# -- names, addresses, secrets ------------------------------------------------------------------------------


def without_secrets(text: str) -> str:
    """Any text without the values of what is called a password, token or key."""
    return secrets(text, Counter())


def scrub(text: str, names: tuple[str, ...]) -> str:
    """Replace what identifies a host or a person in any text."""
    return _names(text, names, Counter())


def _names(text: str, names: tuple[str, ...], count: Counter[str]) -> str:
    def all_of(pattern: re.Pattern[str], put: str, kind: str) -> None:
        nonlocal text
        text, number = pattern.subn(put, text)
        if number:
            count[kind] += number

    for name in sorted(set(names), key=len, reverse=True):
        plain = name.lstrip(".")
        if len(plain) < 3 or plain.lower() in _COMMON:
            continue
        if re.fullmatch(r"[0-9a-f]{32}", name):
            all_of(re.compile(name), "0" * 32, "machine ids")
            continue
        put, kind = ("example.org", "domains") if name != plain else ("node", "names of the host")
        all_of(re.compile(rf"(?<![\w-]){re.escape(plain)}(?![\w-])"), put, kind)
    all_of(_MAC, "00:00:00:00:00:00", "hardware addresses")
    all_of(_IPV4, "192.0.2.1", "IP addresses")
    all_of(_IPV6, "2001:db8::1", "IP addresses")
    all_of(_HOME, "user", "names of users")
    all_of(_BUILDER, "somebody@somewhere", "names of users")
    all_of(_MAIL, "somebody@example.org", "names of users")
    return text
