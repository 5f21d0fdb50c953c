"""The node on one screen, and refusals with all that they reach."""

from __future__ import annotations

import pytest

from qatprep.cli.open_host import open_host
from qatprep.exits import ExitCode
from tests.conftest import qatprep
from tests.terminal import on_terminal


def screen(verb: str, name: str, *options: str, columns: int = 80) -> list[str]:
    called = qatprep(verb, *options, "--simulate", name, env={"COLUMNS": str(columns)})
    assert called.err == ""
    return called.out.splitlines()


def row(lines: list[str], label: str) -> list[str]:
    """What is said beside a label."""
    start = next((n for n, line in enumerate(lines) if line.startswith(f"{label:16}")), len(lines))
    found = [line[16:] for line in lines[start : start + 1]]
    for line in lines[start + 1 :]:
        if not line.startswith(" " * 16):
            break
        found.append(line[16:])
    return found


TABLES = {
    "spr-2s-ready": """\
NUMA  PFs 4xxx                 services  state  usable  held
   0  0000:{6b,70,75,7a}:00.0  sym;asym  up      64/64     -
   1  0000:{e8,ed,f2,f7}:00.0  sym;asym  up      64/64     -""",
    "vf-held": """\
NUMA  PFs 4xxx                 services  state  usable  held  finding
   0  0000:6b:00.0             dc        up       0/16     1  QP-SVC-001
   0  0000:{70,75,7a}:00.0     sym;asym  up      48/48     -
   1  0000:{e8,ed,f2,f7}:00.0  sym;asym  up      64/64     -""",
    "half-bound": """\
NUMA  PFs 4xxx                 services  state  usable  held  finding
   0  0000:{6b,70,75}:00.0     sym;asym  up      48/48     -
   0  0000:7a:00.0             sym;asym  up       8/16     -  QP-VFIO-001
   1  0000:{e8,ed,f2,f7}:00.0  sym;asym  up      64/64     -""",
    "vm-vfs": """\
VFs 4xxx                     driver  IOMMU  device node  usable         held
0000:00:{05,06,07,08}.0      none    on     -            no: no driver  -""",
}
"""Host -> its devices at 80 columns."""


@pytest.mark.parametrize("name", TABLES)
def test_the_devices(name: str) -> None:
    text = "\n".join(screen("status", name))
    squeezed = [" ".join(line.split()) for line in text.splitlines()]
    for line in TABLES[name].splitlines():
        assert " ".join(line.split()) in squeezed, text


@pytest.mark.parametrize("name", ["spr-2s-ready", "spr-8s-ready", "spr-8s", "k8s-as-the-paper-says", "vm-vfs"])
def test_it_is_one_screen_of_80_columns(name: str) -> None:
    lines = screen("status", name)
    assert len(lines) <= 40
    commands = [line for line in lines if line[16:].startswith(("qatprep ", "on hardware: "))]
    assert max(len(line) for line in lines if line not in commands) <= 80, "\n".join(lines)


def test_32_pfs_are_a_line_for_each_numa_node_and_a_total() -> None:
    lines = screen("status", "spr-8s-ready")
    table = [line for line in lines if "/64 " in line or line.startswith(" all")]
    assert len(table) == 9 and table[-1].split() == ["all", "32", "PFs", "512/512", "-"]
    assert "8 x Xeon Platinum 8480+, 8 NUMA" in " ".join(" ".join(lines[:2]).split())


def test_verbose_unfolds_and_a_wide_terminal_has_more_columns() -> None:
    assert sum(" 16/16 " in line for line in screen("status", "spr-2s-ready", "-v")) == 8
    assert sum("vfio-pci" in line for line in screen("status", "spr-2s-ready", "-v")) == 1 + 128
    wide = screen("status", "spr-2s-ready", columns=160)
    header = next(line for line in wide if line.startswith("NUMA"))
    assert "heartbeat" in header and "VF driver" in header and max(map(len, wide)) <= 160


@pytest.mark.parametrize("name", ["dc-only", "pf-hung", "nodes-root-only", "spr-2s-no-vfs", "vfs-unbound"])
def test_what_cannot_serve_tls_now_is_not_counted_as_usable(name: str) -> None:
    counts = qatprep("status", "--simulate", name, "-o", "json").json["counts"]
    assert counts["usable"] < 128


def test_what_can_be_changed_now_and_what_waits_are_counted_apart() -> None:
    counts = qatprep("status", "--simulate", "vf-held", "-o", "json").json["counts"]
    assert (counts["changes_now"], counts["changes_waiting"]) == (0, 35)
    assert "35 changes wait until 0000:6b:00.3 is free" in row(screen("status", "vf-held"), "configuration")
    half = row(screen("status", "half-bound"), "configuration")
    assert half == ["built-in defaults; 16 changes can be made now (0000:7a:00.0)"]


