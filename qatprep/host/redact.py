"""Taking out of a recorded host what identifies it or its people, and what nobody needs. Same host, same result.

First each file loses what is not needed (REDUCERS, by its path); then names, addresses and secrets are replaced
everywhere, in paths as well. BDFs, ids of pods and containers, and boot ids stay: they are numbers drawn by a machine,
and findings speak of them.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections import Counter
from collections.abc import Callable

from qatprep.hardware import BY_PF_ID, BY_VF_ID, DRIVERS, NEWER_QAT_IDS, OOT_IDS
from qatprep.host import kmsg, manifest
from qatprep.host.capture import META
from qatprep.host.tree import Node, Tree, readable

GONE = "redacted"
QUOTES = "\"'"
_RUNS = 20
"""Journals that are kept, the newest."""

_KEPT_ARGUMENTS = re.compile(
    r"(?:BOOT_IMAGE|(?:intel_|amd_)?iommu(?:\..+)?|vfio.*|qat.*|intel_qat.*|(?:module_|.*\.)?blacklist|pci|pcie.*|efi|lsm"
    r"|lockdown|(?:default_)?hugepages.*|isolcpus|nohz_full|rcu_nocbs|mitigations|console|crashkernel|cgroup.*|debugfs"
    r"|systemd\.unified_.*|module\.sig_enforce|kvm.*|firmware_class\.path|clearcpuid|nosmt|maxcpus|nr_cpus|numa.*|mem"
    r"|apparmor|selinux|security|audit|panic|rd\.driver\..*|swiotlb|dmar.*|intremap|x2apic.*)",
)
"""Kernel arguments whose value is kept; of the others (root=, ip=, passwords) only the name is."""

_IDS = "|".join(f"{number:04x}" for number in (*BY_PF_ID, *BY_VF_ID, *NEWER_QAT_IDS, *OOT_IDS))
_LOG_WORDS = re.compile(
    rf"qat|\bQAT\b|\b(?:{'|'.join(DRIVERS)})|vfio|iommu|DMAR|AMD-Vi|IVRS|firmware|[Ll]ockdown|\bVFs?\b|IOV"
    rf"|MEMLOCK|Linux version|Command line|[Hh]ypervisor|8086:(?:{_IDS})|usdm|adf_",
)
"""Lines of the kernel log that tell of these are kept, the others may tell anything."""

_SECRET = re.compile(
    r"(?i)(?P<key>[\w.-]*(?:passw(?:or)?d|username|secret|token|credential|auth|api[_-]?key|private[_-]?key|bearer)[\w.-]*"
    r"[\"']?\s*(?:=|:)\s*[\"']?)(?P<value>[^\s\"',}\]]+)"
)
_MAY_HOLD_SECRETS = ("/etc/", "/var/", "/run/", "/usr/lib/systemd/", f"{META}/programs")
_SECRET_FLAG = re.compile(r"(?i)--?[\w-]*(?:passw(?:or)?d|secret|token|credential|auth|key)[\w-]*")
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
    r"containerd|conmon|crio|cri-o|docker|kubelet|k3s|rke2|k0s|qatmgr|intel_qat_devic|qat_plugin|envoy|\.slice/(?:k3s|rke2)"
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
    functions = _functions(tree)
    owners = {node.gid for path, node in tree.walk() if path.startswith("/dev/vfio")}
    for path, node in list(tree.walk()):
        if node.kind != "file" or node.size is not None or node.error:
            continue
        text = node.data.decode("utf-8", "surrogateescape")
        for pattern, reducer in REDUCERS.items():
            if fnmatch.fnmatchcase(path, pattern):
                text = reducer(text, count)
        if path == f"{META}/dmesg":
            text = _log(text, functions, count)
        if path == "/etc/group":
            text = _group(text, groups, owners, count)
        if path.startswith(_MAY_HOLD_SECRETS) and "Written by qatprep" not in text:
            text = _secrets(text, count)
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
    node = process.children.get("cmdline")
    if node is None or node.size is not None:
        return
    words = node.data.split(b"\0")
    if not _text(process.children.get("comm")).startswith(_WHOLE_LINE):
        count["arguments of programs"] += len(words) > 2
        node.data = words[0] + b"\0" if words[0] else b""
        return
    after_secret = False
    for n, word in enumerate(words):
        flag, equals, _ = word.partition(b"=")
        secret = bool(_SECRET_FLAG.fullmatch(flag.decode("utf-8", "replace")))
        if after_secret and not word.startswith(b"-"):
            words[n] = GONE.encode()
            count["secrets"] += 1
        elif secret and equals:
            words[n] = flag + b"=" + GONE.encode()
            count["secrets"] += 1
        after_secret = secret and not equals
    node.data = b"\0".join(words)


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


def _lines_with(pattern: str) -> Callable[[str, Counter[str]], str]:
    wanted = re.compile(pattern)
    return lambda text, _: "".join(line for line in text.splitlines(keepends=True) if wanted.search(line))


def _first_block(text: str, count: Counter[str]) -> str:
    """cpuinfo says the same for every CPU."""
    return text.split("\n\n", 1)[0].rstrip("\n") + "\n"


def _arguments(text: str, count: Counter[str]) -> str:
    """Kernel arguments: values only of those that matter here."""

    def token(match: re.Match[str]) -> str:
        key, value = match[1], match[2]
        if _KEPT_ARGUMENTS.fullmatch(key.lstrip("\"'")) or value.rstrip("\"'") == GONE:
            return match[0]
        count["kernel arguments"] += 1
        return f"{key}={GONE}{value[-1] if value[-1] in QUOTES and value[0] not in QUOTES else ''}"

    return re.sub(r"([^\s=]+)=(\S+)", token, text)


def _grub_default(text: str, count: Counter[str]) -> str:
    """Only the lines with arguments, and of them only the arguments."""
    out = []
    for line in text.splitlines():
        head, equals, rest = line.partition("=")
        if equals and "GRUB_CMDLINE_LINUX" in head:
            out.append(f"{head}={_arguments(rest, count)}\n")
    return "".join(out)


def _log(text: str, functions: frozenset[str], count: Counter[str]) -> str:
    kept = []
    for line in text.splitlines():
        if not (_LOG_WORDS.search(line) or kmsg.device(line) in functions):
            count["lines of the kernel log"] += 1
            continue
        head, found, rest = line.partition("ommand line: ")
        kept.append(f"{head}{found}{_arguments(rest, count)}\n" if found else f"{line}\n")
    return "".join(kept)


def _functions(tree: Tree) -> frozenset[str]:
    """BDFs of the host's QAT functions, of whatever generation."""
    ids = re.compile(rf"0x(?:{_IDS})\s*")
    return frozenset(
        path.split("/")[-2]
        for path, node in tree.walk()
        if path.endswith("/device") and node.kind == "file" and ids.fullmatch(node.data.decode("utf-8", "replace"))
    )


