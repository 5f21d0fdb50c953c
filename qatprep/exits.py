"""What the exit status of every qatprep command means. Frozen: numbers are never reused or changed."""

from enum import IntEnum


class ExitCode(IntEnum):
    OK = 0
    """Done, or nothing to do."""
    ERROR = 1
    """An operation failed; nothing on the host was changed by it."""
    USAGE = 2
    """The command line, the configuration or an input file is wrong (click's own number for usage errors)."""
    FINDINGS = 3
    """The command worked; the node is NOT READY, or changes are pending (plan, status, --check)."""
    ROLLED_BACK = 4
    """A change failed and everything done before it was undone: what the run changed is as it was."""
    PARTIAL = 5
    """A change failed and not everything could be undone: the output names what was not undone."""
    REBOOT = 6
    """What is listed as remaining (restarts, pods to be recreated, a reboot) clears all that failed."""
    NEEDS_ROOT = 7
    """Nothing was done: this needs root."""
    LOCKED = 8
    """Nothing was done: another qatprep holds the lock on this host."""
    INTERRUPTED = 130
    """Ctrl-C (128 + SIGINT, as shells count)."""


OF_STATUS = {
    "unchanged": ExitCode.OK,
    "declined": ExitCode.OK,
    "unconfirmed": ExitCode.USAGE,
    "applied": ExitCode.OK,
    "planned": ExitCode.FINDINGS,
    "refused": ExitCode.ERROR,
    "rolled back": ExitCode.ROLLED_BACK,
    "interrupted": ExitCode.INTERRUPTED,
    "partial": ExitCode.PARTIAL,
}
"""By how a run of changes ended (engine.bootstrap.Status)."""