def test_kubernetes() -> None:
    lines = screen("status", "k8s-as-the-paper-says", columns=120)
    pod = "istio-system/istio-ingressgateway-7c86d77d76-qrfbx"
    assert row(lines, "held") == [f"0000:6b:00.{{1,2}}  envoy, pid 3031, pod {pod}"]
    assert "✗ memlock 16M; QAT needs 192M for 8 VFs  QP-MEM-001" in row(lines, "containers")
    kubernetes = row(lines, "Kubernetes")
    assert "resource qat.intel.com/cy: 128 of 128 VFs registered" in kubernetes
    assert f"! pod {pod} (/var/log/pods): 2 VFs  QP-K8S-009" in kubernetes


REFUSED = {
    ("bootstrap", "vf-held"): [
        "error: refused: 0000:6b:00.0: 0000:6b:00.3 is open in envoy (process 4711)",
        "held by         0000:6b:00.3  /dev/vfio/140  envoy, pid 4711",
        "                no pod (its cgroup names none)",
        "cause           removing its VFs would block in the kernel until envoy closes /dev/vfio/140",
        "must stop       envoy, pid 4711: its connections end",
        "must restart    the same, with a VF: the device nodes get new numbers",
        "also changed    15 free VFs of 0000:6b:00.0 are removed and made again",
        "not affected    7 other PFs with 112 VFs",
    ],
    ("device unbind 6b:00.3", "vf-held"): [
        "planned         0000:6b:00.3 driver vfio-pci -> none",
        "cause           taking it from its driver would block in the kernel until envoy closes /dev/vfio/140",
        "not affected    7 other PFs with 112 VFs",
    ],
    ("device services dc 6b:00.0", "k8s-as-the-paper-says"): [
        "must stop       pod istio-system/istio-ingressgateway-7c86d77d76-qrfbx: its connections end; "
        "kubectl -n istio-system delete pod istio-ingressgateway-7c86d77d76-qrfbx",
        "also changed    14 free VFs of 0000:6b:00.0 are removed and made again",
    ],
    ("bootstrap --set devices.services=dc", "k8s-as-the-paper-says"): [
        "changes as well 7 other PFs, none of whose VFs is held",
        "not affected    containerd.service; kubelet",
        "device plugin   re-reads the node every 5 s: no restart needed",
    ],
}


@pytest.mark.parametrize(("verb", "name"), REFUSED)
def test_a_refusal_says_what_it_would_reach(verb: str, name: str) -> None:
    called = qatprep(*verb.split(), "--yes", "--simulate", name)
    assert called.code == ExitCode.ERROR
    lines = called.err.splitlines()
    for line in REFUSED[verb, name]:
        assert line in lines, called.err
    assert "othing was changed" in called.out + called.err


def test_watch_shows_it_again_after_each_event(monkeypatch: pytest.MonkeyPatch) -> None:
    from qatprep.host import udev

    class Events:
        waits = 0

        def wait(self, seconds: float) -> tuple[str, ...]:
            Events.waits += 1
            if Events.waits == 3:
                raise KeyboardInterrupt
            return ("0000:6b:00.1",)

    monkeypatch.setattr(udev, "Watch", Events)
    host = open_host("/", "half-bound")
    host.simulated = False
    called = qatprep("status", "--watch", host=host)
    assert called.code == ExitCode.FINDINGS
    assert called.out.count("qatprep status  ") == 3 and called.err.count("Ctrl-C ends it") == 3


@pytest.mark.parametrize("options", [("--simulate", "spr-2s"), ("--root", "fixtures/sysfs/spr-2s/host.txt")])
def test_watch_is_for_the_running_machine(options: tuple[str, str]) -> None:
    called = qatprep("status", "--watch", *options)
    assert called.code == ExitCode.USAGE and "--watch" in called.err and called.out == ""


def test_events_of_the_kernel_are_waited_for() -> None:
    """A real netlink socket; nothing happens to PCI devices meanwhile."""
    from qatprep.errors import QatprepError
    from qatprep.host.udev import Watch

    try:
        events = Watch()
    except QatprepError as e:
        pytest.skip(e.message)
    assert events.wait(0.01) == ()


@pytest.mark.parametrize("columns", [80, 160])
def test_a_refusal_wraps_at_blanks_on_a_terminal(columns: int) -> None:
    with on_terminal("bootstrap", "--yes", "--simulate", "vf-held", columns=columns) as terminal:
        assert terminal.end() == ExitCode.ERROR
        lines = terminal.text.replace("\r\n", "\n").splitlines()
    assert max(map(len, lines)) <= columns
    said = " ".join(" ".join(lines).split())
    assert "would block in the kernel until envoy closes /dev/vfio/140 must stop" in said
