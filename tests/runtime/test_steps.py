"""What bootstrap does for containers: planned from recorded hosts, done with the real containerd, and undone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qatprep.assess import Skipped, assess
from qatprep.config import NodeConfig, parse
from qatprep.errors import InputError
from qatprep.facts import Facts
from qatprep.host.base import RunResult
from qatprep.host.linux import LinuxHost
from qatprep.plan import containers
from qatprep.runtime.containerd import KEY
from qatprep.runtime.dump import device_ownership, parse_dump
from qatprep.steps.base import Change, ChangeFailed, restore
from qatprep.steps.containerd import OwnDevices
from qatprep.steps.files import InstallFile
from qatprep.steps.units import RestartUnit
from qatprep.text import Foreign
from tests.checks.hosts import facts
from tests.runtime.cases import DEBIAN, IMPORT, OTHER_V2, V2
from tests.runtime.conftest import Containerd
from tests.runtime.test_node import BASE, ENOUGH, MIB, OWNED, Node, file, process
from tests.runtime.test_node_memlock import SPEC, WITH_SPEC, crio_node

DROPIN = "/etc/systemd/system/containerd.service.d/90-qatprep-memlock.conf"
SMALL = Node(drop_ins=(), daemon=8 * MIB)


def plan(looked: Facts, config: NodeConfig) -> tuple[list[Change], list[Skipped]]:
    return containers.plan(assess(looked, config))


def planned(node: Node, config: NodeConfig | None = None) -> list[str]:
    changes, skipped = plan(facts(BASE, node.text()), config or NodeConfig())
    return [f"{type(c).__name__} {c.subject}" for c in changes] + [f"skipped {item.subject}" for item in skipped]


def config(**containers: object) -> NodeConfig:
    lines = "".join(f"  {key}: {value}\n" for key, value in containers.items())
    return parse(f"containers:\n{lines}", "config")


# -- plan -------------------------------------------------------------------------------------------------------------


def test_a_node_that_is_right_needs_nothing() -> None:
    assert planned(Node()) == []
    assert planned(Node(), config(device_ownership="true", restart="containerd.service")) == []


def test_memlock_is_part_of_making_a_kubernetes_node_ready() -> None:
    changes, _ = plan(facts(BASE, SMALL.text()), NodeConfig())
    assert changes[0].subject == DROPIN
    assert changes[0].summary.after.startswith("LimitMEMLOCK 192M instead of 8M")
    assert not any(isinstance(change, RestartUnit) for change in changes)


@pytest.mark.parametrize(("size", "bytes_"), [("16777216", 16 * MIB), ("128M", 128 * MIB), ("1G", 1024 * MIB)])
def test_memlock_as_configured(size: str, bytes_: int) -> None:
    """The paper's size, too: on request."""
    import base64

    changes, _ = plan(facts(BASE, SMALL.text()), config(memlock=size))
    text = base64.b64decode(changes[0].new).decode()  # type: ignore[attr-defined]
    assert f"LimitMEMLOCK={bytes_}" in text.splitlines()
    assert planned(SMALL, config(memlock="keep")) == []


@pytest.mark.parametrize("size", ["16MB", "64k", "lots", "512", "-1"])
def test_memlock_that_systemd_would_ignore_is_refused(size: str) -> None:
    with pytest.raises(InputError, match="memlock"):
        config(memlock=size)


def test_somebody_elses_drop_in_is_left_alone() -> None:
    node = Node(drop_ins=(("containerd.service.d/90-qatprep-memlock.conf", "[Service]\nLimitMEMLOCK=8M"),))
    assert planned(node) == [f"skipped {DROPIN}"]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("10-own.conf", "90-qatprep-memlock.conf"),
        ("memlock.conf", "zz-qatprep-memlock.conf"),  # the paper's name: systemd reads it after 90-...
        ("zzz.conf", None),
    ],
)
def test_a_drop_in_that_would_overrule_ours(theirs: str, ours: str | None) -> None:
    node = Node(drop_ins=((f"containerd.service.d/{theirs}", "[Service]\nLimitMEMLOCK=16777216"),), daemon=16 * MIB)
    directory = "/etc/systemd/system/containerd.service.d"
    ours_then = [f"InstallFile {directory}/{ours}", "Systemctl containerd.service"]
    assert planned(node) == (ours_then if ours else [f"skipped {directory}/{theirs}"])


