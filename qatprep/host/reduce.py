"""What is left of each file of a recorded host, by its path: the lines and values that are read of it, made plain."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable

from qatprep import json_input
from qatprep.hardware import BDF, BY_PF_ID, BY_VF_ID, DRIVERS, NEWER_QAT_IDS, OOT_IDS
from qatprep.host import kmsg
from qatprep.host.keep import GONE, ID, Keeper, lines, plain, secrets, shape, toml, values
from qatprep.host.tree import Tree
from qatprep.host.values import META

_IDS = "|".join(f"{number:04x}" for number in (*BY_PF_ID, *BY_VF_ID, *NEWER_QAT_IDS, *OOT_IDS))
QUOTES = "\"'"
_KEPT_ARGUMENTS = re.compile(
    r"(?:BOOT_IMAGE|(?:intel_|amd_)?iommu(?:\..+)?|vfio.*|qat.*|intel_qat.*|(?:module_|.*\.)?blacklist|pci|pcie.*|efi|lsm"
    r"|lockdown|(?:default_)?hugepages.*|isolcpus|nohz_full|rcu_nocbs|mitigations|console|crashkernel|cgroup.*|debugfs"
    r"|systemd\.unified_.*|module\.sig_enforce|kvm.*|firmware_class\.path|clearcpuid|nosmt|maxcpus|nr_cpus|numa.*|mem"
    r"|gather_data_sampling|apparmor|selinux|security|audit|panic|rd\.driver\..*|swiotlb|dmar.*|intremap|x2apic.*)",
)
"""Kernel arguments whose value is kept; of the others (root=, ip=, passwords) only the name is."""

_LOG_WORDS = re.compile(
    rf"qat|\bQAT\b|\b(?:{'|'.join(DRIVERS)})|vfio|iommu|DMAR|AMD-Vi|IVRS|firmware|[Ll]ockdown|\bVFs?\b|IOV"
    rf"|MEMLOCK|Linux version|Command line|[Hh]ypervisor|8086:(?:{_IDS})|usdm|adf_",
)
"""Lines of the kernel log that tell of these are kept, the others may tell anything."""


def _lines_with(pattern: str) -> Callable[[str, Counter[str]], str]:
    wanted = re.compile(pattern)
    return lambda text, _: "".join(line for line in text.splitlines(keepends=True) if wanted.search(line))


def _first_of_each_package(text: str, count: Counter[str]) -> str:
    """cpuinfo says the same for every CPU: the first whole, of the first CPU of each other package only which it is."""
    first, *others = text.rstrip("\n").split("\n\n")
    found = re.search(r"(?m)^physical id\s*:.*$", first)
    known = {found[0]} if found else set()
    kept = [first]
    for block in others:
        package = re.search(r"(?m)^physical id\s*:.*$", block)
        if package and package[0] not in known:
            known.add(package[0])
            kept.append(package[0])
    return "\n\n".join(kept) + "\n"


_BARE = re.compile(r"ro|rw|quiet|splash|debug|single|auto|linux|no[a-z]{2,10}|nox2apic")
"""Kernel arguments without a value that are kept next to _KEPT_ARGUMENTS."""


def _arguments(text: str, count: Counter[str]) -> str:
    """Kernel arguments: those that matter here with their values, of others the name; nothing after `--`."""
    before, rest, _ = re.sub(r"(?<!\S)--(?!\S)", "\0", text).partition("\0")
    quote = text.rstrip()[-1:] if rest and text.rstrip()[-1:] in QUOTES else ""
    count["kernel arguments"] += bool(rest)

    def token(match: re.Match[str]) -> str:
        key, equals, value = match[0].partition("=")
        name = key.strip(QUOTES)
        if value.strip(QUOTES) == GONE:
            return match[0]
        if _KEPT_ARGUMENTS.fullmatch(name):
            return plain(match[0], count)
        count["kernel arguments"] += bool(equals) or not _BARE.fullmatch(name)
        if not equals:
            return (
                match[0]
                if _BARE.fullmatch(name) or name.startswith("$") or not name or (name.startswith("/") and shape(name))
                else match[0].replace(name, GONE)
            )
        return f"{plain(key, count)}={GONE}{value[-1] if value[-1:] in QUOTES and value[:1] not in QUOTES else ''}"

    kept = re.sub(r"\S+", token, before)
    return kept.rstrip() + quote + ("\n" if text.endswith("\n") else "") if rest else kept


def _arguments_after(head: str) -> Keeper:
    """The lines that begin so, with the kernel arguments that follow; none of the others."""
    start = re.compile(rf"(\s*{head})(.*)")

    def keep(text: str, count: Counter[str]) -> str:
        found = [match for line in text.splitlines() if (match := start.match(line))]
        count["lines of files"] += sum(bool(line.strip()) for line in text.splitlines()) - len(found)
        return "".join(f"{match[1]}{_arguments(match[2], count)}\n" for match in found)

    return keep


def _grub_cfg(text: str, count: Counter[str]) -> str:
    """The lines that start a kernel, with its arguments, and those that lead to other files."""
    out = []
    for line in text.splitlines():
        if start := re.match(r"(\s*linux(?:efi|16)?\s+)(.*)", line):
            out.append(f"{start[1]}{_arguments(start[2], count)}\n")
        elif re.match(r"\s*(?:configfile|blscfg|insmod blscfg)\b", line):
            out.append(f"{plain(line, count)}\n")
        else:
            count["lines of files"] += bool(line.strip())
    return "".join(out)


def _grub_default(text: str, count: Counter[str]) -> str:
    """Only the lines with arguments, and of them only the arguments."""
    out = []
    for line in text.splitlines():
        head, equals, rest = line.partition("=")
        if equals and "GRUB_CMDLINE_LINUX" in head:
            out.append(f"{head}={_arguments(rest, count)}\n")
    return "".join(out)


_ASSIGNED = re.compile(
    r"(?i)((?:[\w.-]*(?:passw|secret|token|credential|auth|key|bearer)[\w.-]*)[\"']?\s*[=:]?\s+|[\w.-]+=)([^\s\"',}\]]+)"
)
"""What is given a value, and what follows the name of a secret."""


def _gone(match: re.Match[str]) -> str:
    number = re.fullmatch(r"(?:0x)?[0-9a-f]{1,16}|[0-9.:a-f]+", match[2])
    return match[0] if number else f"{match[1]}{GONE}"


def log_lines(text: str, functions: frozenset[str], count: Counter[str]) -> str:
    kept = []
    for line in text.splitlines():
        if not (_LOG_WORDS.search(line) or kmsg.device(line) in functions):
            count["lines of the kernel log"] += 1
            continue
        head, found, rest = line.partition("ommand line: ")
        kept.append(f"{head}{found}{_arguments(rest, count)}\n" if found else f"{_ASSIGNED.sub(_gone, line)}\n")
    return "".join(kept)


def qat_functions(tree: Tree) -> frozenset[str]:
    """BDFs of the host's QAT functions, of whatever generation."""
    ids = re.compile(rf"0x(?:{_IDS})\s*")
    return frozenset(
        path.split("/")[-2]
        for path, node in tree.walk()
        if path.endswith("/device") and node.kind == "file" and ids.fullmatch(node.data.decode("utf-8", "replace"))
    )


