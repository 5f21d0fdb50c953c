"""A fix that is a command of qatprep works where it is given: run as pasted, on the simulated host it is given for."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from qatprep.exits import ExitCode
from qatprep.simulator.scenarios import scenarios
from tests.conftest import qatprep

CANNOT = {
    "vf-held": "would be taken away while in use",
    "pf-busy": "keep the device busy",
    "vm-with-containers": "there is no containerd here to prove it by",
}
"""What stops a fix on hosts whose story it is that somebody else is in the way, and on those without a containerd."""
RIGHT = (ExitCode.OK, ExitCode.FINDINGS, ExitCode.REBOOT)
"""What a fix may end with. 3: something else is still wrong, or the verb only looks."""


def fixes(name: str) -> Iterator[tuple[str, str]]:
    """Finding and command of everything that doctor says is to be pasted, and that is qatprep's own."""
    document = qatprep("doctor", "--simulate", name, "-o", "json").json
    for finding in document["findings"]:
        commands = [*finding["fix"], *([f"qatprep {finding['step']}"] if finding["step"] else [])]
        for command in commands:
            if command.startswith("qatprep "):
                yield finding["id"], command


@pytest.mark.parametrize("name", [host.name for host in scenarios()])
def test_a_fix_works_where_it_is_given(name: str) -> None:
    for finding, command in dict.fromkeys(fixes(name)):
        words = shlex.split(command)[1:]
        if words[0] != "explain" and "--simulate" not in words:
            words += ["--simulate", name]
        if words[0] in ("bootstrap", "device", "gen-conf", "rollback") and "--yes" not in words:
            words.append("--yes")
        called = qatprep(*words)
        if name in CANNOT and called.code not in RIGHT:
            assert CANNOT[name] in " ".join((called.out + called.err).split())
            continue
        assert called.code in RIGHT, (finding, command, called.code, called.out[-600:], called.err)
