"""The host's programs that qatprep may call: modprobe, rmmod, groupadd, groupdel, getent, udevadm, systemctl."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from qatprep.host.base import RunResult
from qatprep.simulator import clock
from qatprep.simulator.machine import Machine
from qatprep.simulator.modprobe_conf import Config, normal, read_config
from qatprep.simulator.modules import SOFT_POST
from qatprep.simulator.systemctl import systemctl
from qatprep.text import Foreign

SYSTEM_GIDS = range(100, 1000)
"""login.defs SYS_GID_MIN and SYS_GID_MAX as distributions ship them."""
CHANGING = ("modprobe", "rmmod", "groupadd", "groupdel", "systemctl")
"""Programs that change the host: what faults count."""


class _Exit(Exception):
    def __init__(self, rc: int, stderr: str = "", stdout: str = "") -> None:
        super().__init__(rc)
        self.rc = rc
        self.stderr = stderr
        self.stdout = stdout


def run(machine: Machine, argv: list[str]) -> RunResult:
    """Do what the program would. Raises Held where it would hang in the kernel."""
    known: dict[str, Callable[[Machine, list[str]], str]] = {
        "modprobe": _modprobe,
        "rmmod": _rmmod,
        "groupadd": _groupadd,
        "groupdel": _groupdel,
        "getent": _getent,
        "udevadm": _udevadm,
        "systemctl": _systemctl,
    }
    program = known.get(argv[0].rsplit("/", 1)[-1])
    if program is None:
        return RunResult(tuple(argv), 127, Foreign(""), Foreign(f"{argv[0]}: not found on this simulated host"))
    try:
        return RunResult(tuple(argv), 0, Foreign(program(machine, argv[1:])), Foreign(""))
    except _Exit as e:
        return RunResult(tuple(argv), e.rc, Foreign(e.stdout), Foreign(e.stderr))


# -- modprobe -----------------------------------------------------------------------------------------------


def _modprobe(machine: Machine, arguments: list[str]) -> str:
    flags = {word for word in arguments if word.startswith("-")}
    words = [word for word in arguments if not word.startswith("-")]
    if not words:
        raise _Exit(1, "modprobe: ERROR: missing parameters. See -h.\n")
    everything = bool(flags & {"-a", "--all", "-r", "--remove"})
    names, options = (words, []) if everything else (words[:1], words[1:])
    config = read_config(machine.tree, machine.text("/proc/cmdline"))
    for name in names:
        if flags & {"-r", "--remove"}:
            _unload(machine, normal(name))
        elif flags & {"-b", "--use-blacklist"} and normal(name) in config.blacklist:
            continue
        elif not flags & {"-n", "--dry-run", "--show"}:
            load(machine, config, name, options)
    return ""


def load(machine: Machine, config: Config, name: str, options: list[str] | None = None) -> None:
    """Load a module with what it needs. A blacklist does not hold for a module asked for by name; install lines do."""
    module = normal(name)
    modules = machine.modules
    if modules.present(module):
        return
    if module in config.install:
        command = config.install[module].split()[0].rsplit("/", 1)[-1]
        if command == "false":
            raise _Exit(
                1,
                f"modprobe: ERROR: ../libkmod/libkmod-module.c:1084 command_do() Error running install command "
                f"'{config.install[module]}' for module {module}: retcode 1\n"
                f"modprobe: ERROR: could not insert '{module}': Invalid argument\n",
            )
        return
    if not _on_disk(machine, module):
        release = machine.kernel.release
        raise _Exit(1, f"modprobe: FATAL: Module {name} not found in directory /lib/modules/{release}\n")
    if module in _kernel_blacklist(machine):
        raise _Exit(1, f"modprobe: ERROR: could not insert '{module}': Operation not permitted\n")
    for need in config.pre.get(module, []):
        try_load(machine, config, need)
    for need in reversed(modules.dependencies.get(module, [])):
        load(machine, config, need)
    modules.insert(module, [*config.options.get(module, []), *(options or [])])
    for need in [*config.post.get(module, []), *SOFT_POST.get(module, ())]:
        try_load(machine, config, need)


def try_load(machine: Machine, config: Config, name: str) -> None:
    """Load a module if that works."""
    try:
        load(machine, config, name)
    except _Exit:
        return


def _on_disk(machine: Machine, module: str) -> bool:
    return module in machine.modules.dependencies


def _kernel_blacklist(machine: Machine) -> set[str]:
    """kernel/module/main.c blacklisted(): module_blacklist= on the kernel command line, EPERM for whoever asks."""
    names: set[str] = set()
    for token in machine.text("/proc/cmdline").split():
        key, _, value = token.partition("=")
        if key == "module_blacklist":
            names.update(normal(name) for name in value.split(","))
    return names


def _unload(machine: Machine, module: str) -> None:
    modules = machine.modules
    if module in modules.builtin:
        raise _Exit(1, f"modprobe: FATAL: Module {module} is builtin.\n")
    if module not in modules.loaded:
        if not _on_disk(machine, module):
            raise _Exit(1, f"modprobe: FATAL: Module {module} not found.\n")
        return
    needs = list(modules.loaded[module].needs)
    try:
        modules.remove(module)
    except OSError as e:
        if e.errno != errno.EBUSY:
            raise
        raise _Exit(1, f"modprobe: FATAL: Module {module} is in use.\n") from None
    for need in needs:  # kmod takes what nothing else needs any more with it
        if need in modules.loaded and not modules.users(need):
            _unload(machine, need)


def _rmmod(machine: Machine, arguments: list[str]) -> str:
    """Exactly the named modules, whatever they needed stays."""
    for name in arguments:
        module = normal(name)
        if module in machine.modules.builtin:
            raise _Exit(1, f"rmmod: ERROR: Module {module} is builtin.\n")
        if module not in machine.modules.loaded:
            raise _Exit(1, f"rmmod: ERROR: Module {module} is not currently loaded\n")
        if users := machine.modules.users(module):
            raise _Exit(1, f"rmmod: ERROR: Module {module} is in use by: {' '.join(users)}\n")
        try:
            machine.modules.remove(module)
        except OSError as e:
            if e.errno != errno.EBUSY:
                raise
            raise _Exit(1, f"rmmod: ERROR: Module {module} is in use\n") from None
    return ""


# -- groups -------------------------------------------------------------------------------------------------


def _groupadd(machine: Machine, arguments: list[str]) -> str:
    """shadow's groupadd: exit 9 when the name is taken, 2 for bad usage; --system counts down from SYS_GID_MAX."""
    words = [word for word in arguments if not word.startswith("-")]
    number: int | None = None
    if "-g" in arguments or "--gid" in arguments:
        at = arguments.index("-g" if "-g" in arguments else "--gid") + 1
        number = int(arguments[at])
        words.remove(arguments[at])
    if len(words) != 1:
        raise _Exit(2, "Usage: groupadd [options] GROUP\n")
    name = words[0]
    lines = _lines(machine, "/etc/group")
    if any(line.split(":")[0] == name for line in lines):
        raise _Exit(9, f"groupadd: group '{name}' already exists\n")
    used = {int(fields[2]) for line in lines if len(fields := line.split(":")) > 2 and fields[2].isdigit()}
    if number is None:
        system = bool(set(arguments) & {"--system", "-r"})
        numbers = reversed(SYSTEM_GIDS) if system else iter(range(1000, 60000))
        number = next(candidate for candidate in numbers if candidate not in used)
    elif number in used:
        raise _Exit(4, f"groupadd: GID '{number}' already exists\n")
    _store(machine, "/etc/group", [*lines, f"{name}:x:{number}:"])
    if machine.tree.find("/etc/gshadow") is not None:
        _store(machine, "/etc/gshadow", [*_lines(machine, "/etc/gshadow"), f"{name}:!::"])
    machine.clock.spend(clock.FSYNC * 4)
    return ""


