"""Programs of this machine, as LinuxHost starts them."""

from __future__ import annotations

import pytest

from qatprep.host.linux import LinuxHost


@pytest.mark.parametrize(
    ("argv", "rc", "stdout", "stderr"),
    [
        (["cat"], 0, "", ""),  # nothing to read
        (["sh", "-c", "echo out; echo err >&2; exit 3"], 3, "out\n", "err\n"),
        (["sh", "-c", "kill -9 $$"], 137, "", ""),
        (["sh", "-c", "echo $LC_ALL"], 0, "C\n", ""),
        (["no-such-program"], 127, "", "no-such-program: not found in /usr/sbin:/usr/bin:/sbin:/bin"),
    ],
)
def test_how_it_ends(argv: list[str], rc: int, stdout: str, stderr: str) -> None:
    result = LinuxHost().run(argv)
    assert (result.rc, result.stdout.raw, result.stderr.raw) == (rc, stdout, stderr)


def test_one_that_does_not_end_is_ended() -> None:
    result = LinuxHost().run(["sh", "-c", "sleep 600; true"], deadline=0.3)
    assert result.rc == 124 and "0.3 seconds" in result.stderr


def test_a_signal_to_our_terminal_is_not_for_it() -> None:
    """It leads a session of its own, so the terminal's Ctrl-C does not reach it."""
    result = LinuxHost().run(["sh", "-c", "cat /proc/$$/stat"])
    pid, _, _, _, _, session, *_ = result.stdout.raw.split()
    assert session == pid
