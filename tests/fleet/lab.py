"""Hosts to run playbooks on: real sshd, each in namespaces of its own, with a root of its own.

The controller has a network namespace too, so nothing appears in the machine's own. Needs root, sshd and iproute2.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qatprep.schema_check import compiled

ROOT = Path(__file__).resolve().parent.parent.parent
PLAYBOOKS = ROOT / "playbooks"
COLLECTION = PLAYBOOKS / "ansible_collections" / "qatprep" / "host"
ALL_AT_ONCE = ("-e", "qatprep_serial=100%", "-e", "qatprep_max_fail_percentage=100")
BASE_PYTHON = os.path.realpath(sys.executable)
"""The interpreter itself, not that of the environment: what a bare node has."""
STATE = "/var/lib/qatprep-simulated"
_NODE = Path(__file__).with_name("node.sh")
_SITE = Path(__file__).with_name("site.yml")
_SSHD = f"""\
ListenAddress 0.0.0.0
HostKey /run/keys/host
AuthorizedKeysFile /run/keys/user.pub
PermitRootLogin yes
PasswordAuthentication no
UsePAM no
StrictModes no
PidFile none
MaxStartups 100
Subsystem sftp internal-sftp
SetEnv QATPREP_STATE={STATE}
"""
_SSH = (
    "-o ControlMaster=no -o ControlPath=none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
    "-o LogLevel=ERROR"
)
"""No multiplexing: a connection that outlives its node would lead into another one's namespaces."""


def program(name: str) -> str | None:
    """A program of this environment or of PATH."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


def missing() -> str:
    """Why there can be no lab here, "" when there can."""
    if program("ansible-playbook") is None:
        return "ansible-core is not installed (pip install ansible-core)"
    if os.geteuid() != 0:
        return "needs root: namespaces"
    for name, package in (("/usr/sbin/sshd", "openssh-server"), ("ssh", "openssh-client"), ("ip", "iproute2")):
        if shutil.which(name) is None:
            return f"{name} is not installed (apt-get install {package})"
    trial = subprocess.run(["unshare", "-n", "-m", "-u", "-p", "-f", "true"], capture_output=True, check=False)
    return "" if trial.returncode == 0 else f"no namespaces here: {trial.stderr.decode().strip()}"


@dataclass
class Played:
    """What one run of ansible-playbook gave."""

    code: int
    out: str
    report: dict[str, Any]

    def node(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(node for node in self.report["nodes"] if node["node"] == name)
        return found

    def task(self, word: str, name: str) -> dict[str, Any]:
        """The result of a node's last task that ended with this word (ok, changed, fatal), as -v shows it."""
        _, found, rest = self.out.rpartition(f"{word}: [{name}]")
        assert found, self.out
        result: dict[str, Any] = json.JSONDecoder().raw_decode(rest[rest.index("{") :])[0]
        return result

    def recap(self, name: str) -> dict[str, int]:
        """Ansible's own counters of a node."""
        line = next(line for line in self.out.splitlines() if line.startswith(f"{name} ") and "unreachable=" in line)
        return {word.split("=")[0]: int(word.split("=")[1]) for word in line.split() if "=" in word}


def play(
    directory: Path,
    inventory: Mapping[str, Mapping[str, Any]],
    verb: str,
    *options: str,
    before: Sequence[str] = (),
    path: str = "",
) -> Played:
    """Run a playbook of the collection over these hosts (name -> variables); every host says its own name first.

    `before` is put before the command, `path` before PATH.
    """
    report = directory / "report.json"
    report.unlink(missing_ok=True)
    hosts = {name: dict(variables) for name, variables in inventory.items()}
    file = directory / "inventory.json"
    file.write_text(json.dumps({"all": {"hosts": hosts}}))
    env = {
        "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"],
        "HOME": str(directory),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"),
        "ANSIBLE_LOCAL_TEMP": str(directory / "ansible"),
        "ANSIBLE_FORKS": "10",
        "ANSIBLE_SSH_COMMON_ARGS": _SSH,
        "ANSIBLE_NOCOLOR": "1",
        "QATPREP_FLEET_REPORT": str(report),
    }
    ansible = program("ansible-playbook")
    assert ansible
    command = [*before, ansible, "-i", str(file), str(_SITE), "-e", f"playbook=qatprep.host.{verb}", *options]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=600)
    document = json.loads(report.read_text()) if report.exists() else {"nodes": [], "findings": []}
    if report.exists():
        compiled("fleet")(document)
    return Played(done.returncode, done.stdout + done.stderr, document)


def local(directory: Path, verb: str, nodes: Mapping[str, Mapping[str, Any]], *options: str) -> Played:
    """Run a playbook over hosts on this machine, each with the simulated host of its variables. Programs in `bin` of
    the directory come first."""
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    inventory = {name: {**common, **variables} for name, variables in nodes.items()}
    return play(directory, inventory, verb, *options, path=str(directory / "bin"))