_CONTENTS = ("new", "old", "old_text", "text")


def _journal(text: str, count: Counter[str]) -> str:
    """What files held before and after a run is left out: they may be anybody's. All other texts are made plain."""
    out = []
    for line in text.splitlines(keepends=True):
        try:
            event = json_input.loads(line)
        except (ValueError, RecursionError):
            out.append("\n" if line.endswith("\n") else "")
            continue
        out.append(json.dumps(_told(event, count), separators=(",", ":")) + ("\n" if line.endswith("\n") else ""))
    return "".join(out)


def _proof(text: str, count: Counter[str]) -> str:
    """Like a journal, but one document."""
    try:
        return json.dumps(_told(json_input.loads(text), count), indent=1) + "\n"
    except (ValueError, RecursionError):
        return plain(text, count)


def _told(value: object, count: Counter[str], key: str = "") -> object:
    if isinstance(value, dict):
        return {plain(name, count): _told(inner, count, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_told(inner, count, key) for inner in value]
    if not isinstance(value, str):
        return value
    if key in _CONTENTS and value and not shape(value):
        count["contents of changed files"] += 1
        return ""
    return value if key in _STAMPS and re.fullmatch(_STAMPS[key], value) else plain(value, count)


_STAMPS = {
    "run": r"[0-9]{8}T[0-9]{6}Z-[0-9]{4,}",
    "time": r"[0-9-]{10}T[0-9:]{8}Z",
    "boot": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "schema": r"qatprep\.[a-z]+/1",
}
"""Ids of runs and boots, and times."""


def _checkpoint(text: str, count: Counter[str]) -> str:
    """Only what the kubelet knows of QAT."""
    try:
        data = json_input.loads(text)["Data"]
        registered = {k: v for k, v in (data.get("RegisteredDevices") or {}).items() if k.startswith("qat.intel.com/")}
        entries = [
            {key: value for key, value in entry.items() if key != "AllocResp"}
            for entry in data.get("PodDeviceEntries") or []
            if entry.get("ResourceName", "").startswith("qat.intel.com/")
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return plain(text, count)
    return json.dumps({"Data": _ids({"PodDeviceEntries": entries, "RegisteredDevices": registered}, count)}) + "\n"


def _programs(text: str, count: Counter[str]) -> str:
    """What programs said: of a node of Kubernetes only its QAT resources and labels."""
    out = []
    for line in text.splitlines():
        program = json_input.loads(line)
        try:
            node = json_input.loads(program["stdout"])
            labels = {k: v for k, v in (node["metadata"].get("labels") or {}).items() if "qat" in k or "AVX512" in k}
            amounts = {k: v for k, v in (node["status"].get("allocatable") or {}).items() if "qat" in k}
            node = values({"metadata": {"labels": labels}, "status": {"allocatable": amounts}}, count)
            program["stdout"] = json.dumps(node)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            dumped = list(program["argv"])[-2:] == ["config", "dump"]
            program["stdout"] = (toml if dumped else plain)(str(program["stdout"]), count)
        program["stderr"] = plain(_ASSIGNED.sub(_gone, str(program["stderr"])), count)
        program["argv"] = [plain(str(word), count) for word in program["argv"]]
        out.append(json.dumps(program) + "\n")
    return "".join(out)


def group_lines(text: str, wanted: set[str], owners: set[int], count: Counter[str]) -> str:
    """The groups that own device nodes or are to, without their members."""
    out = []
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) < 3 or not (fields[0] in wanted or (fields[2].isdigit() and int(fields[2]) in owners)):
            count["groups"] += 1
            continue
        count["members of groups"] += len([name for name in ":".join(fields[3:]).split(",") if name])
        out.append(f"{fields[0]}:x:{fields[2]}:\n")
    return "".join(out)


def _then(first: Keeper, then: Keeper = plain) -> Keeper:
    return lambda text, count: then(first(text, count), count)


def _model(text: str, count: Counter[str]) -> str:
    """A maker or a model, which are names of all kinds, and tell of no owner."""
    return text[:64]


def any_file(text: str, count: Counter[str]) -> str:
    """A file of which nothing but this is known to be needed: lines that write to devices (facts/setters.py)."""
    found = _WRITES(text, count)
    return plain(found, count) if found.strip() else ""


def _identified(text: str, count: Counter[str]) -> str:
    """A JSON document of the kubelet's or ours, in which ids of pods and containers stay."""
    try:
        document = json_input.loads(text)
    except (ValueError, RecursionError):
        return plain(text, count)
    return json.dumps(_ids(document, count)) + "\n"


def _ids(document: object, count: Counter[str]) -> object:
    if isinstance(document, dict):
        return {_id(str(key), count): _ids(value, count) for key, value in document.items()}
    if isinstance(document, list):
        return [_ids(item, count) for item in document]
    return _id(document, count) if isinstance(document, str) else document


def _id(text: str, count: Counter[str]) -> str:
    return text if ID.fullmatch(text) else plain(text, count)


MACHINE_MADE = (f"{META}/cpuid", f"{META}/xcr0", f"{META}/euid", f"{META}/time", "/proc/sys/kernel/random/boot_id")
"""Drawn or counted by a machine."""
_WRITES = lines(
    r"(?i)sriov_numvfs|driver_override|cfg_services|qat|8086|dpdk-devbind|set-override|bind|new_id|/drivers/|pciAddress"
    rf"|{BDF.pattern}|[0-9a-f]{{2}}:[0-9a-f]{{2}}\.[0-7]",
    comments="#",
)
_UNIT = lines(
    r"^\s*\[\w+\]\s*$|^\s*(?:Default)?LimitMEMLOCK\s*="
    r"|^Exec\w+=.*(?:sriov_numvfs|driver_override|cfg_services|qat|bind|new_id)"
    r"|^Exec\w+=(?:.*\s)?[-@:+!]*/(?:usr/local|opt|etc|root|srv|home)/"
)


def _ours_or(keeper: Keeper) -> Keeper:
    """A file that begins as ours do stays, but for values of what is called a secret."""

    def keep(text: str, count: Counter[str]) -> str:
        ours = "Written by qatprep" in "\n".join(text.split("\n", 5)[:5])
        return plain(secrets(text, count), count) if ours else keeper(text, count)

    return keep


_CONFIG = lines(r"^CONFIG_[A-Za-z0-9_]{1,60}=(?:[ymn]|-?\d{1,12}|0x[0-9a-f]{1,16})$", comments="")
_MODULES = lines(r"(?i)qat|vfio|usdm|iommu|irqbypass")
_KUBELET = lines(r"^(?:cpuManager|topologyManager|reservedSystemCPUs|containerRuntimeEndpoint)")
REDUCERS: dict[str, Keeper] = {
    "/proc/cpuinfo": _first_of_each_package,
    "/proc/cmdline": _arguments,
    "*/dmi/id/sys_vendor": _model,
    "*/dmi/id/product_name": _model,
    "/proc/stat": lines(r"^btime \d+$"),
    "/proc/crypto": lambda text, count: text,
    "/proc/*/cmdline": lambda text, count: text,
    "/proc/*/environ": lambda text, count: text,
    "/proc/*/cgroup": lambda text, count: text,
    "/proc/*/status": lambda text, count: text,
    "/etc/kernel/cmdline": _arguments,
    "*/loader/entries/*": _arguments_after(r"options\s+"),
    "*/grub.cfg": _grub_cfg,
    "*/grubenv": _arguments_after(r"kernelopts="),
    "/etc/default/grub": _grub_default,
    "/etc/default/grub.d/*": _ours_or(_grub_default),
    "/boot/config-*": _CONFIG,
    "*/lib/modules/*/config": _CONFIG,
    "*/modules.dep": _lines_with(r"(?i)qat|vfio|usdm|iommu"),
    "*/modules.alias": _lines_with(r"^alias pci:v[0-9A-F]{8}d[0-9A-F]{8}sv\*sd\*bc\*sc\*i\* qat_[0-9a-z]{1,12}$"),
    "*/modules.builtin": lambda text, count: text,
    "/proc/modules": _then(_MODULES),
    "*/modprobe.d/*": _ours_or(
        _then(lines(r"^\s*(?:blacklist|install|softdep|alias)\s|^\s*options\s+\S*(?:qat|vfio|iommu)"))
    ),
    "*/modules-load.d/*": _ours_or(_then(_MODULES)),
    "/etc/os-release": _then(lines(r"^(?:ID|ID_LIKE|VERSION_ID|VARIANT_ID)=")),
    "/usr/lib/os-release": _then(lines(r"^(?:ID|ID_LIKE|VERSION_ID|VARIANT_ID)=")),
    "/etc/sysconfig/qat": _then(lines(r"^\s*(?:ServicesEnabled|POLICY)\s*=")),
    "*/kubernetes.io~configmap/*": _then(lines(r"^\s*ServicesEnabled\s*=")),
    "*/udev/rules.d/*": _ours_or(any_file),
    "/etc/sriov-operator/*": any_file,
    "/etc/driverctl.d/*": plain,
    "/etc/qatprep.yaml": _then(lines(r"")),
    "/var/lib/qatprep/runs/*": _journal,
    "/run/qatprep/proof.json": _proof,
    "*/kubelet_internal_checkpoint": _checkpoint,
    "*/cpu_manager_state": _identified,
    "*/kubelet/*.yaml": _then(_KUBELET),
    "*/kubelet*.conf": _then(_KUBELET),
    "*/systemd/*": _ours_or(_then(_UNIT)),
    "*.toml": _ours_or(_then(toml)),
    "*.tmpl": _ours_or(_then(toml)),
    "/etc/containerd/*": _ours_or(_then(toml)),
    "/etc/crio/*": _ours_or(_then(toml)),
    "/var/lib/qatprep/*": _ours_or(any_file),
    "*/qatprep*": _ours_or(any_file),
    f"{META}/programs": _programs,
}
"""Path -> what is left of a file; the first that matches. Any other outside /proc and /sys: `any_file`."""
