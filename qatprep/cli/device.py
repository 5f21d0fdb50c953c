"""qatprep device: the low-level verbs as typer declares them; what they do is in qatprep.cli.devices."""

from __future__ import annotations

from typing import Annotated

import typer

from qatprep.cli import devices as verbs
from qatprep.cli.options import Output, OutputOption, RootOption, SimulateOption, YesOption
from qatprep.exits import ExitCode

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
    return verbs.show(ctx.obj, [], vfs=vfs, every=every, root=root, simulate=simulate, output=output)


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
    return verbs.bind(
        ctx.obj, devices, driver=driver, group=group, mode=mode, check=check, force=force, yes=yes, root=root,
        simulate=simulate, output=output,
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
    return verbs.unbind(
        ctx.obj, devices, check=check, force=force, yes=yes, root=root, simulate=simulate, output=output
    )


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
    return verbs.services(
        ctx.obj, [wanted, *devices], check=check, yes=yes, root=root, simulate=simulate, output=output
    )


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
    return verbs.vfs(
        ctx.obj, [action, *devices], count=count, check=check, yes=yes, root=root, simulate=simulate, output=output
    )
