"""Device nodes: who may open a VF."""

from __future__ import annotations

from collections.abc import Iterable

from qatprep.checks.base import Check, Context, Stage
from qatprep.checks.text import BOOTSTRAP, functions, no_vfio, some_vfs, unseen, vfs
from qatprep.facts.base import Unknown
from qatprep.facts.nodes import CONTAINER_NODE
from qatprep.facts.pci import DeviceNode, Vf
from qatprep.findings import Evidence, Finding, Status, failed
from qatprep.hardware import VFIO_DEV
from qatprep.text import plural

_ALL = 0o006
"""The bits by which everybody may read or write."""


def _mine(ctx: Context) -> list[Vf]:
    wanted = set(vfs(ctx))
    return [vf for vf in ctx.vfs if vf.bdf in wanted]


def _drivers(ctx: Context) -> set[str]:
    """What VFs are to be bound to."""
    configs = [ctx.config.of(pf) for pf in ctx.pfs] or [ctx.config.devices]
    return {config.driver for config in configs if config.vfs}


def _words(ctx: Context, node: DeviceNode) -> str:
    owner = "root" if node.uid == 0 else str(node.uid)
    return f"{owner}:{ctx.facts.nodes.group_name(node.gid)} {node.mode:04o}"


def _group(ctx: Context) -> Iterable[Finding]:
    gid = ctx.facts.nodes.gid(ctx.config.group)
    if isinstance(gid, Unknown):
        yield unseen("QP-NODE-004", f"cannot tell whether the group {ctx.config.group} exists", gid)
    elif gid is None:
        yield failed(
            "QP-NODE-004",
            f"the group {ctx.config.group}, which is to own the device nodes, does not exist",
            evidence=(Evidence("/etc/group", f"no {ctx.config.group}"),),
            cause="It was never created: qatlib's packages do when they are installed. Groups from a directory "
            "service are not read.",
            fix=(
                f"groupadd --system {ctx.config.group}",
                "Or name a group that exists: --set nodes.group=NAME",
            ),
            step=BOOTSTRAP,
        )


def _open_to_all(ctx: Context) -> Iterable[Finding]:
    every = _mine(ctx)
    groups: dict[str, list[Vf]] = {}
    for vf in every:
        if isinstance(vf.node, DeviceNode) and vf.node.mode & _ALL:
            groups.setdefault(_words(ctx, vf.node), []).append(vf)
    for access, mine in groups.items():
        bdfs = tuple(vf.bdf for vf in mine)
        configured = bool(ctx.config.mode & _ALL)
        mode = mine[0].node.mode if isinstance(mine[0].node, DeviceNode) else 0
        cause = (
            f"The configuration ({ctx.config.source}) says mode {ctx.config.mode:04o}."
            if configured
            else "They were opened to all users by chmod, as guides do (chmod a+rw /dev/vfio/*)."
            if mode & 0o002
            else "chmod a+r was used, as guides do. It opens the device nodes to all users for reading and still is "
            "not enough: VFIO is used through read and write."
        )
        yield Finding(
            "QP-NODE-002",
            Status.WARN if configured else Status.FAIL,
            f"every user of this host may open {some_vfs(ctx, bdfs)} ({access})",
            subjects=bdfs,
            evidence=_evidence(ctx, mine),
            cause=cause + " Every user and every container with the node can then use or block the device.",
            fix=("Name a mode without access for others: --set nodes.mode=0660",) if configured else _repair(ctx, mine),
            step="" if configured else BOOTSTRAP,
        )


def _owned(ctx: Context) -> Iterable[Finding]:
    every = _mine(ctx)
    gid = ctx.facts.nodes.gid(ctx.config.group)
    config = f"group {ctx.config.group} and mode {ctx.config.mode:04o}"
    missing = [vf for vf in every if vf.node is None]
    blind = [vf for vf in every if isinstance(vf.node, Unknown)]
    wrong: dict[str, list[Vf]] = {}
    for vf in every:
        if isinstance(vf.node, DeviceNode) and (
            vf.node.mode != ctx.config.mode or (not isinstance(gid, Unknown) and vf.node.gid != gid)
        ):
            wrong.setdefault(_words(ctx, vf.node), []).append(vf)
    for vf in blind[:1]:
        if isinstance(vf.node, Unknown):
            yield unseen("QP-NODE-001", "some device nodes cannot be read", vf.node, tuple(v.bdf for v in blind))
    if missing:
        bdfs = tuple(vf.bdf for vf in missing)
        yield failed(
            "QP-NODE-001",
            f"{some_vfs(ctx, bdfs)} {'has' if len(bdfs) == 1 else 'have'} no node below {VFIO_DEV}",
            subjects=bdfs,
            evidence=tuple(Evidence(f"{VFIO_DEV}/<group of {bdf}>", "not there") for bdf in bdfs),
            cause="The VF is bound, so the kernel has made its node in devtmpfs: this /dev is another one (a "
            "container's, or that of a recorded host), or something removed the node.",
            fix=("Check /dev of the host itself: with --root, or outside the container.", "udevadm trigger -s vfio"),
        )
    for access, mine in wrong.items():
        bdfs = tuple(vf.bdf for vf in mine)
        fresh = all(isinstance(vf.node, DeviceNode) and (vf.node.gid, vf.node.mode) == (0, 0o600) for vf in mine)
        yield failed(
            "QP-NODE-001",
            f"the {'node' if len(bdfs) == 1 else 'nodes'} of {some_vfs(ctx, bdfs)} "
            f"{'is' if len(bdfs) == 1 else 'are'} {access}, not of {config}",
            subjects=bdfs,
            evidence=_evidence(ctx, mine),
            cause="This is how the kernel makes them, at every boot, binding and making of VFs. Only root can use "
            "them so "
            '("No device found" for all others).'
            if fresh
            else "They were set differently by hand or by a udev rule.",
            fix=_repair(ctx, mine),
            step=BOOTSTRAP,
        )