def content(change: object) -> str:
    import base64

    assert isinstance(change, InstallFile)
    return base64.b64decode(change.new).decode()


@pytest.mark.parametrize(
    ("text", "daemon", "line"),
    [
        ("LimitMEMLOCK=8M:infinity", 8 * MIB, f"LimitMEMLOCK={ENOUGH}:infinity"),
        ("LimitMEMLOCK=8M:16M", 8 * MIB, f"LimitMEMLOCK={ENOUGH}"),
        ("LimitMEMLOCK=8M", 1024 * MIB, f"LimitMEMLOCK={1024 * MIB}"),
    ],
    ids=["the hard limit is kept", "a smaller hard limit is raised", "the daemon has more than its files say"],
)
def test_a_drop_in_takes_nothing_away(text: str, daemon: int, line: str) -> None:
    node = Node(drop_ins=(("containerd.service.d/10-a.conf", f"[Service]\n{text}"),), daemon=daemon)
    changes, _ = plan(facts(BASE, node.text()), NodeConfig())
    assert content(changes[0]).splitlines()[-1] == line


def test_a_larger_limit_is_kept_whatever_size_is_configured() -> None:
    node = Node(drop_ins=(("containerd.service.d/10-a.conf", "[Service]\nLimitMEMLOCK=1G"),), daemon=1024 * MIB)
    assert planned(node, config(memlock="256M")) == []


def test_what_overrules_the_unit_is_changed_only_when_asked() -> None:
    own = "/etc/crio/crio.conf.d/70-own.conf"
    low = facts(BASE, crio_node("memlock=65536:65536"))
    changes, skipped = plan(low, NodeConfig())
    assert changes == [] and [(item.subject, item.finding) for item in skipped] == [(own, "QP-MEM-001")]
    changes, skipped = plan(low, config(memlock="256M"))
    assert skipped == [] and [c.subject for c in changes] == ["/etc/crio/crio.conf.d/90-qatprep.conf"]
    assert content(changes[0]).splitlines()[-1] == f'default_ulimits = ["memlock={256 * MIB}:{256 * MIB}"]'
    assert KEY not in content(changes[0])
    both, _ = plan(low, config(memlock="256M", device_ownership="true"))
    assert len(both) == 1 and KEY in content(both[0]) and "default_ulimits" in content(both[0])


def test_a_base_runtime_spec_is_left_to_its_owner() -> None:
    node = Node(config=WITH_SPEC, more=file("/etc/containerd/cri-base.json", SPEC))
    assert planned(node) == ["skipped /etc/containerd/cri-base.json"]


def test_nothing_for_hosts_without_kubernetes_unless_asked() -> None:
    text = file("/usr/lib/systemd/system/containerd.service", "[Service]") + process(
        900, "containerd", "/system.slice/containerd.service", argv="/usr/bin/containerd"
    )
    assert plan(facts(BASE, text), NodeConfig()) == ([], [])
    assert [c.subject for c in plan(facts(BASE, text), config(memlock="256M"))[0]] == [DROPIN, "containerd.service"]


def test_ownership_only_when_asked_for() -> None:
    node = Node(config="version = 2\n")
    assert planned(node) == []
    assert planned(node, config(device_ownership="true")) == ["OwnDevices /etc/containerd/config.toml"]


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("version = \n", "not TOML"),
        ('disabled_plugins = ["cri"]\n', "CRI plugin"),
        ("version = 7\n", "version = 7"),
        ('root = "/x"\n', "which containerd reads it is not known"),
    ],
)
def test_what_is_refused_and_why(toml: str, words: str) -> None:
    changes, skipped = plan(facts(BASE, Node(config=toml).text()), config(device_ownership="true"))
    assert changes == []
    assert words in skipped[0].reason


