"""Whatever host, configuration and order of commands: a plan after bootstrap is empty, rollback restores, all verbs say
the same, the same call prints the same bytes, and nothing that is printed holds a control character.

QATPREP_TEST_FULL=1 tries forty times as many.
"""

from __future__ import annotations

import json
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from fixtures.hardware import server
from qatprep.config import PATH
from qatprep.engine import journal
from qatprep.exits import ExitCode
from qatprep.hardware import SUPPORTED
from qatprep.simulator.host import SimulatedHost
from tests.conftest import EVERYTHING, Called, qatprep
from tests.engine.state import difference, snapshot

PF = "0000:6b:00.0"
SERVICES = ("sym;asym", "asym", "dc", "cy", "keep")
DRIVERS = ("vfio-pci", "qat_vfio_pci", "none")
DARE = "\x1b[2J\u202e\x9b"
"""Erases a screen, turns the direction of a line, begins a sequence in C1."""

_OF_PFS = st.fixed_dictionaries(
    {}, optional={"services": st.sampled_from(SERVICES), "vfs": st.booleans(), "driver": st.sampled_from(DRIVERS)}
)
_MATCHES = st.sampled_from([{"device": PF}, {"numa_node": 1}, {"family": "4xxx"}, {"device": "0000:e8:*"}])
_OVERRIDES = st.tuples(_OF_PFS.filter(bool), _MATCHES).map(lambda pair: {"match": pair[1], **pair[0]})
CONFIGURATIONS = st.fixed_dictionaries(
    {"smoke": st.just(False)},
    optional={
        "devices": _OF_PFS,
        "overrides": st.lists(_OVERRIDES, max_size=2),
        "nodes": st.fixed_dictionaries(
            {"mode": st.sampled_from(["0660", "0600"]), "group": st.sampled_from(["qat", "envoy"])}
        ),
        "persist": st.booleans(),
        "containers": st.sampled_from([{"memlock": "128M"}, {"memlock": "keep"}, {"device_ownership": True}]),
    },
)
ON_VF = st.sampled_from([("bind",), ("unbind",), ("bind", "--driver", "qat_vfio_pci"), ("bind", "--mode", "0600")])
ON_PF = st.sampled_from(
    [("vfs", "create"), ("vfs", "remove"), ("services", "dc"), ("services", "sym;asym"), ("services", "asym")]
)


FOR_PEOPLE = ("doctor --all -v", "plan --diff", "status", "device list", "metrics", "gen-conf", "rollback --list")


