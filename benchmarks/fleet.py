"""A hundred simulated nodes through Ansible's forks: time a node, and what the module costs beside a bare ping.

    python benchmarks/fleet.py [NODES [FORKS]] [--ssh]

Needs ansible-core. In one run of ansible-playbook each task goes over all nodes: ping, bootstrap (from nothing to
ready), bootstrap again (nothing to do), ping. Without --ssh the nodes are simulated hosts on this machine (connection
local); with it each is an sshd in namespaces of its own (root and openssh-server; see tests/fleet/lab.py). The machine
that is measured plays all the nodes as well: real nodes do their share on CPUs of their own.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from common import Row, markdown

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.fleet.lab import BASE_PYTHON, PLAYBOOKS, Lab, missing, program  # noqa: E402

HOSTS = ("srf-1s", "spr-2s", "emr-2s", "gnr-2s", "gnr-d-420xx", "domain-0001", "half-bound", "vfs-unbound")
"""The nodes are these in turn."""
TASKS = ("ping", "bootstrap", "bootstrap again", "ping again")
PLAYBOOK = """\
- name: Measure
  hosts: all
  gather_facts: false
  environment:
    QATPREP_STATE: "{{ state }}"
  tasks:
    - {name: ping, ansible.builtin.ping: }
    - {name: bootstrap, qatprep.host.bootstrap: {executable: "{{ tool }}", simulate: "{{ simulated }}"}}
    - {name: bootstrap again, qatprep.host.bootstrap: {executable: "{{ tool }}", simulate: "{{ simulated }}"}}
    - {name: ping again, ansible.builtin.ping: }
"""
CALLBACK = '''\
import json
import os
import time

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: timing
type: aggregate
short_description: seconds of each task on each node
description: Written to the file QATPREP_TIMING.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "timing"

    def __init__(self, display=None):
        super().__init__(display=display)
        self.began, self.rows, self.tasks = {}, [], {}

    def v2_runner_on_start(self, host, task):
        self.began[host.get_name(), task._uuid] = time.time()
        self.tasks.setdefault(task.get_name(), [time.time(), 0.0])

    def v2_runner_on_ok(self, result, failed=False):
        now, name = time.time(), result._task.get_name()
        self.tasks[name][1] = now
        row = {"task": name, "node": result._host.get_name(), "failed": failed}
        row["seconds"] = now - self.began[row["node"], result._task._uuid]
        row["tool"] = result._result.get("seconds", 0.0)
        row["status"] = result._result.get("status", "")
        self.rows.append(row)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.v2_runner_on_ok(result, failed=True)

    def v2_runner_on_unreachable(self, result):
        self.v2_runner_on_ok(result, failed=True)

    def v2_playbook_on_stats(self, stats):
        with open(os.environ["QATPREP_TIMING"], "w") as f:
            json.dump({"rows": self.rows, "tasks": self.tasks}, f)
'''


def rows(nodes: int = 100, forks: int = 10, *, over_ssh: bool = False) -> Iterator[Row]:
    """Nothing, with a word on stderr, where Ansible is not there."""
    if program("ansible-playbook") is None or (over_ssh and missing()):
        print(f"skipped: {missing() if over_ssh else 'ansible-core is not installed'}", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        measured = measure(Path(directory), stack, nodes, forks, over_ssh=over_ssh)
    yield report(measured, nodes, forks, "over ssh" if over_ssh else "on this machine (connection local)")


def measure(place: Path, stack: ExitStack, nodes: int, forks: int, *, over_ssh: bool) -> dict[str, Any]:
    """Rows (task, node, seconds, seconds of qatprep itself) and the span of each task."""
    pyz = place / "qatprep"
    subprocess.run([sys.executable, str(ROOT / "packaging" / "pyz.py"), str(pyz)], check=True)
    names = {f"node{n:03}": HOSTS[n % len(HOSTS)] for n in range(nodes)}
    before: list[str] = []
    hosts: dict[str, dict[str, str]]
    if over_ssh:
        lab = stack.enter_context(Lab(place / "lab", names, readable=[str(place)]))
        hosts = {name: {**variables, "state": "/var/lib/state"} for name, variables in lab.inventory().items()}
        before = lab.prefix
    else:
        local = {"ansible_connection": "local", "ansible_python_interpreter": BASE_PYTHON}
        hosts = {name: {**local, "state": str(place / name)} for name in names}
    for name, simulated in names.items():
        hosts[name] |= {"simulated": simulated, "tool": str(pyz)}
    (place / "inventory.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    (place / "play.yml").write_text(PLAYBOOK)
    (place / "callbacks").mkdir()
    (place / "callbacks" / "timing.py").write_text(CALLBACK)
    env = {
        **os.environ,
        "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"),
        "ANSIBLE_CALLBACK_PLUGINS": str(place / "callbacks"),
        "ANSIBLE_CALLBACKS_ENABLED": "timing",
        "ANSIBLE_FORKS": str(forks),
        "ANSIBLE_SSH_COMMON_ARGS": Lab.SSH,
        "QATPREP_TIMING": str(place / "timing.json"),
    }
    command = [*before, str(program("ansible-playbook")), "-i", str(place / "inventory.json"), str(place / "play.yml")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
    found: dict[str, Any] = json.loads((place / "timing.json").read_text())
    return found


def report(measured: dict[str, Any], nodes: int, forks: int, how: str) -> Row:
    """Print each task's times on stderr; the ratio."""
    rows = measured["rows"]
    print(f"{nodes} simulated nodes {how}, {forks} forks, {os.cpu_count()} CPUs", file=sys.stderr)
    head = f"{'task':<16} {'all nodes':>10} {'a node':>9} {'median of a node':>17} {'of it qatprep':>14}"
    print(head, file=sys.stderr)
    share: dict[str, float] = {}
    module: dict[str, float] = {}
    for task in TASKS:
        mine = [row for row in rows if row["task"] == task]
        assert len(mine) == nodes and not any(row["failed"] for row in mine), mine
        begin, end = measured["tasks"][task]
        share[task] = (end - begin) / nodes
        latency = sum(row["seconds"] for row in mine)
        module[task] = share[task] * (1 - sum(row["tool"] for row in mine) / latency)
        median = statistics.median(row["seconds"] for row in mine)
        tool = statistics.median(row["tool"] for row in mine)
        line = f"{task:<16} {end - begin:8.1f} s {share[task]:7.2f} s {median:15.2f} s {tool:12.2f} s"
        print(line, file=sys.stderr)
    states = {row["node"]: row["status"] for row in rows if row["task"] == "bootstrap again"}
    assert set(states.values()) == {"unchanged"}, states
    ping = (share["ping"] + share["ping again"]) / 2
    print(f"a bare ping: {ping:.2f} s a node ('a node' is the time for all of them over their number)", file=sys.stderr)
    own = module["bootstrap again"] / ping
    return Row(f"Ansible module without qatprep's own time, {nodes} nodes", own, "a bare ping in the same run")


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:] if word != "--ssh"]
    print(markdown(rows(*words, over_ssh="--ssh" in sys.argv)))