def test_restart_only_of_the_unit_that_is_named() -> None:
    asked = config(restart="containerd.service")
    assert planned(SMALL, asked)[-1] == "RestartUnit containerd.service"
    assert planned(Node(daemon=8 * MIB), asked) == ["RestartUnit containerd.service"]
    assert planned(Node(daemon=8 * MIB), config(restart="docker.service")) == ["skipped docker.service"]
    change = plan(facts(BASE, SMALL.text()), asked)[0][-1]
    assert "delete and recreate" in change.summary.cost[0]


def test_k3s_and_crio() -> None:
    place = "/var/lib/rancher/k3s/agent/etc/containerd/config.toml"
    k3s = (
        file("/etc/systemd/system/k3s.service", f"[Service]\nLimitMEMLOCK={ENOUGH}")
        + process(900, "k3s-server", "/system.slice/k3s.service", memlock=ENOUGH, argv="/usr/local/bin/k3s server")
        + file(place, f"version = 3\n[plugins.'io.containerd.cri.v1.runtime']\n  {KEY} = false")
    )
    crio = (
        file("/usr/lib/systemd/system/crio.service", "[Service]")
        + process(900, "crio", "/system.slice/crio.service", memlock=ENOUGH, argv="/usr/bin/crio")
        + process(960, "kubelet", "/system.slice/kubelet.service", argv="/usr/bin/kubelet")
        + file("/etc/systemd/system/crio.service.d/a.conf", "[Service]\nLimitMEMLOCK=1G")
    )
    asked = config(device_ownership="true")
    assert [c.subject for c in plan(facts(BASE, k3s), asked)[0]] == ["/etc/rancher/k3s/config.yaml.d/90-qatprep.yaml"]
    assert [c.subject for c in plan(facts(BASE, crio), asked)[0]] == ["/etc/crio/crio.conf.d/90-qatprep.conf"]


def test_docker_has_nothing_like_it() -> None:
    text = process(900, "containerd", "/system.slice/containerd.service", argv="/usr/bin/containerd") + process(
        901, "dockerd", "/system.slice/docker.service", argv="/usr/bin/dockerd"
    )
    changes, skipped = plan(facts(BASE, text), config(device_ownership="true"))
    assert changes == [] and "--group-add" in skipped[0].reason


def test_no_runtime_at_all() -> None:
    assert plan(facts(BASE), NodeConfig()) == ([], [])
    skipped = plan(facts(BASE), config(device_ownership="true"))[1]
    assert skipped == [Skipped("containers", "nothing on this host runs containers", "QP-RT-001")]


# -- done by the real containerd --------------------------------------------------------------------------------------


def own(main: Path, containerd: Containerd | None = None, may_edit: tuple[str, ...] = ()) -> OwnDevices:
    return OwnDevices(str(main), str(main), "test", str(containerd.path) if containerd else "containerd", may_edit)


def snapshot(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes(), path.stat().st_mode & 0o7777)
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("text", [DEBIAN, V2.replace("IMPORTS", ""), V2.replace("IMPORTS", IMPORT), None])
def test_done_proven_and_undone(containerd: Containerd, text: str | None, tmp_path: Path) -> None:
    main = tmp_path / "config.toml"
    (tmp_path / "conf.d").mkdir()
    if text is not None:
        main.write_text(text.replace("DIR", str(tmp_path)))
        main.chmod(0o640)
    before = snapshot(tmp_path)
    host = LinuxHost()
    change = own(main, containerd)
    outcome = change.do(host)
    assert outcome
    assert device_ownership(parse_dump(containerd.dump(main))) is True
    assert len(snapshot(tmp_path)) == len(before) + (str(outcome["path"]) not in before)  # no trial is left behind
    if text is not None:
        assert main.stat().st_mode & 0o7777 == 0o640
    assert change.do(host) is None  # a second time there is nothing to do
    again = restore(change.record())
    again.undo(host, outcome)
    again.undo(host, outcome)
    assert snapshot(tmp_path) == before


