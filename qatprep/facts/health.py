"""Whether PFs answer: the heartbeat of their firmware, and the errors that their driver counted since it started them.

Heartbeat: qat_common/adf_heartbeat.c, adf_heartbeat_dbgfs.c (6.6). Each read of heartbeat/status is a query; a device
fails it when nothing has moved in three queries after the first. Asked again within HeartbeatTimer the driver answers
-1 although the device is well, logs "HB polling too frequent" and counts no query, and the device plugin, which asks
every five seconds and takes that -1 for dead, calls its VFs unhealthy. So the queries are spaced, and none is made
where a device plugin makes them already: its failures are counted in queries_failed, which reading does not change.

Errors: qat_common/adf_sysfs_ras_counters.c (6.7).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from qatprep.facts.base import DeviceFiles, Unknown, whole
from qatprep.facts.log import LogFacts, LogLine
from qatprep.facts.pci import Pf
from qatprep.hardware import DEBUGFS
from qatprep.host.base import Host

QUERIES = 4
"""One to compare with, and ADF_CFG_HB_COUNT_THRESHOLD (3) at which nothing has moved: adf_heartbeat.h."""
_TIMER = 500
"""Milliseconds between queries where the driver does not tell: ADF_CFG_HB_TIMER_DEFAULT_MS, adf_heartbeat.h."""
_SPARE = 50
"""Milliseconds more than that: the driver compares clocks of its own."""
_LONGEST = 5000
FATAL = "errors_fatal"
COUNTERS = ("errors_correctable", "errors_nonfatal", FATAL)


class Health(NamedTuple):
    """What is known of one PF. None: this kernel does not tell, the PF is down, or nobody may ask."""

    status: str | None = None
    """What heartbeat/status answered last: "0" or "-1"."""
    failed: int | None = None
    """heartbeat/queries_failed: queries that the device did not answer since its driver started it."""
    errors: Mapping[str, int] = MappingProxyType({})
    """By name of COUNTERS, those above 0 since the driver started the PF."""

    @property
    def beats(self) -> bool | None:
        """Whether the firmware answers its heartbeat. A -1 without a failed query was asked for too early."""
        if self.status == "0":
            return True
        return False if self.failed else None


class HealthFacts(NamedTuple):
    pfs: Mapping[str, Health]
    """By BDF, the PFs whose driver runs."""

    def of(self, bdf: str) -> Health:
        return self.pfs.get(bdf, Health())


class Sign(NamedTuple):
    """One thing that says that a PF does not answer."""

    path: str
    value: str
    cold: bool = False
    """Whether only a cold reset (power off and on) helps."""


def running(pf: Pf) -> bool:
    """Whether a PF's own driver has it and has started it."""
    return pf.driver == pf.family.driver and pf.state in ("up", None)


def gather(host: Host, pfs: tuple[Pf, ...], files: DeviceFiles, *, polled: bool) -> HealthFacts:
    """Ask each running PF. `polled`: something on this host asks for the heartbeat already, so nothing is asked.

    Takes a second on a host whose debugfs may be read, none on others.
    """
    mine = [pf for pf in pfs if pf.family.supported and running(pf)]
    files.fetch(counter(pf, name) for pf in mine for name in COUNTERS)
    statuses = {} if polled else _ask(host, mine, files)
    if host.euid == 0:
        files.fetch(heartbeat(pf, "queries_failed") for pf in mine)
    return HealthFacts({pf.bdf: _health(host, pf, files, statuses.get(pf.bdf)) for pf in mine})


def heartbeat(pf: Pf, name: str) -> str:
    """Path of one file of a PF's heartbeat."""
    return f"{DEBUGFS}/qat_{pf.family.driver}_{pf.bdf}/heartbeat/{name}"


def counter(pf: Pf, name: str) -> str:
    """Path of one of a PF's error counters."""
    return pf.attribute(f"qat_ras/{name}")


def _ask(host: Host, pfs: list[Pf], files: DeviceFiles) -> dict[str, str]:
    """The answer to the last of QUERIES queries, by BDF; those who cannot be asked are left out."""
    if host.euid != 0:
        return {}
    files.fetch(heartbeat(pf, name) for pf in pfs for name in ("queries_sent", "config"))
    pfs = [pf for pf in pfs if _count(files, heartbeat(pf, "queries_sent")) is not None]
    if not pfs:
        return {}
    asked = {heartbeat(pf, "status"): pf.bdf for pf in pfs}
    known = [_count(files, heartbeat(pf, "config")) for pf in pfs]
    spacing = (min(max(_TIMER if value is None else value for value in known), _LONGEST) + _SPARE) / 1000
    answers: dict[str, str] = {}
    for _ in range(QUERIES):
        host.sleep(spacing)
        files.forget(asked)
        files.fetch(asked)
        for path, bdf in asked.items():
            answer = files.line(path)
            if isinstance(answer, str):
                answers[bdf] = answer.strip()
    return answers


def _health(host: Host, pf: Pf, files: DeviceFiles, status: str | None) -> Health:
    counts = {name: files.number(counter(pf, name)) for name in COUNTERS}
    errors = {name: value for name, value in counts.items() if isinstance(value, int) and value > 0}
    failed = _count(files, heartbeat(pf, "queries_failed")) if host.euid == 0 else None
    return Health(status, failed, MappingProxyType(errors))


def _count(files: DeviceFiles, path: str) -> int | None:
    """A number in debugfs, where a NUL byte follows the line (adf_heartbeat_dbgfs.c); None where it cannot be had."""
    text = files.line(path)
    return whole(text.strip()) if isinstance(text, str) else None


def signs_of_death(pf: Pf, health: Health, log: LogFacts) -> tuple[Sign, ...]:
    """Why a PF that its driver takes for started does not answer; () when nothing says so."""
    if not running(pf):
        return ()
    signs: list[Sign] = []
    if health.beats is False:
        asked = health.status is not None
        value = health.status if health.status is not None else str(health.failed)
        signs.append(Sign(heartbeat(pf, "status" if asked else "queries_failed"), value))
    if fatal := health.errors.get(FATAL):
        signs.append(Sign(counter(pf, FATAL), str(fatal)))
    standing, _ = _last_words(pf, log)
    if health.beats:
        standing.pop("heartbeat-lost", None)  # it beats again
    signs += [Sign("kernel log", line.text, key == "cold-reset") for key, line in standing.items()]
    return tuple(signs)


def recovered(pf: Pf, log: LogFacts) -> tuple[LogLine, ...]:
    """Lines by which the driver gave up a PF that it has started again since: programs lost what they had in flight."""
    return tuple(_last_words(pf, log)[1].values()) if running(pf) else ()


def _last_words(pf: Pf, log: LogFacts) -> tuple[dict[str, LogLine], dict[str, LogLine]]:
    """Lines by which the driver gave a PF up, the newest of each kind: those after its last start, and those before.

    A start does not clear what takes a cold reset.
    """
    standing: dict[str, LogLine] = {}
    past: dict[str, LogLine] = {}
    for line in () if isinstance(log.lines, Unknown) else log.lines:
        if line.bdf != pf.bdf:
            continue
        if line.key == "started":
            past |= {key: standing.pop(key) for key in list(standing) if key != "cold-reset"}
        elif line.key in ("hang", "cold-reset", "reset-failed", "heartbeat-lost"):
            standing[line.key] = line
    return standing, past
