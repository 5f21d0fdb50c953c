"""Whether the node will be so again after the next boot."""

from __future__ import annotations

from collections.abc import Iterable

from qatprep import persist
from qatprep.checks.base import Check, Context, Stage
from qatprep.checks.text import BOOTSTRAP, unseen
from qatprep.facts import persist as facts_of
from qatprep.facts.base import Unknown
from qatprep.findings import Evidence, Finding, failed, warned

_UNIT = "qatprep-apply.service"


def _wanted(ctx: Context) -> bool:
    """Whether this host is to be prepared at every boot: the plan asks the same (plan/persistence.py)."""
    found = ctx.facts.persist
    if ctx.config.persist is False or not ctx.facts.has_qat:
        return False
    return ctx.config.persist is True or (found.systemd is True and bool(found.program))


def _lasting(ctx: Context) -> Iterable[Finding]:
    found = ctx.facts.persist
    if isinstance(found.systemd, Unknown):
        yield unseen("QP-PERS-001", "cannot see whether systemd runs this host", found.systemd)
        return
    if not found.systemd:
        yield warned(
            "QP-PERS-001",
            "nothing can prepare this node at boot: it does not run systemd",
            evidence=(Evidence(facts_of.BOOTED, "not there"),),
            cause=f"The configuration ({ctx.config.source}) says persist: true, and what prepares a node at boot is a "
            "unit of systemd.",
            fix=("Run at boot, by what this host has for it: qatprep bootstrap --yes", "Or say --set persist=false."),
        )
        return
    if not found.program:
        yield warned(
            "QP-PERS-001",
            "nothing can prepare this node at boot: there is no qatprep on it",
            evidence=(Evidence(facts_of.APPLY, "there" if found.text(facts_of.APPLY) else "not there"),),
            cause="The configuration asks for it, and the unit would have to start a program of this host.",
            fix=("Install qatprep on the host itself, as /usr/bin/qatprep.", "Or say --set persist=false."),
        )
        return
    if found.doubt:
        yield warned(
            "QP-PERS-001",
            "nothing prepares this node at boot: others than root can change this qatprep",
            evidence=(Evidence(" ".join(found.program), found.doubt),),
            cause="The unit at boot runs as root. A user who can change the program, its interpreter or its packages "
            "would be root at the next boot, so no unit is installed for it.",
            fix=(
                "Install qatprep for the whole host: the Debian package, or the single file as root's in "
                "/usr/local/bin; then run that one.",
                "Or say --set persist=false.",
            ),
        )
        return
    gaps = persist.gaps(found, ctx.config)
    blind = [gap for gap in gaps if gap.trouble == "unseen"]
    foreign = [gap for gap in gaps if gap.trouble == "foreign"]
    fixable = [gap for gap in gaps if gap not in blind and gap not in foreign]
    for gap in blind[:1]:
        fact = found.files[gap.file.path]
        yield unseen("QP-PERS-001", f"cannot read {gap.file.path}", _reason(fact, gap.why))
    for gap in foreign:
        if gap.file.path == facts_of.CONFIG:
            yield warned(
                "QP-PERS-001",
                f"at the next boot {gap.file.path} holds, which says otherwise than what is asked for now",
                evidence=(Evidence(gap.file.path, "says otherwise"),),
                cause=f"What is asked for now comes from {ctx.config.source} and the command line; the unit at boot "
                f"reads {gap.file.path}. It is not qatprep's own file, and is left as it is.",
                fix=(f"Write what you want into {gap.file.path}.",),
            )
        else:
            yield warned(
                "QP-PERS-001",
                f"{gap.file.path} belongs to another user",
                evidence=(Evidence(gap.file.path, f"does not say {facts_of.MARKER!r} at its head"),),
                cause="qatprep replaces only files of its own, so what belongs there is not installed.",
                fix=(f"mv {gap.file.path} {gap.file.path}.before-qatprep", f"qatprep {BOOTSTRAP}"),
            )
    if fixable:
        unit = next((gap for gap in fixable if gap.file.path == facts_of.APPLY), None)
        yield warned(
            "QP-PERS-001",
            "after the next boot the devices will be as the kernel makes them, not as configured"
            if unit
            else "after the next boot not all will be as configured",
            evidence=tuple(Evidence(gap.file.path, gap.why) for gap in fixable),
            cause="Services, VFs, bindings and the nodes' modes are lost at every boot, and nothing sets them again."
            if unit
            else "Some of the files by which qatprep sets up the node at boot are missing or not as this version "
            "writes them for this configuration.",
            fix=("Or say that it is done by other means: persist: false in the configuration.",),
            step=BOOTSTRAP,
        )


def _reason(fact: object, why: str) -> Unknown:
    return fact if isinstance(fact, Unknown) else Unknown(why)


def _program(ctx: Context) -> Iterable[Finding]:
    found = ctx.facts.persist
    program = found.starts[0] if found.starts else ""
    if found.starts_doubt:
        yield failed(
            "QP-PERS-002",
            f"{_UNIT} runs as root what others can change",
            evidence=(
                Evidence(facts_of.APPLY, f"ExecStart={' '.join(found.starts)}"),
                Evidence(program, found.starts_doubt),
            ),
            cause="A user who can change the program is root at the next boot.",
            fix=("systemctl disable qatprep-apply.service", "Install qatprep for the whole host, then:"),
            step=BOOTSTRAP,
        )
    elif isinstance(found.starts_there, Unknown):
        yield unseen("QP-PERS-002", f"cannot see whether {program} is there", found.starts_there)
    elif not found.starts_there:
        what = f"{program} is not there, or cannot be run" if program else "its ExecStart= names no program"
        yield failed(
            "QP-PERS-002",
            f"{_UNIT} will fail at the next boot: {what}",
            evidence=(
                Evidence(facts_of.APPLY, f"ExecStart={' '.join(found.starts)}"),
                Evidence(program or facts_of.APPLY, "not a file that can be run"),
            ),
            cause="qatprep was removed or moved since the unit was installed (a virtual environment that was "
            "recreated, a package that was replaced).",
            fix=("Or, to be rid of it: systemctl disable qatprep-apply.service",),
            step=BOOTSTRAP,
        )


def _not_wanted(ctx: Context) -> str:
    return "persist: false in the configuration" if ctx.config.persist is False else "no qatprep installed on this host"


_NEEDS = ("QP-STACK-001", "QP-DEV-001", "QP-DEV-003")

CHECKS = (
    Check(
        "QP-PERS-001",
        Stage.PERSISTENCE,
        _lasting,
        needs=_NEEDS,
        applies=_wanted,
        absent=_not_wanted,
        saw=lambda ctx: f"{_UNIT} is enabled",
    ),
    Check(
        "QP-PERS-002",
        Stage.PERSISTENCE,
        _program,
        applies=lambda ctx: ctx.facts.persist.text(facts_of.APPLY) is not None,
        absent=lambda ctx: f"no {_UNIT}",
        looked=lambda ctx: f"{_UNIT} starts {' '.join(ctx.facts.persist.starts)}",
    ),
)
