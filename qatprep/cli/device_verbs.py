"""The verbs of `qatprep device`: what each does, and the one declaration of its words and options.

Nothing here loads typer: qatprep.cli.shortcut calls the verbs without it, and qatprep.cli.device makes typer's commands
out of the same table. An option is named once, its default is in `Options`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from qatprep.exits import OF_STATUS, ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from qatprep.cli.session import Session
    from qatprep.facts.bus import Function
    from qatprep.host.base import Host
    from qatprep.plan.model import Plan


class Options(NamedTuple):
    """Every option of every device verb, with its default."""

    vfs: bool = True
    every: bool = False
    driver: str = "vfio-pci"
    group: str = ""
    user: str = ""
    kind: str = ""
    mode: str = "0660"
    world_accessible: bool = False
    number: int | None = None
    check: bool = False
    force: bool = False
    adopt: bool = False
    yes: bool = False
    root: str = "/"
    simulate: str = ""
    output: str = "human"


class Option(NamedTuple):
    """How an option of `Options` is spelled and described."""

    flags: tuple[str, ...]
    help: str
    metavar: str = ""
    least: int | None = None
    """The smallest number it takes."""


OPTIONS = {
    "vfs": Option(("--vfs/--no-vfs",), "Show each VF, or only the PFs."),
    "every": Option(("--all", "-a"), "Show every PCI function of the host."),
    "driver": Option(("--driver",), "The driver.", "NAME"),
    "group": Option(("--group",), "Give the device nodes to this group.", "NAME"),
    "user": Option(("--user",), "Give the device nodes to this user: a name or a number.", "NAME"),
    "kind": Option(("--class",), "Only functions of this class: network, storage, qat ...; means --all.", "CLASS"),
    "mode": Option(("--mode",), "Mode of the device nodes, with --group or --user.", "OCTAL"),
    "world_accessible": Option(
        ("--world-accessible",), "Allow a --mode that lets every user of the host open the devices."
    ),
    "number": Option(("--count",), "Not for QAT, which makes all or none.", least=1),
    "check": Option(("--check",), "Only say what would change."),
    "force": Option(("--force",), "Take PFs, network interfaces and disks too."),
    "adopt": Option(
        ("--adopt",), "Put the driver that driverctl has stored into /etc/qatprep.yaml, for all VFs of the PF."
    ),
}
"""Those of the device verbs alone; --yes, --root, --simulate and --output are the same everywhere (cli/options.py)."""
SHARED = {"yes": ("--yes", "-y"), "root": ("--root",), "simulate": ("--simulate",), "output": ("--output", "-o")}


class Word(NamedTuple):
    """A word of the command line that comes before the devices."""

    name: str
    metavar: str
    help: str = ""


class Verb(NamedTuple):
    """One verb: `run` is given the words after it, its own first and then the devices."""

    run: Callable[[Session, list[str], Options], ExitCode]
    help: str
    options: tuple[str, ...]
    words: tuple[Word, ...] = ()
    devices: bool = True

    @property
    def least(self) -> int:
        """How many words it needs."""
        return len(self.words) + self.devices


def show(session: Session, words: list[str], options: Options) -> ExitCode:
    """qatprep device list"""
    from qatprep.facts import bus, nodes, pci
    from qatprep.report import device as report

    host = session.host(options.root, options.simulate)
    if options.every or options.kind:
        functions = _of_class(bus.everything(host, drivers=True), options.kind)
        if options.output == "json":
            session.json(report.functions_document(host, functions))
        else:
            report.print_functions(session.console(), host, functions)
        return ExitCode.OK
    found = pci.gather(host)
    more = nodes.gather(host, found.all_vfs)
    if options.output == "json":
        session.json(report.devices_document(host, found, more))
    else:
        report.print_devices(session.console(), host, found, more, with_vfs=options.vfs)
    return ExitCode.OK


CLASSES = {
    "storage": 0x01, "network": 0x02, "display": 0x03, "bridge": 0x06, "processor": 0x0B, "usb": 0x0C,
    "encryption": 0x10, "accelerator": 0x12,
}  # fmt: skip
"""Names of PCI class codes (include/linux/pci_ids.h); "qat" is apart: its functions are co-processors (0x0b40)."""


def _of_class(functions: tuple[Function, ...], kind: str) -> tuple[Function, ...]:
    if not kind:
        return functions
    from qatprep.errors import InputError
    from qatprep.hardware import BY_PF_ID, BY_VF_ID, INTEL
    from qatprep.text import did_you_mean

    if kind == "qat":
        return tuple(f for f in functions if f.vendor_id == INTEL and f.device_id in {*BY_PF_ID, *BY_VF_ID})
    if kind not in CLASSES:
        known = ("qat", *CLASSES)
        raise InputError(f"--class {kind!r} is not a class", did_you_mean(kind, known, f"one of {', '.join(known)}"))
    return tuple(f for f in functions if f.kind == CLASSES[kind])


def bind(session: Session, words: list[str], options: Options) -> ExitCode:
    """qatprep device bind BDF..."""
    from qatprep.errors import InputError
    from qatprep.plan import bind as steps

    try:
        bits = int(options.mode, 8)
    except ValueError:
        bits = -1
    if not 0 <= bits <= 0o777:
        raise InputError(f"--mode {options.mode!r} is not an octal mode", "for example --mode 0660")
    if bits & 0o007 and not options.world_accessible:
        raise InputError(
            f"--mode {options.mode!r} lets every user of the host open the devices",
            "for example --mode 0660; or ask for it by name: --world-accessible",
        )
    if not options.driver:
        raise InputError("--driver '' names no driver", "qatprep device unbind takes devices from theirs")
    return _run(
        session,
        words,
        options,
        "device bind",
        lambda host, chosen: steps.bind(
            host, chosen, options.driver, group=options.group, user=options.user, mode=bits, force=options.force
        ),
    )


def unbind(session: Session, words: list[str], options: Options) -> ExitCode:
    """qatprep device unbind BDF..."""
    from qatprep.plan import bind as steps

    return _run(
        session,
        words,
        options,
        "device unbind",
        lambda host, chosen: steps.bind(host, chosen, "", force=options.force),
    )


def services(session: Session, words: list[str], options: Options) -> ExitCode:
    """qatprep device services SERVICES BDF..."""
    from qatprep.errors import InputError
    from qatprep.hardware import parse_services, suggest_services
    from qatprep.plan import pfs as steps

    wanted, *devices = words
    try:
        tokens = parse_services(wanted)
    except ValueError as e:
        guess = suggest_services(wanted)
        hint = f"did you mean {guess}?" if guess else "for example 'asym;sym'"
        raise InputError(f"services {wanted!r}: {e}", hint) from None
    return _run(
        session,
        devices,
        options,
        "device services",
        lambda host, chosen: steps.services(host, chosen, tokens),
        pfs=True,
    )


def vfs(session: Session, words: list[str], options: Options) -> ExitCode:
    """qatprep device vfs create|remove BDF..."""
    from qatprep.errors import InputError
    from qatprep.plan import pfs as steps

    action, *devices = words
    if action not in ("create", "remove"):
        raise InputError(f"{action!r} is neither create nor remove", "qatprep device vfs create 6b:00.0")
    return _run(
        session,
        devices,
        options,
        f"device vfs {action}",
        lambda host, chosen: steps.vfs(host, chosen, options.number if action == "create" else 0),
        pfs=True,
    )


def take_over(session: Session, words: list[str], options: Options) -> ExitCode:
    """qatprep device take-over BDF..."""
    from qatprep.plan.takeover import take_over as plan

    return _run(
        session,
        words,
        options,
        "device take-over",
        lambda host, chosen: plan(host, chosen, adopt=options.adopt),
        pfs=True,
    )


def power(action: Literal["up", "down", "reset"]) -> Callable[[Session, list[str], Options], ExitCode]:
    """qatprep device up|down|reset BDF..."""

    def run(session: Session, words: list[str], options: Options) -> ExitCode:
        from qatprep.plan import pfs as steps

        return _run(
            session,
            words,
            options,
            f"device {action}",
            lambda host, chosen: steps.power(host, chosen, action),
            pfs=True,
        )

    return run


def _run(
    session: Session,
    patterns: list[str],
    options: Options,
    command: str,
    plan: Callable[[Host, Sequence[str]], Plan],
    *,
    pfs: bool = False,
) -> ExitCode:
    from qatprep.cli.ask import agreed, say_unconfirmed
    from qatprep.cli.select import to_undo
    from qatprep.engine.bootstrap import Result, bootstrap

    host = session.host(options.root, options.simulate)
    chosen = _chosen(host, patterns, pfs=pfs)

    def make(tried: frozenset[str]) -> Plan:
        return plan(host, chosen)

    def confirm(made: Plan) -> bool:
        return options.yes or not made.costs or agreed(made.costs, "Go on?")

    if options.check:
        made = make(frozenset())
        result = Result("refused" if made.refused else "unchanged" if made.empty else "planned", made)
    else:
        result = bootstrap(host, None, command=command, confirm=confirm, planner=make)
    session.code = OF_STATUS[result.status]
    if options.output == "json":
        from qatprep.report.plan import result_document

        say_unconfirmed(session, result)
        session.json(result_document(result, host.label, "command line", check=options.check))
    else:
        from qatprep.report.lines import print_result

        refused: Iterable[str] = ()
        if result.plan.refused:
            from qatprep.facts import pci
            from qatprep.report.refusal import refusal_lines

            refused = refusal_lines(result.plan, pci.gather(host))
        print_result(session, result, to_undo(session, result.run), refused)
    return session.code


def _chosen(host: Host, patterns: list[str], *, pfs: bool) -> list[str]:
    """The BDFs meant. A full BDF, or a network interface or disk, may be any PCI device; a glob means QAT devices only,
    VFs unless PFs are asked for."""
    from qatprep.cli.select import full, matching

    globs = [pattern for pattern in patterns if any(c in pattern for c in "*?[")]
    chosen = [_named(host, pattern) or full(pattern) for pattern in patterns if pattern not in globs]
    if globs:
        from qatprep.facts import pci

        found = pci.gather(host)
        known = [pf.bdf for pf in found.pfs] if pfs else [vf.bdf for vf in found.all_vfs]
        chosen += matching(globs, known, "QAT PF" if pfs else "QAT VF")
    return list(dict.fromkeys(chosen))


def _named(host: Host, name: str) -> str:
    """The PCI function of a network interface or disk, "" where this is the name of none."""
    if ":" in name:
        return ""
    from qatprep.facts import bus

    known = {**bus.behind(host, bus.NET), **bus.behind(host, bus.BLOCK)}
    return known[name][-1] if name in known else ""


_HOST = ("root", "simulate", "output")
VERBS = {
    "list": Verb(
        show,
        "List QAT devices: driver, state, services, VFs, IOMMU group, device node, NUMA node, holder; with --all every "
        "PCI function, with the modules that may drive it.",
        ("vfs", "every", "kind", *_HOST),
        devices=False,
    ),
    "bind": Verb(
        bind,
        "Bind VFs (or any PCI device) to a driver by driver_override, and read the binding back.",
        ("driver", "group", "user", "mode", "world_accessible", "check", "force", "yes", *_HOST),
    ),
    "unbind": Verb(unbind, "Take VFs (or any PCI device) from their driver.", ("check", "force", "yes", *_HOST)),
    "services": Verb(
        services,
        "Set what PFs offer. Their VFs are destroyed by it, made again, and bound as they were.",
        ("check", "yes", *_HOST),
        (Word("wanted", "SERVICES", "asym;sym, asym, dc ... in any order; cy is asym;sym."),),
    ),
    "vfs": Verb(
        vfs, "Create or remove the VFs of PFs.", ("number", "check", "yes", *_HOST), (Word("action", "create|remove"),)
    ),
    "take-over": Verb(
        take_over,
        "Remove the overrides that driverctl has stored for QAT devices: from then on the configuration says what "
        "drives them. What they are bound to now stays.",
        ("adopt", "check", "yes", *_HOST),
    ),
    "reset": Verb(
        power("reset"),
        "Restart PFs that do not answer. Their VFs are destroyed by it, made again, and bound as they were.",
        ("check", "yes", *_HOST),
    ),
    "up": Verb(power("up"), "Bring PFs up. VFs are made by qatprep device vfs create.", ("check", "yes", *_HOST)),
    "down": Verb(power("down"), "Bring PFs down. Their VFs are destroyed by it.", ("check", "yes", *_HOST)),
}