def test_what_containerd_would_lose_is_never_written(containerd: Containerd, tmp_path: Path) -> None:
    """A drop-in of another's that replaces the main file's table on 1.x is edited in place, not overlaid."""
    main = tmp_path / "config.toml"
    (tmp_path / "conf.d").mkdir()
    main.write_text(V2.replace("IMPORTS", IMPORT).replace("DIR", str(tmp_path)))
    (tmp_path / "conf.d" / "other.toml").write_text(OTHER_V2)
    outcome = own(main, containerd).do(LinuxHost())
    assert outcome
    expected = "90-qatprep.toml" if containerd.version.major >= 2 else "other.toml"
    assert Path(str(outcome["path"])).name == expected
    assert device_ownership(parse_dump(containerd.dump(main))) is True


@pytest.mark.parametrize("text", ["version = \n", 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'])
def test_refused_without_a_trace(containerd: Containerd, text: str, tmp_path: Path) -> None:
    main = tmp_path / "config.toml"
    main.write_text(text)
    before = snapshot(tmp_path)
    with pytest.raises(ChangeFailed):
        own(main, containerd).do(LinuxHost())
    assert snapshot(tmp_path) == before


def test_a_link_is_left_alone(containerd: Containerd, tmp_path: Path) -> None:
    real = tmp_path / "store.toml"
    real.write_text(DEBIAN)
    main = tmp_path / "config.toml"
    main.symlink_to(real)
    with pytest.raises(ChangeFailed, match="is a link"):
        own(main, containerd).do(LinuxHost())
    assert real.read_text() == DEBIAN and os.path.islink(main)


def test_undo_respects_what_somebody_changed_since(containerd: Containerd, tmp_path: Path) -> None:
    main = tmp_path / "config.toml"
    main.write_text(DEBIAN)
    host = LinuxHost()
    outcome = own(main, containerd).do(host)
    main.write_text(main.read_text() + "# mine\n")
    with pytest.raises(ChangeFailed, match="was changed since by another program"):
        own(main).undo(host, outcome)
    assert main.read_text().endswith("# mine\n")


def test_without_containerd_nothing_is_written(tmp_path: Path) -> None:
    class Bare(LinuxHost):
        def run(self, argv: list[str], *, deadline: float = 30.0) -> RunResult:
            return RunResult(tuple(argv), 127, Foreign(""), Foreign("containerd: not found"))

    main = tmp_path / "config.toml"
    main.write_text(OWNED.replace("true", "false"))
    before = snapshot(tmp_path)
    with pytest.raises(ChangeFailed, match="no containerd here"):
        own(main).do(Bare())
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("mode", "said"), [(0o777, "writable by every user"), (0o775, "writable by group")], ids=["everybody", "a group"]
)
def test_a_configuration_that_others_can_change_is_not_edited(tmp_path: Path, mode: int, said: str) -> None:
    """Which file containerd reads is what a process says of itself: it may be anybody's."""
    (tmp_path / "sys/bus").mkdir(parents=True)
    folder = tmp_path / "srv"
    folder.mkdir()
    folder.chmod(mode)
    (folder / "config.toml").write_text(V2.replace("IMPORTS\n", ""))
    before = (folder / "config.toml").read_text()
    change = OwnDevices("/srv/config.toml", "/srv/config.toml", "a test")
    with pytest.raises(ChangeFailed, match=said):
        change.do(LinuxHost(str(tmp_path)))
    assert (folder / "config.toml").read_text() == before
    assert os.listdir(folder) == ["config.toml"]