def _evidence(ctx: Context, mine: list[Vf]) -> tuple[Evidence, ...]:
    return tuple(Evidence(vf.node.path, _words(ctx, vf.node)) for vf in mine if isinstance(vf.node, DeviceNode))


def _repair(ctx: Context, mine: list[Vf]) -> tuple[str, ...]:
    paths = [vf.node.path for vf in mine if isinstance(vf.node, DeviceNode)]
    mode = f"{ctx.config.mode:04o}"
    if len(paths) <= 16:
        joined = " ".join(paths)
        return (f"chgrp {ctx.config.group} {joined}", f"chmod {mode} {joined}")
    numbers = sorted(int(path.rsplit("/", 1)[1]) for path in paths if path.rsplit("/", 1)[1].isdecimal())
    others = [path for path in paths if not path.rsplit("/", 1)[1].isdecimal()]
    joined = " ".join((*(_names(first, last) for first, last in _runs(numbers)), *others))
    return (f"chgrp {ctx.config.group} {joined}", f"chmod {mode} {joined}")


def _names(first: int, last: int) -> str:
    return f"$(seq -f /dev/vfio/%g {first} {last})" if last > first else f"/dev/vfio/{first}"


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """First and last of each row of consecutive numbers."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def _container(ctx: Context) -> Iterable[Finding]:
    node = ctx.facts.nodes.container
    gid = ctx.facts.nodes.gid(ctx.config.group)
    if isinstance(node, Unknown):
        yield unseen("QP-NODE-003", f"cannot read {CONTAINER_NODE}", node)
    elif node is None:
        yield failed(
            "QP-NODE-003",
            f"{CONTAINER_NODE} is not there",
            evidence=(Evidence(CONTAINER_NODE, "not there"),),
            cause="The VFs are bound, so the module vfio is loaded and the kernel has made the node: this /dev is "
            "another one, or the kernel was built without CONFIG_VFIO_CONTAINER.",
            fix=("modprobe vfio", "udevadm trigger -s misc"),
        )
    else:
        ours = not isinstance(gid, Unknown) and node.gid == gid and node.mode & 0o060 == 0o060
        if not ours and node.mode & _ALL != _ALL:
            yield failed(
                "QP-NODE-003",
                f"only root may use {CONTAINER_NODE} ({_words(ctx, node)})",
                evidence=(Evidence(node.path, _words(ctx, node)),),
                cause="The kernel makes it 0666, which is safe: it gives access to no device by itself. A udev or "
                "tmpfiles rule, or a hardening script, closed it. Every program that opens a VF needs it too.",
                fix=(
                    f"chmod 0666 {CONTAINER_NODE}",
                    "Find the rule, or it will be back: grep -r vfio /etc/udev /etc/tmpfiles.d",
                ),
            )


CHECKS = (
    Check(
        "QP-NODE-004",
        Stage.NODES,
        _group,
        needs=("QP-STACK-001", "QP-DEV-001", "QP-DEV-003"),
        applies=lambda ctx: bool(_drivers(ctx) - {"none"}),
        absent=no_vfio,
        saw=lambda ctx: f"group {ctx.config.group} exists",
        about=functions,
    ),
    Check(
        "QP-NODE-002",
        Stage.NODES,
        _open_to_all,
        needs=("QP-VFIO-001",),
        about=vfs,
    ),
    Check(
        "QP-NODE-001",
        Stage.NODES,
        _owned,
        needs=("QP-VFIO-001", "QP-NODE-002", "QP-NODE-004"),
        about=vfs,
        saw=lambda ctx: (
            f"{len(_mine(ctx))} of {plural(len(ctx.vfs), 'device node')} root:{ctx.config.group} {ctx.config.mode:04o}"
        ),
    ),
    Check(
        "QP-NODE-003",
        Stage.NODES,
        _container,
        needs=("QP-VFIO-001",),
        about=vfs,
    ),
)