def _groupdel(machine: Machine, arguments: list[str]) -> str:
    words = [word for word in arguments if not word.startswith("-")]
    if len(words) != 1:
        raise _Exit(2, "Usage: groupdel [options] GROUP\n")
    lines = _lines(machine, "/etc/group")
    left = [line for line in lines if line.split(":")[0] != words[0]]
    if len(left) == len(lines):
        raise _Exit(6, f"groupdel: group '{words[0]}' does not exist\n")
    _store(machine, "/etc/group", left)
    if machine.tree.find("/etc/gshadow") is not None:
        shadow = [line for line in _lines(machine, "/etc/gshadow") if line.split(":")[0] != words[0]]
        _store(machine, "/etc/gshadow", shadow)
    machine.clock.spend(clock.FSYNC * 4)
    return ""


def _getent(machine: Machine, arguments: list[str]) -> str:
    """getent(1): 2 when the key is not found."""
    if not arguments or arguments[0] not in ("group", "passwd"):
        raise _Exit(1, f"Unknown database: {' '.join(arguments[:1])}\n")
    lines = _lines(machine, f"/etc/{arguments[0]}")
    if len(arguments) == 1:
        return "".join(f"{line}\n" for line in lines)
    found = [line for line in lines if len(fields := line.split(":")) > 2 and arguments[1] in (fields[0], fields[2])]
    if not found:
        raise _Exit(2)
    return f"{found[0]}\n"


def _udevadm(machine: Machine, arguments: list[str]) -> str:
    if not arguments or arguments[0] not in ("settle", "control", "trigger"):
        raise _Exit(1, "udevadm: this simulated host knows settle, control and trigger\n")
    if arguments[0] == "trigger":
        machine.udev.trigger()
    if arguments[0] == "settle":
        machine.clock.spend(clock.UDEV)
        machine.udev.settle()
    return ""


def _systemctl(machine: Machine, arguments: list[str]) -> str:
    rc, out, err = systemctl(machine, arguments)
    if rc:
        raise _Exit(rc, err, out)
    return out


def _lines(machine: Machine, path: str) -> list[str]:
    node = machine.tree.find(path)
    return node.content().decode("utf-8", "surrogateescape").splitlines() if node else []


def _store(machine: Machine, path: str, lines: list[str]) -> None:
    node = machine.tree.find(path) or machine.tree.file(path)
    node.data = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def failed(argv: list[str], number: int) -> RunResult:
    """How a program looks that met an error in the kernel."""
    return RunResult(tuple(argv), 1, Foreign(""), Foreign(f"{argv[0]}: {os.strerror(number)}\n"))