class Node(RuleBasedStateMachine):
    """One simulated host, and what it was like before each run that stands."""

    host: SimulatedHost

    def __init__(self) -> None:
        super().__init__()
        self.before: list[tuple[str, dict[str, str]]] = []

    @initialize(
        kernel=st.sampled_from(["5.17", "6.1", "6.6", "6.12", "7.2"]),
        family=st.sampled_from(SUPPORTED),
        table=st.sampled_from(["DMAR", "DMAR", "IVRS", ""]),
        pfs=st.integers(1, 2),
        hostile=st.booleans(),
    )
    def a_host(self, kernel: str, family: Any, table: str, pfs: int, hostile: bool) -> None:
        tree = server([(PF, 0), ("0000:e8:00.0", 1)][:pfs], family.pf_id, table=table, total_vfs=2)
        if hostile:
            tree.file("/proc/4711/comm", f"{DARE}\n".encode())
            tree.file("/etc/modprobe.d/x.conf", f"blacklist qat_{DARE}\n".encode())
            tree.get("/.qatprep/dmesg").data += f"<3>4xxx {PF}: {DARE} probe failed\n".encode()
        self.host = SimulatedHost(tree, kernel)

    # -- what changes the host ----------------------------------------------------------------------------

    @rule(wanted=CONFIGURATIONS)
    def configure(self, wanted: dict[str, Any]) -> None:
        self.host.tree.file(PATH, yaml.safe_dump(wanted).encode())

    @rule()
    def bootstrap(self) -> None:
        called = self._run("bootstrap", "--yes")
        if called.code in (ExitCode.USAGE, ExitCode.ERROR):
            return
        status = called.json["status"]
        assert status in ("applied", "unchanged"), called.json.get("failure")
        if called.json["skipped"]:  # what was tried in vain is tried again
            return
        assert self._ask("plan").json["changed"] is False
        assert self._ask("bootstrap", "--yes").json["status"] == "unchanged"

    @rule(verb=ON_VF | ON_PF, number=st.integers(0, 2), pf=st.sampled_from([PF, "0000:e8:00.0"]))
    def a_verb_of_device(self, verb: tuple[str, ...], number: int, pf: str) -> None:
        argv = ("device", *verb, pf if verb[0] in ("vfs", "services") else f"{pf[:-1]}{number}")
        called = self._run(*argv)
        assert called.code in (ExitCode.OK, ExitCode.ERROR, ExitCode.USAGE, ExitCode.ROLLED_BACK), called.err
        if called.code is ExitCode.OK:
            again = snapshot(self.host)
            assert self._ask(*argv).code == ExitCode.OK
            assert difference(again, snapshot(self.host)) == []

    @rule()
    def rollback(self) -> None:
        called = self._ask("rollback", "--yes")
        assert called.code == ExitCode.OK, called.err
        if not self.before:
            assert called.json["status"] == "unchanged"
            return
        _, before = self.before.pop()
        assert difference(before, self._state()) == []

    # -- what does not ------------------------------------------------------------------------------------

    @rule()
    def every_verb_says_the_same(self) -> None:
        state = snapshot(self.host)
        words = {}
        for verb in (("doctor",), ("plan",), ("status",), ("bootstrap", "--check")):
            first, second = self._ask(*verb), self._ask(*verb)
            assert (first.code, first.out, first.err) == (second.code, second.out, second.err)
            if first.code != ExitCode.USAGE:
                words[verb] = first.json["outcome"]
                assert first.code == words[verb]["exit"]
        assert all(word == words["doctor",] for word in words.values()), words
        assert difference(state, snapshot(self.host)) == []

    @rule(verb=st.sampled_from(FOR_PEOPLE))
    def people_and_prometheus_read_it(self, verb: str) -> None:
        first, second = (qatprep(*verb.split(), host=self.host) for _ in range(2))
        assert (first.code, first.out, first.err) == (second.code, second.out, second.err)
        _printable(first)

    # -- how ----------------------------------------------------------------------------------------------

    def _ask(self, *words: str) -> Called:
        called = qatprep(*words, *(() if words[0] == "device" else ("-o", "json")), host=self.host)
        _printable(called)
        return called

    def _run(self, *words: str) -> Called:
        """A call that may change the host; what it was like before is kept where a run stands."""
        before, known = self._state(), self._last()
        called = self._ask(*words)
        if called.code in (ExitCode.USAGE, ExitCode.ERROR, ExitCode.ROLLED_BACK):
            assert difference(before, self._state()) == []
        elif self._last() != known and difference(before, self._state()):
            self.before.append((self._last(), before))
        return called

    def _last(self) -> str:
        run = journal.last_run(self.host)
        return run.id if run else ""

    def _state(self) -> dict[str, str]:
        """The configuration is ours to change."""
        return {path: entry for path, entry in snapshot(self.host).items() if path != PATH}


def _printable(called: Called) -> None:
    for line in f"{called.out}\n{called.err}".split("\n"):
        assert line.isprintable(), line
    if called.out.startswith("{"):
        assert "NaN" not in json.dumps(json.loads(called.out)) and "Infinity" not in called.out


def test_any_order_of_commands_on_any_host() -> None:
    run_state_machine_as_test(
        Node,
        settings=settings(
            max_examples=400 if EVERYTHING else 10,
            phases=(Phase.explicit, Phase.generate, Phase.shrink) if EVERYTHING else (Phase.generate,),
            stateful_step_count=8,
            deadline=None,
            derandomize=not EVERYTHING,
            suppress_health_check=list(HealthCheck),
        ),
    )
