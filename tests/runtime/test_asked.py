"""doctor and plan ask the containerd of the node, here the real ones, about files that only it judges right."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from qatprep.assess import assess
from qatprep.checks.base import Profile
from qatprep.checks.registry import evaluate
from qatprep.config import parse
from qatprep.facts import Facts, gather
from qatprep.findings import Finding
from qatprep.host.base import RunResult
from qatprep.host.capture import Capture
from qatprep.host.linux import LinuxHost
from qatprep.host.tree import Node as File
from qatprep.plan import containers
from qatprep.runtime import memlock
from qatprep.steps.containerd import OwnDevices
from qatprep.text import Foreign
from tests.checks.hosts import tree
from tests.conftest import some
from tests.runtime.cases import IMPORT, OTHER_V2, REGISTRIES, SAYS, V2, V3
from tests.runtime.conftest import Containerd
from tests.runtime.test_node import BASE, MIB, OWNED, Node, file, process
from tests.runtime.test_node_memlock import SPEC, WITH_SPEC

HERE = "/etc/containerd"
V2_IMPORTS = V2.replace("IMPORTS", IMPORT.replace("DIR", HERE))


class Asked(Capture):
    """A recorded node with a real containerd: its files are laid into a directory for each question."""

    def __init__(self, text: str, containerd: Containerd, directory: Path, *, program: str = "/usr/bin/containerd"):
        super().__init__(tree(BASE, text), "node")
        self.containerd, self.directory, self.program = containerd, directory, program
        self.asked: list[str] = []

    def run(self, argv: list[str], *, deadline: float = 30.0) -> RunResult:
        if "containerd" not in argv[0]:
            return super().run(argv, deadline=deadline)
        self.asked.append(argv[0])
        if argv[0] != self.program:
            return RunResult(tuple(argv), 127, Foreign(""), Foreign("not found"))
        self._lay(self.tree.find("/etc"), self.directory / "etc")
        self._lay(self.tree.find("/var/lib/rancher"), self.directory / "var/lib/rancher")
        words = [self._away(word) for word in argv[1:]]
        done = LinuxHost().run([str(self.containerd.path), *words], deadline=60)
        return RunResult(tuple(argv), done.rc, *map(self._back, (done.stdout, done.stderr)))

    def _lay(self, node: File | None, path: Path) -> None:
        for name, child in node.children.items() if node else ():
            if child.kind == "dir":
                self._lay(child, path / name)
            elif name.endswith(".toml"):
                path.mkdir(parents=True, exist_ok=True)
                (path / name).write_text(self._away(child.content().decode()))

    def _away(self, text: str) -> str:
        return re.sub(r"(?<!\w)(?=/etc/containerd|/var/lib/rancher)", str(self.directory), text)

    def _back(self, output: Foreign) -> Foreign:
        return Foreign(output.raw.replace(str(self.directory), ""))


def found(looked: Facts) -> list[Finding]:
    report = evaluate(looked, parse("", "x"), Profile.QAT)
    return [f for f in report.findings if f.id.startswith("QP-RT-") and str(f.status) in ("fail", "warn", "unknown")]


@dataclass(frozen=True)
class Case:
    name: str
    main: str
    findings: dict[str, list[str]]
    """By suite, "*" for those not named: ids and statuses."""
    drop_ins: dict[str, str] = field(default_factory=dict)


ON = f"  {SAYS}true\n"
CASES = (
    Case("on in the main file", OWNED, {"*": []}),
    Case("off", V2.replace("IMPORTS", ""), {"*": ["QP-RT-001 fail"]}),
    Case(
        "a drop-in without version replaces the table on 1.x",
        V2.replace("IMPORTS", IMPORT).replace("sandbox_image", ON.strip() + "\n    sandbox_image"),
        {"*": ["QP-RT-003 fail", "QP-RT-001 fail"], "sid": []},
        {"registries.toml": REGISTRIES},
    ),
    Case(
        "a drop-in that takes nothing away",
        f"version = 2\n{IMPORT}\n[plugins.'io.containerd.grpc.v1.cri']\n  enable_unprivileged_ports = true\n",
        {"*": []},
        {"again.toml": OTHER_V2 + ON},
    ),
    Case(
        "imports itself and is imported by what it imports",
        V2.replace("IMPORTS", 'imports = ["config.toml", "conf.d/a.toml"]'),
        {"*": ["QP-RT-003 fail"], "sid": []},
        {"a.toml": 'imports = ["a.toml", "../config.toml"]\n' + OTHER_V2 + ON},
    ),
    Case(
        "a relative glob, which 1.6 looks for in its working directory",
        V2.replace("IMPORTS", 'imports = ["conf.d/*.toml"]'),
        {"bookworm": ["QP-RT-005 warn", "QP-RT-001 fail"], "trixie": ["QP-RT-003 fail"], "sid": []},
        {"a.toml": OTHER_V2 + ON},
    ),
    Case(
        "the key one table too deep",
        V3.replace("IMPORTS", "") + f"[plugins.'io.containerd.cri.v1.runtime'.containerd]\n{ON}",
        {
            "bookworm": ["QP-RT-002 fail", "QP-RT-001 fail"],
            "trixie": ["QP-RT-002 fail"],
            "sid": ["QP-RT-005 warn", "QP-RT-001 fail"],
        },
    ),
    Case(
        "a file that this containerd refuses, for a reason that no reading shows",
        OWNED + "[grpc]\naddress = 7\n",
        {"*": ["QP-RT-002 fail"]},
    ),
)


@pytest.mark.parametrize("case", some(CASES, 3), ids=lambda case: case.name)
def test_doctor_says_what_containerd_says(containerd: Containerd, case: Case, tmp_path: Path) -> None:
    more = "".join(file(f"{HERE}/conf.d/{name}", text) for name, text in case.drop_ins.items())
    node = Node(config=case.main.replace("DIR", HERE), more=more)
    looked = gather(Asked(node.text(), containerd, tmp_path))
    expected = case.findings.get(containerd.suite, case.findings.get("*"))
    assert [f"{f.id} {f.status}" for f in found(looked)] == expected


def test_what_a_drop_in_takes_away_is_named(containerd: Containerd, tmp_path: Path) -> None:
    node = Node(config=V2_IMPORTS, more=file(f"{HERE}/conf.d/registries.toml", REGISTRIES))
    looked = gather(Asked(node.text(), containerd, tmp_path))
    lost = [e.value for f in found(looked) if f.id == "QP-RT-003" for e in f.evidence if "lost" in e.value]
    if containerd.version.major >= 2:
        assert lost == []
        return
    assert "sandbox_image" in lost[0] and "runtimes.runc.options.SystemdCgroup" in lost[0]


@pytest.mark.parametrize("place", [f"{HERE}/config.toml", f"{HERE}/conf.d/a.toml"])
def test_a_configuration_that_cannot_be_read_is_unknown(place: str) -> None:
    main = None if place.endswith("config.toml") else V2_IMPORTS
    node = Node(config=main, more=f"{place} [0640 0:0] !EACCES\n")
    looked = gather(Capture(tree(BASE, node.text()), "x"))
    assert [f"{f.id} {f.status}" for f in found(looked)] == ["QP-RT-001 unknown"]
    skipped = containers.plan(assess(looked, parse("containers: {device_ownership: true}", "x")))[1]
    assert "cannot be read" in skipped[0].reason


def test_a_glob_that_matches_too_many_directories_is_unknown() -> None:
    main = 'version = 2\nimports = ["/etc/containerd/*/*.toml"]\n'
    node = Node(config=main, more="".join(file(f"{HERE}/{number}/a.toml", "version = 2") for number in range(65)))
    assert [f"{f.id} {f.status}" for f in found(gather(Capture(tree(BASE, node.text()), "x")))] == ["QP-RT-001 unknown"]


# -- which program is asked ------------------------------------------------------------------------------------------


EXE = "/proc/900/exe -> /opt/ct/bin/containerd\n/opt/ct/bin/containerd [0755 0:0] ~ 4096\n"


def test_the_running_daemons_program_is_asked(containerd: Containerd, tmp_path: Path) -> None:
    host = Asked(Node().text() + EXE, containerd, tmp_path, program="/opt/ct/bin/containerd")
    looked = gather(host)
    assert set(host.asked) == {"/opt/ct/bin/containerd"}
    assert looked.runtime.version == containerd.version
    off = gather(
        Asked(Node(config="version = 2\n").text() + EXE, containerd, tmp_path, program="/opt/ct/bin/containerd")
    )
    change = containers.plan(assess(off, parse("containers: {device_ownership: true}", "x")))[0][0]
    assert isinstance(change, OwnDevices) and change.program == "/opt/ct/bin/containerd"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("/opt/ct/bin/containerd [0755 1000:0] ~ 4096", "/opt/ct/bin/containerd belongs to user 1000"),
        ("/opt/ct [0777 0:0] /", "/opt/ct is writable by every user (mode 0777)"),
    ],
)
def test_root_runs_only_what_is_roots_alone(change: str, why: str, containerd: Containerd, tmp_path: Path) -> None:
    host = Asked(Node(config="version = 2\n").text() + EXE + change, containerd, tmp_path)
    looked = gather(host)
    assert host.asked == []
    evidence = [e.value for f in found(looked) if f.id == "QP-RT-001" for e in f.evidence]
    assert f"/opt/ct/bin/containerd is not run: {why}" in evidence
    skipped = containers.plan(assess(looked, parse("containers: {device_ownership: true}", "x")))[1]
    assert why in skipped[0].reason


# -- k3s -------------------------------------------------------------------------------------------------------------

K3S = "/var/lib/rancher/k3s/agent/etc/containerd"
K3S_BINARY = "/var/lib/rancher/k3s/data/current/bin/containerd"


def test_k3s_with_drop_ins(containerd: Containerd, tmp_path: Path) -> None:
    if containerd.version.major < 2:
        pytest.skip("k3s with these drop-ins has containerd 2")
    generated = f"version = 3\nimports = ['{K3S}/config-v3.toml.d/*.toml']\n"
    table = "[plugins.'io.containerd.cri.v1.runtime']\n"
    text = (
        file("/etc/systemd/system/k3s.service", "[Service]\nLimitMEMLOCK=infinity")
        + process(900, "k3s-server", "/system.slice/k3s.service", memlock=1 << 40, argv="/usr/local/bin/k3s server")
        + file(f"{K3S}/config.toml", generated + table + f"  {SAYS}false\n")
        + f"{K3S_BINARY} [0755 0:0] ~ 4096\n"
    )
    drop_in = file(f"{K3S}/config-v3.toml.d/10-own.toml", f"version = 3\n{table}{ON}")
    asked = parse("containers: {device_ownership: true}", "x")
    for more, ids, planned in (("", ["QP-RT-001"], 1), (drop_in, [], 0)):
        looked = gather(Asked(text + more, containerd, tmp_path, program=K3S_BINARY))
        assert [f.id for f in found(looked)] == ids
        assert len(containers.plan(assess(looked, asked))[0]) == planned


# -- files of others --------------------------------------------------------------------------------------------------

NVIDIA = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd]\n  default_runtime_name = "nvidia"\n'


class Containerd17(Capture):
    """A recorded node whose containerd says its version alone."""

    def run(self, argv: list[str], *, deadline: float = 30.0) -> RunResult:
        if argv[1:] == ["--version"]:
            return RunResult(tuple(argv), 0, Foreign("containerd x 1.7.24"), Foreign(""))
        return RunResult(tuple(argv), 127, Foreign(""), Foreign("not found"))


@pytest.mark.parametrize(
    ("main", "path", "text", "words"),
    [
        (V2_IMPORTS, f"{HERE}/conf.d/99-nvidia.toml", NVIDIA, "NVIDIA's container toolkit"),
        (V2_IMPORTS, f"{HERE}/conf.d/a.toml", f"# Ansible managed\n{OTHER_V2}", "'Ansible managed'"),
        (OTHER_V2.replace("[", 'imports = ["/usr/share/a.toml"]\n[', 1), "/usr/share/a.toml", OTHER_V2, "below /usr"),
    ],
)
def test_others_files_are_edited_only_where_they_are_named(main: str, path: str, text: str, words: str) -> None:
    node = Node(config=main, more=file(path, text)).text()
    looked = gather(Containerd17(tree(BASE, node), "x"))
    asked = "containers: {device_ownership: true%s}"
    changes, skipped = containers.plan(assess(looked, parse(asked % "", "x")))
    assert changes == []
    assert path in skipped[0].reason and words in skipped[0].reason and "containers.may_edit" in skipped[0].reason
    changes, skipped = containers.plan(assess(looked, parse(asked % f', may_edit: ["{path}"]', "x")))
    assert (changes[0].subject, skipped) == (path, [])


def test_a_file_named_on_the_command_line() -> None:
    config = parse("", "x", ["containers.may_edit=/usr/share/a.toml,/etc/b.json"])
    assert config.containers.may_edit == ("/usr/share/a.toml", "/etc/b.json")


# -- base_runtime_spec ------------------------------------------------------------------------------------------------


def test_a_base_runtime_spec_is_raised_when_a_size_is_asked_for() -> None:
    spec = f"{HERE}/cri-base.json"
    node = Node(config=WITH_SPEC, more=file(spec, SPEC))
    looked = gather(Capture(tree(BASE, node.text()), "x"))
    fix = next(f.fix[0] for f in evaluate(looked, parse("", "x"), Profile.QAT).findings if f.id == "QP-MEM-001")
    assert fix == f"qatprep bootstrap --set containers.memlock={192 * MIB}"
    setting = fix.split("--set ")[1]
    changes, skipped = containers.plan(assess(looked, parse("", "x", [setting])))
    assert (changes[0].subject, skipped) == (spec, [])
    import base64

    new = base64.b64decode(changes[0].new).decode()  # type: ignore[attr-defined]
    assert memlock.from_base_spec(new) == memlock.Limit(192 * MIB, 192 * MIB)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            '{\n\t"process": {\n\t\t"rlimits": [\n\t\t\t{\n\t\t\t\t"type": "RLIMIT_MEMLOCK",\n\t\t\t\t"hard": 65536,'
            '\n\t\t\t\t"soft": 65536\n\t\t\t}\n\t\t]\n\t}\n}\n',
            None,
        ),
        ('{"process":{"rlimits":[{"type":"RLIMIT_MEMLOCK","hard":65536,"soft":65536}]},"x":"é"}', None),
        (
            '{"process": {"rlimits": [{"type": "RLIMIT_MEMLOCK", "hard": 18446744073709551615, "soft": 65536}]}}\n',
            '{"process": {"rlimits": [{"type": "RLIMIT_MEMLOCK", "hard": 18446744073709551615, "soft": 134217728}]}}\n',
        ),
    ],
    ids=["tabs", "one line", "a larger hard limit"],
)
def test_a_specification_keeps_its_layout(before: str, after: str | None) -> None:
    assert memlock.in_base_spec(before, 128 * MIB) == (after or before.replace("65536", str(128 * MIB)))
