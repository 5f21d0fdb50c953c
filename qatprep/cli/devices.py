"""What the verbs of `qatprep device` do. Nothing here loads typer: it is also called without (qatprep.cli.shortcut).

The words are those of the command line after the verb; keywords and their defaults are its options.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qatprep.exits import OF_STATUS, ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qatprep.cli.session import Session
    from qatprep.host.base import Host
    from qatprep.plan.model import Plan


def show(
    session: Session,
    words: list[str],
    *,
    vfs: bool = True,
    every: bool = False,
    root: str = "/",
    simulate: str = "",
    output: str = "human",
) -> ExitCode:
    """qatprep device list"""
    from qatprep.facts import nodes, pci
    from qatprep.report import device as report

    host = session.host(root, simulate)
    if every:
        functions = pci.everything(host)
        if output == "json":
            session.json(report.functions_document(host, functions))
        else:
            report.print_functions(session.console(), host, functions)
        return ExitCode.OK
    found = pci.gather(host)
    more = nodes.gather(host, found.all_vfs)
    if output == "json":
        session.json(report.devices_document(host, found, more))
    else:
        report.print_devices(session.console(), host, found, more, with_vfs=vfs)
    return ExitCode.OK


def bind(
    session: Session,
    words: list[str],
    *,
    driver: str = "vfio-pci",
    group: str = "",
    mode: str = "0660",
    check: bool = False,
    force: bool = False,
    yes: bool = False,
    root: str = "/",
    simulate: str = "",
    output: str = "human",
) -> ExitCode:
    """qatprep device bind BDF..."""
    from qatprep.errors import InputError
    from qatprep.plan import bind as steps

    try:
        bits = int(mode, 8)
    except ValueError:
        bits = -1
    if not 0 <= bits <= 0o777:
        raise InputError(f"--mode {mode!r} is not an octal mode", "for example --mode 0660")
    if not driver:
        raise InputError("--driver '' names no driver", "qatprep device unbind takes devices from theirs")
    return _run(
        session, words, root, simulate, output, check=check, yes=yes, command="device bind",
        plan=lambda host, chosen: steps.bind(host, chosen, driver, group=group, mode=bits, force=force),
    )  # fmt: skip


def unbind(
    session: Session,
    words: list[str],
    *,
    check: bool = False,
    force: bool = False,
    yes: bool = False,
    root: str = "/",
    simulate: str = "",
    output: str = "human",
) -> ExitCode:
    """qatprep device unbind BDF..."""
    from qatprep.plan import bind as steps

    return _run(
        session, words, root, simulate, output, check=check, yes=yes, command="device unbind",
        plan=lambda host, chosen: steps.bind(host, chosen, "", force=force),
    )  # fmt: skip


def services(
    session: Session,
    words: list[str],
    *,
    check: bool = False,
    yes: bool = False,
    root: str = "/",
    simulate: str = "",
    output: str = "human",
) -> ExitCode:
    """qatprep device services SERVICES BDF..."""
    from qatprep.errors import InputError
    from qatprep.hardware import parse_services
    from qatprep.plan import pfs as steps

    wanted, *devices = words
    try:
        tokens = parse_services(wanted)
    except ValueError as e:
        raise InputError(f"services {wanted!r}: {e}") from None
    return _run(
        session, devices, root, simulate, output, check=check, yes=yes, command="device services",
        plan=lambda host, chosen: steps.services(host, chosen, tokens), pfs=True,
    )  # fmt: skip


def vfs(
    session: Session,
    words: list[str],
    *,
    count: int | None = None,
    check: bool = False,
    yes: bool = False,
    root: str = "/",
    simulate: str = "",
    output: str = "human",
) -> ExitCode:
    """qatprep device vfs create|remove BDF..."""
    from qatprep.errors import InputError
    from qatprep.plan import pfs as steps

    action, *devices = words
    if action not in ("create", "remove"):
        raise InputError(f"{action!r} is neither create nor remove", "qatprep device vfs create 6b:00.0")
    return _run(
        session, devices, root, simulate, output, check=check, yes=yes, command=f"device vfs {action}",
        plan=lambda host, chosen: steps.vfs(host, chosen, count if action == "create" else 0), pfs=True,
    )  # fmt: skip


def _run(
    session: Session,
    patterns: list[str],
    root: str,
    simulate: str,
    output: str,
    *,
    check: bool,
    yes: bool,
    command: str,
    plan: Callable[[Host, Sequence[str]], Plan],
    pfs: bool = False,
) -> ExitCode:
    from qatprep.cli.ask import agreed
    from qatprep.cli.select import to_undo
    from qatprep.engine.bootstrap import Result, bootstrap

    host = session.host(root, simulate)
    chosen = _chosen(host, patterns, pfs=pfs)

    def make(tried: frozenset[str]) -> Plan:
        return plan(host, chosen)

    def confirm(made: Plan) -> bool:
        return yes or host.simulated or not made.costs or agreed(made.costs, "Go on?")

    if check:
        made = make(frozenset())
        result = Result("refused" if made.refused else "unchanged" if made.empty else "planned", made)
    else:
        result = bootstrap(host, None, command=command, confirm=confirm, planner=make)
    session.code = OF_STATUS[result.status]
    if output == "json":
        from qatprep.report.plan import result_document

        session.json(result_document(result, host.label, "command line", check=check))
    else:
        from qatprep.report.lines import print_result

        print_result(session, result, to_undo(session, result.run, root, simulate))
    return session.code


def _chosen(host: Host, patterns: list[str], *, pfs: bool) -> list[str]:
    """The BDFs meant. A full BDF may be any PCI device; a glob means QAT devices only, VFs unless PFs are asked for."""
    from qatprep.cli.select import full, matching

    globs = [pattern for pattern in patterns if any(c in pattern for c in "*?[")]
    chosen = [full(pattern) for pattern in patterns if pattern not in globs]
    if globs:
        from qatprep.facts import pci

        found = pci.gather(host)
        known = [pf.bdf for pf in found.pfs] if pfs else [vf.bdf for vf in found.all_vfs]
        chosen += matching(globs, known, "QAT PF" if pfs else "QAT VF")
    return list(dict.fromkeys(chosen))
