"""The files that make a node so again at every boot: rendered from the configuration, and compared with what is
there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from qatprep.facts import persist as facts
from qatprep.facts.base import Unknown
from qatprep.facts.persist import PersistFacts

if TYPE_CHECKING:
    from qatprep.config import NodeConfig


@dataclass(frozen=True)
class File:
    """One file to install."""

    path: str
    text: str
    mode: int = 0o644
    purpose: str = ""
    """What it is for, in short."""

    @property
    def unit(self) -> str:
        """The unit that it is, "" for other files."""
        return self.path.rsplit("/", 1)[-1] if self.path.startswith(facts.SYSTEMD_DIR) else ""

    @property
    def wanted_by(self) -> str:
        """The target that pulls it in at boot, "" where nothing does by itself."""
        return facts.WANTED_BY.get(self.path, "")


Trouble = Literal["missing", "differs", "foreign", "disabled", "unseen"]


@dataclass(frozen=True)
class Gap:
    """A file that is not as it should be."""

    file: File
    trouble: Trouble
    why: str


def files(config: NodeConfig, program: tuple[str, ...]) -> tuple[File, ...]:
    """Everything that is installed for a configuration, in the order of installation. `program` is how qatprep is
    called.
    """
    from qatprep.persist import host_files, units

    wanted = [
        File(facts.MODULES, host_files.modules_load(config), purpose="modules that no hardware asks for"),
        File(facts.SYSUSERS, host_files.sysusers(config), purpose=f"the group {config.group}"),
        File(
            facts.HELPER, host_files.helper(), 0o755, "names for udev the VFIO device nodes that are those of QAT VFs"
        ),
        File(facts.RULES, host_files.rules(config), purpose="group and mode of the VFs' nodes whenever they appear"),
        File(facts.APPLY, units.apply(program), purpose="prepares the devices before containers start"),
    ]
    if config.metrics:
        wanted += [
            File(facts.METRICS_SERVICE, units.metrics_service(program, config.metrics), purpose="writes the metrics"),
            File(facts.METRICS_TIMER, units.metrics_timer(), purpose="writes the metrics every five minutes"),
        ]
    return tuple(wanted)


def standalone_files(config: NodeConfig) -> tuple[File, ...]:
    """The same for hosts without qatprep: a shell script does the work."""
    from qatprep.persist import shell_script, units

    unit = File(
        facts.APPLY, units.apply_unit(("/bin/sh", facts.SCRIPT)), purpose="prepares the devices before containers"
    )
    script = File(facts.SCRIPT, shell_script.script(config), 0o755, "what the unit runs")
    return (*(file for file in files(config, ("/usr/bin/qatprep",)) if not file.unit), script, unit)


def config_file(config: NodeConfig, text: str | None) -> File | None:
    """The configuration for the next boot, where the host's own file (`text`, None when there is none) says
    otherwise.
    """
    from qatprep.config import NodeConfig, parse
    from qatprep.errors import InputError
    from qatprep.persist import host_files

    try:
        other = parse(text, facts.CONFIG) if text is not None else NodeConfig()
    except InputError:
        other = None
    if other is not None and same(other, config):
        return None
    return File(
        facts.CONFIG, host_files.config_text(config), purpose="what was asked for, to hold at the next boot as well"
    )


def same(one: NodeConfig, other: NodeConfig) -> bool:
    """Whether two configurations make the same node, wherever they come from."""
    return replace(one, smoke=True, source="", document={}) == replace(other, smoke=True, source="", document={})


def gaps(found: PersistFacts, config: NodeConfig) -> tuple[Gap, ...]:
    """Where the files on a host differ from those that the configuration asks for; () when nothing is missing."""
    # A unit whose program is there keeps it: two installations must not take turns.
    program = found.starts if found.starts_there is True and not found.starts_doubt else found.program
    wanted = list(files(config, program))
    asked = config_file(config, found.text(facts.CONFIG))
    if asked is not None:
        wanted.insert(0, asked)
    return tuple(gap for file in wanted if (gap := _gap(found, file)) is not None)


def _gap(found: PersistFacts, file: File) -> Gap | None:
    now = found.files.get(file.path)
    if isinstance(now, Unknown):
        return Gap(file, "unseen", now.reason)
    if now is None:
        return Gap(file, "missing", "not there")
    if not facts.is_ours(now):
        return Gap(file, "foreign", "a file of another user")
    if now != file.text or found.modes.get(file.path, file.mode) != file.mode:
        return Gap(file, "differs", "not as this qatprep writes it for this configuration")
    enabled = found.enabled.get(file.path, True)
    if isinstance(enabled, Unknown):
        return Gap(file, "unseen", enabled.reason)
    return None if enabled else Gap(file, "disabled", "not enabled")