def _journal(text: str, count: Counter[str]) -> str:
    """What files held before and after a run is not told: they may be anybody's."""
    out = []
    for line in text.splitlines(keepends=True):
        try:
            event = json.loads(line)
        except ValueError:
            out.append("\n" if line.endswith("\n") else "")
            continue
        change = event.get("change") if isinstance(event, dict) else None
        change = change if isinstance(change, dict) else {}
        for key in ("new", "old"):
            if isinstance(change.get(key), str) and change[key]:
                change[key] = ""
                count["contents of changed files"] += 1
        out.append(json.dumps(event, separators=(",", ":"), ensure_ascii=False) + ("\n" if line.endswith("\n") else ""))
    return "".join(out)


def _checkpoint(text: str, count: Counter[str]) -> str:
    """Only what the kubelet knows of QAT."""
    try:
        data = json.loads(text)["Data"]
        registered = {k: v for k, v in (data.get("RegisteredDevices") or {}).items() if k.startswith("qat.intel.com/")}
        entries = [
            {key: value for key, value in entry.items() if key != "AllocResp"}
            for entry in data.get("PodDeviceEntries") or []
            if entry.get("ResourceName", "").startswith("qat.intel.com/")
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return text
    return json.dumps({"Data": {"PodDeviceEntries": entries, "RegisteredDevices": registered}}) + "\n"


def _programs(text: str, count: Counter[str]) -> str:
    """What programs said: of a node of Kubernetes only its QAT resources and labels."""
    out = []
    for line in text.splitlines():
        program = json.loads(line)
        try:
            node = json.loads(program["stdout"])
            labels = {k: v for k, v in (node["metadata"].get("labels") or {}).items() if "qat" in k or "AVX512" in k}
            amounts = {k: v for k, v in (node["status"].get("allocatable") or {}).items() if "qat" in k}
            program["stdout"] = json.dumps({"metadata": {"labels": labels}, "status": {"allocatable": amounts}})
        except (ValueError, KeyError, TypeError, AttributeError):
            program["stdout"] = str(program["stdout"])[:4096]
        out.append(json.dumps(program) + "\n")
    return "".join(out)


def _group(text: str, wanted: set[str], owners: set[int], count: Counter[str]) -> str:
    """The groups that own nodes or shall, without their members."""
    out = []
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) < 3 or not (fields[0] in wanted or (fields[2].isdigit() and int(fields[2]) in owners)):
            count["groups"] += 1
            continue
        count["members of groups"] += len([name for name in ":".join(fields[3:]).split(",") if name])
        out.append(f"{fields[0]}:x:{fields[2]}:\n")
    return "".join(out)


REDUCERS: dict[str, Callable[[str, Counter[str]], str]] = {
    "/proc/cpuinfo": _first_block,
    "/proc/cmdline": _arguments,
    "/etc/kernel/cmdline": _arguments,
    "/boot/loader/entries/*": lambda text, count: _arguments(_lines_with(r"^options\s")(text, count), count),
    "/boot/grub*/grub.cfg": lambda text, count: _arguments(_lines_with(r"^\s*linux(?:efi|16)?\s")(text, count), count),
    "/etc/default/grub": _grub_default,
    "/etc/default/grub.d/*": lambda text, count: text if "Written by qatprep" in text else _grub_default(text, count),
    "/boot/config-*": _lines_with(r"^CONFIG_"),
    "*/lib/modules/*/config": _lines_with(r"^CONFIG_"),
    "*/modules.dep": _lines_with(r"(?i)qat|vfio|usdm|iommu"),
    "/proc/modules": _lines_with(r"(?i)qat|vfio|usdm|iommu|irqbypass"),
    "*/kubelet_internal_checkpoint": _checkpoint,
    "*/kubelet/config*.yaml": _lines_with(
        r"^(?:cpuManager|topologyManager|reservedSystemCPUs|containerRuntimeEndpoint)"
    ),
    "/var/lib/qatprep/runs/*": _journal,
    f"{META}/programs": _programs,
}
"""Path -> what is left of a file."""


# -- names, addresses, secrets ------------------------------------------------------------------------------


def _secrets(text: str, count: Counter[str]) -> str:
    def replace(match: re.Match[str]) -> str:
        if match["value"] in (GONE, "true", "false", "none", "null", "Always", "webhook", "x509"):
            return match[0]
        count["secrets"] += 1
        return match["key"] + GONE

    return _SECRET.sub(replace, text)


def without_secrets(text: str) -> str:
    """Any text without the values of what is called a password, token or key."""
    return _secrets(text, Counter())


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
