"""qatprep device: the low-level verbs, through the same engine as bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from qatprep.cli.options import Output, OutputOption, RootOption, SimulateOption, YesOption
from qatprep.cli.session import Session
from qatprep.exits import ExitCode
from qatprep.host.base import Host

app = typer.Typer(no_args_is_help=True, help="List devices, set services, create and remove VFs, bind and unbind.")

Devices = Annotated[list[str], typer.Argument(metavar="BDF...", help="BDFs or globs of them; 6b:00.1 is 0000:6b:00.1.")]
CheckOption = Annotated[bool, typer.Option("--check", help="Only say what would change.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Take PFs, network interfaces and disks too.")]


@app.command("list")
def list_devices(
    ctx: typer.Context,
    vfs: Annotated[bool, typer.Option("--vfs/--no-vfs", help="Show each VF, or only the PFs.")] = True,
    every: Annotated[bool, typer.Option("--all", "-a", help="Show every PCI function of the host.")] = False,
    root: RootOption = "/",
    simulate: SimulateOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """Every QAT device: driver, state, services, VFs, IOMMU group, device node, NUMA node, holder."""
    from qatprep.facts import nodes, pci
    from qatprep.report import device as report

    session: Session = ctx.obj
    host = session.host(root, simulate)
    if every:
        functions = pci.everything(host)
        if output is Output.json:
            session.json(report.functions_document(host, functions))
        else:
            report.print_functions(session.console(), host, functions)
        return ExitCode.OK
    found = pci.gather(host)
    more = nodes.gather(host, found.all_vfs)
    if output is Output.json:
        session.json(report.devices_document(host, found, more))
    else:
        report.print_devices(session.console(), host, found, more, with_vfs=vfs)
    return ExitCode.OK


@app.command()
def bind(
    ctx: typer.Context,
    devices: Devices,
    driver: Annotated[str, typer.Option("--driver", metavar="NAME", help="The driver.")] = "vfio-pci",
    group: Annotated[str, typer.Option("--group", metavar="NAME", help="Give the device nodes to this group.")] = "",
    mode: Annotated[
        str, typer.Option("--mode", metavar="OCTAL", help="Mode of the device nodes, with --group.")
    ] = "0660",
    check: CheckOption = False,
    force: ForceOption = False,
    yes: YesOption = False,
    root: RootOption = "/",
    simulate: SimulateOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """Bind VFs (or any PCI device) to a driver by driver_override, and read the binding back."""
    from qatprep.errors import InputError
    from qatprep.steps import device as steps

    try:
        bits = int(mode, 8)
    except ValueError:
        bits = -1
    if not 0 <= bits <= 0o777:
        raise InputError(f"--mode {mode!r} is not an octal mode", "for example --mode 0660")
    if not driver:
        raise InputError("--driver '' names no driver", "qatprep device unbind takes devices from theirs")
    return _run(
        ctx, devices, root, simulate, output, check=check, yes=yes, command="device bind",
        plan=lambda host, chosen: steps.bind(host, chosen, driver, group=group, mode=bits, force=force),
    )  # fmt: skip


@app.command()
def unbind(
    ctx: typer.Context,
    devices: Devices,
    check: CheckOption = False,
    force: ForceOption = False,
    yes: YesOption = False,
    root: RootOption = "/",
    simulate: SimulateOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """Take VFs (or any PCI device) from their driver."""
    from qatprep.steps import device as steps

    return _run(
        ctx, devices, root, simulate, output, check=check, yes=yes, command="device unbind",
        plan=lambda host, chosen: steps.bind(host, chosen, "", force=force),
    )  # fmt: skip


@app.command()
def services(
    ctx: typer.Context,
    wanted: Annotated[
        str, typer.Argument(metavar="SERVICES", help="asym;sym, asym, dc ... in any order; cy is asym;sym.")
    ],
    devices: Devices,
    check: CheckOption = False,
    yes: YesOption = False,
    root: RootOption = "/",
    simulate: SimulateOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """Set what PFs offer. Their VFs are destroyed by it, made again, and bound as they were."""
    from qatprep.devices import parse_services
    from qatprep.errors import InputError
    from qatprep.steps import device as steps

    try:
        tokens = parse_services(wanted)
    except ValueError as e:
        raise InputError(f"services {wanted!r}: {e}") from None
    return _run(
        ctx, devices, root, simulate, output, check=check, yes=yes, command="device services",
        plan=lambda host, chosen: steps.services(host, chosen, tokens), pfs=True,
    )  # fmt: skip


@app.command()
def vfs(
    ctx: typer.Context,
    action: Annotated[str, typer.Argument(metavar="create|remove")],
    devices: Devices,
    count: Annotated[int | None, typer.Option("--count", min=1, help="Not for QAT, which makes all or none.")] = None,
    check: CheckOption = False,
    yes: YesOption = False,
    root: RootOption = "/",
    simulate: SimulateOption = "",
    output: OutputOption = Output.human,
) -> ExitCode:
    """Create or remove the VFs of PFs."""
    from qatprep.errors import InputError
    from qatprep.steps import device as steps

    if action not in ("create", "remove"):
        raise InputError(f"{action!r} is neither create nor remove", "qatprep device vfs create 6b:00.0")
    return _run(
        ctx, devices, root, simulate, output, check=check, yes=yes, command=f"device vfs {action}",
        plan=lambda host, chosen: steps.vfs(host, chosen, count if action == "create" else 0), pfs=True,
    )  # fmt: skip


def _run(
    ctx: typer.Context,
    patterns: list[str],
    root: str,
    simulate: str,
    output: Output,
    *,
    check: bool,
    yes: bool,
    command: str,
    plan: Callable[[Host, Sequence[str]], object],
    pfs: bool = False,
) -> ExitCode:
    from qatprep.cli.ask import agreed
    from qatprep.cli.bootstrap import CODES
    from qatprep.cli.select import to_undo
    from qatprep.engine.bootstrap import Result, bootstrap
    from qatprep.steps.lanes import Plan

    session: Session = ctx.obj
    host = session.host(root, simulate)
    chosen = _chosen(host, patterns, pfs=pfs)

    def make(tried: frozenset[str]) -> Plan:
        made = plan(host, chosen)
        assert isinstance(made, Plan)
        return made

    def confirm(made: Plan) -> bool:
        return yes or host.simulated or not made.costs or agreed(made.costs, "Go on?")

    if check:
        made = make(frozenset())
        result = Result("refused" if made.refused else "unchanged" if made.empty else "planned", made)
    else:
        result = bootstrap(host, None, command=command, confirm=confirm, planner=make)
    session.code = CODES[result.status]
    if output is Output.json:
        from qatprep.report.plan import result_document

        session.json(result_document(result, host.label, "command line", check=check))
    else:
        from qatprep.report.lines import print_result

        print_result(session, result, to_undo(session, result.run, root, simulate))
    return session.code


def _chosen(host: Host, patterns: list[str], *, pfs: bool) -> list[str]:
    """The BDFs meant. A full BDF may be any PCI device; a glob means QAT devices only, VFs unless PFs are asked for."""
    if all(not any(c in pattern for c in "*?[") for pattern in patterns):
        from qatprep.cli.select import full

        return list(dict.fromkeys(full(pattern) for pattern in patterns))
    from qatprep.cli.select import matching
    from qatprep.facts import pci

    found = pci.gather(host)
    known = [pf.bdf for pf in found.pfs] if pfs else [vf.bdf for vf in found.all_vfs]
    exact = [pattern for pattern in patterns if not any(c in pattern for c in "*?[")]
    globs = [pattern for pattern in patterns if pattern not in exact]
    from qatprep.cli.select import full

    chosen = [full(pattern) for pattern in exact]
    return list(dict.fromkeys([*chosen, *matching(globs, known, "QAT PF" if pfs else "QAT VF")]))
