"""A fix that is a command of qatprep works where it is given: run as pasted, on the simulated host it is given for."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from qatprep.cli.app import VERBS
from qatprep.exits import ExitCode
from qatprep.simulator.scenarios import scenarios
from tests.conftest import qatprep, some

CANNOT = {
    "vm-with-containers": "there is no containerd here to prove it by",
}
"""What stops a fix on hosts without a containerd."""
RIGHT = (ExitCode.OK, ExitCode.FINDINGS, ExitCode.REBOOT)
"""What a fix may end with. 3: something else is still wrong, or the verb only looks."""
ANYWHERE = ("explain", "render", "inspect")
"""Verbs that look at no host."""


def fixes(name: str) -> Iterator[tuple[str, str]]:
    """Finding and command of everything that doctor says is to be pasted, and that is qatprep's own."""
    document = qatprep("doctor", "--simulate", name, "-o", "json").json
    for finding in document["findings"]:
        commands = [*finding["fix"], *([f"qatprep {finding['step']} --simulate {name}"] if finding["step"] else [])]
        for command in commands:
            if command.startswith("qatprep "):
                yield finding["id"], command


@pytest.mark.parametrize("name", some((host.name for host in scenarios()), 2, 1))
def test_a_fix_works_where_it_is_given(name: str) -> None:
    for finding, command in dict.fromkeys(fixes(name)):
        words = shlex.split(command.partition(" > ")[0])[1:]
        assert words[0] in VERBS, command
        assert words[0] in ANYWHERE or words[-2:] == ["--simulate", name], command
        if words[0] in ("bootstrap", "device", "gen-conf", "rollback"):
            words.append("--yes")
        called = qatprep(*words)
        if name in CANNOT and called.code not in RIGHT:
            assert CANNOT[name] in " ".join((called.out + called.err).split())
            continue
        assert called.code in RIGHT, (finding, command, called.code, called.out[-600:], called.err)


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("vf-held", "First stop envoy (process 4711), then: qatprep bootstrap --simulate vf-held"),
        ("pf-busy", "First stop what uses QAT in the kernel (qat_aes_xts: dm-crypt, IPsec or zswap), then: "),
    ],
)
def test_bootstrap_is_no_fix_while_somebody_is_in_the_way(name: str, first: str) -> None:
    called = qatprep("doctor", "--simulate", name, "-o", "json").json
    (failed,) = (f for f in called["findings"] if f["status"] == "fail")
    assert failed["step"] == "" and failed["fix"][0].startswith(first)
    assert called["outcome"]["next"][0]["command"].startswith("stop ")
    assert not [line for line in qatprep("doctor", "--simulate", name).out.splitlines() if "fix      qatprep" in line]


def test_a_recorded_host_is_fixed_on_that_host(tmp_path: Path) -> None:
    """A capture cannot be changed: every command that changes something says where it belongs."""
    for name in ("spr-2s", "pf-heartbeat-lost"):
        file = tmp_path / f"{name}.txt"
        file.write_text(qatprep("capture", "--simulate", name).out)
        for finding in qatprep("doctor", "--root", str(file), "-o", "json").json["findings"]:
            assert finding["step"] == ""
            for step in finding["fix"]:
                assert not step.startswith(("qatprep bootstrap", "qatprep device")), step
        assert "On that host: sudo qatprep " in qatprep("doctor", "--root", str(file)).out
    wanted = ("--set", "devices.services=asym")
    after = qatprep("doctor", "--root", str(tmp_path / "spr-2s.txt"), *wanted, "-o", "json").json["outcome"]["next"]
    assert "on that host: sudo qatprep bootstrap --set devices.services=asym" in [item["command"] for item in after]


def test_settings_go_with_the_verbs_that_take_them(tmp_path: Path) -> None:
    """--config and --set with bootstrap, not with device."""
    options = ("--simulate", "pf-heartbeat-lost", "--set", "devices.auto_reset=true")
    commands = [
        step
        for f in qatprep("doctor", *options, "-o", "json").json["findings"]
        for step in f["fix"]
        if step.startswith("qatprep device")
    ]
    assert commands and all(command.endswith(" --simulate pf-heartbeat-lost") for command in commands)