def script(path: Path, text: str) -> None:
    """Make a program of shell commands."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


class Lab:
    """Nodes by name, each with the simulated host it stands for. `readable` are more directories that they see."""

    SSH = _SSH

    def __init__(self, directory: Path, nodes: Mapping[str, str], readable: Sequence[str] = ()) -> None:
        self.directory = directory
        self._readable = sorted({str(ROOT), sys.prefix, sys.base_prefix, *readable})
        self.nodes = dict(nodes)
        self._id = f"qp{os.getpid() % 100000}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._keys = directory / "keys"

    def __enter__(self) -> Lab:
        try:
            self._up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)  # unshare, which takes the node's init along (--kill-child)
            process.wait()
        for number, name in enumerate(self.nodes, 1):
            for pid in _ip("netns", "pids", self._space(name)).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            _ip("-n", self._controller, "link", "del", f"v{number}")
            _ip("netns", "del", self._space(name))
        _ip("netns", "del", self._controller)

    @property
    def prefix(self) -> list[str]:
        """What is put before a command to run it where the nodes can be reached."""
        return ["ip", "netns", "exec", self._controller]

    @property
    def _controller(self) -> str:
        return f"{self._id}-ctl"

    def _space(self, name: str) -> str:
        return f"{self._id}-{name}"

    def _up(self) -> None:
        self._keys.mkdir(parents=True)
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._keys / key], check=True)
        (self._keys / "sshd_config").write_text(_SSHD)
        _ip("netns", "add", self._controller, must=True)
        ctl = ("-n", self._controller)
        for words in ("link set lo up", "link add lab type bridge", "addr add 10.77.0.1/16 dev lab", "link set lab up"):
            _ip(*ctl, *words.split(), must=True)
        for number, name in enumerate(self.nodes, 1):
            space = self._space(name)
            _ip("netns", "add", space, must=True)
            _ip(*ctl, *f"link add v{number} type veth peer name eth0 netns {space}".split(), must=True)
            _ip(*ctl, *f"link set v{number} master lab up".split(), must=True)
            _ip("-n", space, *f"addr add {self.address(name)}/16 dev eth0".split(), must=True)
            for device in ("eth0", "lo"):
                _ip("-n", space, "link", "set", device, "up", must=True)
            self._start(name)
        for name in self.nodes:
            self._wait(name)

    def address(self, name: str) -> str:
        number = list(self.nodes).index(name)
        return f"10.77.{1 + number // 200}.{1 + number % 200}"

    def _start(self, name: str) -> None:
        place = self.directory / "nodes" / name
        place.parent.mkdir(exist_ok=True)
        command = ["ip", "netns", "exec", self._space(name), "unshare", "-m", "-u", "-p", "-f", "--kill-child"]
        command += ["sh", str(_NODE), name, str(place), str(self._keys), *self._readable]
        with open(self.log(name), "wb") as log:
            self._processes[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def _wait(self, name: str) -> None:
        deadline = time.monotonic() + 120
        while b"Server listening" not in self.log(name).read_bytes():
            if self._processes[name].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} has not come up: {self.log(name).read_text()}")
            time.sleep(0.02)

    def kill_in_the_middle(self, name: str, deadline: float = 120) -> bool:
        """End, by SIGKILL, the bootstrap of a node's simulated host once it has done something. False: it never did."""
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            for pid in _ip("netns", "pids", self._space(name)).split():
                with contextlib.suppress(OSError):
                    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                    state = Path(f"/proc/{pid}/root{STATE}")
                    if words[2:3] == [b"bootstrap"] and state.exists() and '"done"' in state.read_text():
                        os.kill(int(pid), signal.SIGKILL)
                        return True
            time.sleep(0.02)
        return False

    def on(self, name: str, command: str) -> str:
        """What a shell command prints on a node, over ssh."""
        argv = [*self.prefix, "ssh", "-i", str(self._keys / "user"), *_SSH.split()]
        argv += [f"root@{self.address(name)}", command]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
        return done.stdout

    def inventory(self) -> dict[str, dict[str, str]]:
        return {
            name: {
                "ansible_host": self.address(name),
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(self._keys / "user"),
                "ansible_python_interpreter": BASE_PYTHON,
                "qatprep_python": BASE_PYTHON,
                "qatprep_simulate": simulated,
            }
            for name, simulated in self.nodes.items()
        }

    def play(self, verb: str, *options: str) -> Played:
        return play(self.directory, self.inventory(), verb, *options, before=self.prefix)


def _ip(*words: str, must: bool = False) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if must and done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
