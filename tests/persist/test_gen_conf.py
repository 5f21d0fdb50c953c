"""gen-conf: the very files that bootstrap installs, in every form; kernel arguments as text, staged only when asked."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
import yaml

from qatprep.cli.open_host import open_host
from qatprep.exits import ExitCode
from qatprep.facts import persist
from qatprep.persist.arguments import COUNT
from qatprep.simulator.host import SimulatedHost
from tests.conftest import qatprep
from tests.engine.state import difference, snapshot
from tests.persist.hosts import installed

SETTINGS = ["--set", "devices.services=asym", "--set", "metrics=/var/lib/node_exporter/qatprep.prom"]
GRUB = "/etc/default/grub.d/90-qatprep.cfg"


def generated(*arguments: str) -> str:
    called = qatprep("gen-conf", *arguments, host=installed())
    assert called.code == ExitCode.OK, called.err
    return called.out


def as_bootstrap_installs(*settings: str) -> dict[str, tuple[str, int]]:
    host = installed()
    assert qatprep("bootstrap", "--no-smoke", *settings, host=host).code == ExitCode.OK
    found = {}
    for path in persist.FILES:
        node = host.tree.find(path)
        if node is not None:
            found[path] = (node.content().decode(), node.mode)
    return found


def from_document(text: str) -> dict[str, tuple[str, int]]:
    return {file["path"]: (file["content"], int(file["mode"], 8)) for file in json.loads(text)["files"]}


def from_butane(text: str) -> dict[str, tuple[str, int]]:
    config = yaml.safe_load(text)
    assert config["variant"] == "fcos"
    return _coreos(config, lambda contents: contents["inline"])


def from_ignition(text: str) -> dict[str, tuple[str, int]]:
    config = json.loads(text)
    assert config["ignition"] == {"version": "3.3.0"}

    def decoded(contents: dict[str, str]) -> str:
        with_scheme = urllib.parse.urlparse(contents["source"])
        assert with_scheme.scheme == "data"
        return base64.b64decode(with_scheme.path.partition(",")[2]).decode()

    return _coreos(config, decoded)


def _coreos(config: dict[str, Any], content: Any) -> dict[str, tuple[str, int]]:
    found = {file["path"]: (content(file["contents"]), file["mode"]) for file in config["storage"]["files"]}
    for unit in config["systemd"]["units"]:
        found[f"/etc/systemd/system/{unit['name']}"] = (unit["contents"], 0o644)
        assert unit.get("enabled", False) == (unit["name"] != "qatprep-metrics.service")
    return found


def from_cloud_init(text: str) -> dict[str, tuple[str, int]]:
    assert text.startswith("#cloud-config\n")
    config = yaml.safe_load(text)
    assert ["systemctl", "enable", "qatprep-apply.service", "qatprep-metrics.timer"] in config["runcmd"]
    return {file["path"]: (file["content"], int(file["permissions"], 8)) for file in config["write_files"]}


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        (["-o", "json"], from_document),
        (["-f", "butane"], from_butane),
        (["-f", "ignition"], from_ignition),
        (["-f", "cloud-init"], from_cloud_init),
    ],
    ids=["json", "butane", "ignition", "cloud-init"],
)
def test_every_form_holds_what_bootstrap_installs(arguments: list[str], read: Any) -> None:
    assert read(generated(*arguments, *SETTINGS)) == as_bootstrap_installs(*SETTINGS)


def test_written_below_a_directory(tmp_path: Path) -> None:
    out = generated("--write", str(tmp_path), *SETTINGS)
    for path, (text, mode) in as_bootstrap_installs(*SETTINGS).items():
        written = Path(f"{tmp_path}{path}")
        assert written.read_text() == text and written.stat().st_mode & 0o777 == mode
        assert str(written) in out
    link = tmp_path / "etc/systemd/system/multi-user.target.wants/qatprep-apply.service"
    assert link.resolve() == (tmp_path / "etc/systemd/system/qatprep-apply.service")
    assert "rpm-ostree kargs" in (tmp_path / "kernel-arguments.txt").read_text()
    assert generated("--write", str(tmp_path), *SETTINGS) == out  # ours may be written again


def test_a_foreign_file_in_the_way(tmp_path: Path) -> None:
    mine = tmp_path / "etc/udev/rules.d/90-qatprep.rules"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine\n")
    called = qatprep("gen-conf", "--write", str(tmp_path), host=installed())
    assert called.code == ExitCode.USAGE and str(mine) in called.err
    assert mine.read_text() == "mine\n" and not (tmp_path / "etc/systemd").exists()


def test_kernel_arguments_are_part_of_a_form_only_on_request() -> None:
    for form, key in (("butane", "kernel_arguments"), ("ignition", "kernelArguments")):
        assert key not in yaml.safe_load(generated("-f", form))
        assert "intel_iommu=on" in str(yaml.safe_load(generated("-f", form, "--with-kernel-arguments"))[key])
    assert GRUB not in generated("-f", "cloud-init")
    assert GRUB in generated("-f", "cloud-init", "--with-kernel-arguments")
    text = generated("-f", "kernel-arguments")
    for words in ("update-grub", "grubby --update-kernel=ALL", "/etc/kernel/cmdline", "rpm-ostree kargs", "bootc"):
        assert words in text


def test_a_program_somewhere_else() -> None:
    assert 'ExecStart="/opt/my tools/q%%p" bootstrap --boot --yes' in generated("--program", "/opt/my tools/q%p")
    called = qatprep("gen-conf", "--program", "qatprep", host=installed())
    assert called.code == ExitCode.USAGE and "absolute" in called.err


# -- without qatprep ----------------------------------------------------------------------------------------


def test_standalone_needs_no_qatprep() -> None:
    files = from_document(generated("--standalone", "-o", "json"))
    assert "ExecStart=/bin/sh /etc/qatprep-apply.sh" in files[persist.APPLY][0]
    assert not any("bin/qatprep" in text for text, _ in files.values())
    assert qatprep("gen-conf", "--standalone", *SETTINGS, host=installed()).code == ExitCode.USAGE


PFS = {"0000:6b:00.0": ("0x4940", 0, "dc"), "0000:e8:00.0": ("0x4940", 1, "asym;sym")}
CONFIG = """
devices: {services: "sym;asym", auto_reset: true}
overrides:
- match: {numa_node: 1}
  services: keep
  auto_reset: false
"""


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Two PFs as plain files: what is written stays there to be looked at. Their VFs are there already."""
    devices = tmp_path / "sys/bus/pci/devices"
    for bdf, (device, node, services) in PFS.items():
        pf = devices / bdf
        (pf / "qat").mkdir(parents=True)
        values = {"vendor": "0x8086", "device": device, "numa_node": node, "sriov_totalvfs": 2, "sriov_numvfs": 0}
        for name, value in {**values, "qat/state": "up", "qat/cfg_services": services}.items():
            (pf / name).write_text(f"{value}\n")
        (pf / "qat/auto_reset").write_text("off\n" if node == 0 else "on\n")
        (pf / "driver").symlink_to("../../drivers/4xxx")
        for index in range(2):
            vf = devices / bdf.replace("00.0", f"00.{index + 1}")
            vf.mkdir()
            (vf / "vendor").write_text("0x8086\n")
            (vf / "device").write_text("0x4941\n")
            (vf / "driver_override").write_text("(null)\n")
            (vf / "physfn").symlink_to(f"../{bdf}")
            group = f"{bdf[5:7]}{index}"
            (vf / "iommu_group").symlink_to(f"../../../kernel/iommu_groups/{group}")
            (pf / f"virtfn{index}").symlink_to(f"../{vf.name}")
            (tmp_path / "dev/vfio").mkdir(parents=True, exist_ok=True)
            (tmp_path / f"dev/vfio/{group}").write_text("")
    for name in ("4xxx", "vfio-pci"):
        (tmp_path / "sys/bus/pci/drivers" / name).mkdir(parents=True)
    (tmp_path / "sys/bus/pci/drivers/vfio-pci/bind").write_text("")
    other = devices / "0000:00:1f.0"
    other.mkdir()
    (other / "vendor").write_text("0x8086\n")
    (other / "device").write_text("0xa0a0\n")
    return tmp_path


def run_script(root: Path, script: str, shell: str) -> subprocess.CompletedProcess[str]:
    """The script with its paths below a directory, no modprobe, and a driver link where it binds."""
    text = script.replace("/sys/", f"{root}/sys/").replace("/dev/vfio", f"{root}/dev/vfio")
    text = text.replace("modprobe -a", ": modprobe -a")
    bound = 'case $1 in */vfio-pci/bind) ln -sfn ../../drivers/vfio-pci "$devices/$2/driver" ;; esac'
    text = text.replace("put() {\n", f"put() {{\n    {bound}\n", 1)
    argv = ["busybox", "sh"] if shell == "busybox" else [shell]
    return subprocess.run([*argv, "-c", text], capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_the_script_prepares_each_pf_by_the_config(plain: Path, tmp_path: Path, shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell}")
    group = "root"
    script = from_document(_standalone(CONFIG + f"nodes: {{group: {group}, mode: '0640'}}\n", tmp_path))[
        persist.SCRIPT
    ][0]
    done = run_script(plain, script, shell)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    devices = plain / "sys/bus/pci/devices"
    first, second = (devices / bdf for bdf in PFS)
    assert (first / "qat/cfg_services").read_text() == "sym;asym\n"
    assert (first / "qat/state").read_text() == "up\n"
    assert (second / "qat/cfg_services").read_text() == "asym;sym\n"
    assert [(pf / "qat/auto_reset").read_text() for pf in (first, second)] == ["on\n", "off\n"]
    for pf in (first, second):
        assert (pf / "sriov_numvfs").read_text() == "2\n"
    for bdf in ("0000:6b:00.1", "0000:6b:00.2", "0000:e8:00.1", "0000:e8:00.2"):
        assert (devices / bdf / "driver_override").read_text() == "vfio-pci\n"
    assert {p.stat().st_mode & 0o777 for p in (plain / "dev/vfio").iterdir()} == {0o640}


def test_the_script_tells_which_pf_failed_and_prepares_the_other(plain: Path, tmp_path: Path) -> None:
    shutil.rmtree(plain / "sys/bus/pci/devices/0000:6b:00.0/qat")
    script = from_document(_standalone(CONFIG + "nodes: {group: root}\n", tmp_path))[persist.SCRIPT][0]
    done = run_script(plain, script, "sh")
    assert done.returncode == 1
    assert done.stderr == "qatprep: 0000:6b:00.0: this kernel cannot set services\n"
    assert (plain / "sys/bus/pci/devices/0000:e8:00.0/sriov_numvfs").read_text() == "2\n"


def test_the_script_knows_families_and_what_they_cannot_offer(plain: Path, tmp_path: Path) -> None:
    """One PF is of another family by its override, the other is configured as it cannot be: it keeps its VFs."""
    text = """
nodes: {group: root}
overrides:
- match: {family: 4xxx}
  services: asym
- match: {family: 6xxx}
  services: dc
- match: {device: "0000:e8:*"}
  services: asym;sym;dc
"""
    (plain / "sys/bus/pci/devices/0000:e8:00.0/sriov_numvfs").write_text("2\n")
    done = run_script(plain, from_document(_standalone(text, tmp_path))[persist.SCRIPT][0], "sh")
    assert done.returncode == 1
    rule = "a 4xxx device offers at most 2 services at the same time, not asym;sym;dc"
    assert done.stderr == f"qatprep: 0000:e8:00.0: {rule}\n"
    first, second = (plain / "sys/bus/pci/devices" / bdf for bdf in PFS)
    assert (first / "qat/cfg_services").read_text() == "asym\n"
    assert (second / "qat/cfg_services").read_text() == "asym;sym\n"
    assert (second / "sriov_numvfs").read_text() == "2\n"


def _standalone(config: str, tmp_path: Path) -> str:
    file = tmp_path / "config.yaml"
    file.write_text(config)
    return generated("--standalone", "--config", str(file), "-o", "json")


# -- staging ------------------------------------------------------------------------------------------------


def off() -> SimulatedHost:
    host = open_host("/", "iommu-off-by-default")
    assert isinstance(host, SimulatedHost)
    host.tree.make_dirs("/etc/default/grub.d")
    host.tree.make_dirs("/var/lib/qatprep")
    return host


def staged(host: SimulatedHost, *more: str) -> Any:
    return qatprep("gen-conf", "--stage-kernel-arguments", "--yes", *more, host=host)


def test_staging_writes_one_file_runs_nothing_and_goes_back() -> None:
    host = off()
    before = snapshot(host)
    called = staged(host)
    assert called.code == ExitCode.REBOOT, called.err
    assert "update-grub" in called.out
    assert host.read_text(GRUB).raw.endswith('GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX intel_iommu=on"\n')
    assert not [operation for operation in host.operations if operation.op == "run"]
    again = staged(host)
    assert again.code == ExitCode.REBOOT and "staged already" in again.out
    assert qatprep("rollback", "--yes", host=host).code == ExitCode.OK
    assert difference(before, snapshot(host)) == []


def test_staging_ends_when_it_does_not_help() -> None:
    """Automation that stages and reboots until the IOMMU is on must not do so for ever."""
    host = off()
    assert staged(host).code == ExitCode.REBOOT
    host = host.reboot()
    assert staged(host).code == ExitCode.REBOOT
    host = host.reboot()
    for _ in range(2):
        called = staged(host)
        assert called.code == ExitCode.ERROR
        assert "staged at 2 boots" in called.err and COUNT in called.err


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("spr-2s", ExitCode.OK, "Nothing to stage"),
        ("dmar-absent", ExitCode.ERROR, "firmware offers no IOMMU"),
        ("iommu-off-argument", ExitCode.ERROR, "you have to remove it"),
    ],
)
def test_where_staging_is_no_help(name: str, code: ExitCode, words: str) -> None:
    host = open_host("/", name)
    assert isinstance(host, SimulatedHost)
    host.tree.make_dirs("/etc/default/grub.d")
    before = snapshot(host)
    called = staged(host)
    assert called.code == code and words in called.out + called.err
    assert difference(before, snapshot(host)) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("boot-systemd-boot", ("booted by systemd-boot", "/etc/kernel/cmdline")),
        ("boot-proxmox", ("proxmox-boot-tool refresh",)),
        ("boot-ostree", ("booted by ostree", "rpm-ostree kargs --append-if-missing=intel_iommu=on")),
        ("boot-bls", ("grubby --update-kernel=ALL",)),
        ("boot-grub-on-efi", ("grub2-mkconfig -o /boot/efi/EFI/centos/grub.cfg",)),
        ("boot-not-recognised", ("not recognised", "add intel_iommu=on")),
    ],
)
def test_a_boot_loader_without_a_file_to_stage_in(name: str, words: tuple[str, ...]) -> None:
    """Refused, with the commands that doctor names as well."""
    host = open_host("/", name)
    assert isinstance(host, SimulatedHost)
    called = staged(host)
    assert called.code == ExitCode.ERROR
    assert all(word in called.err for word in words), called.err
    assert "stage-kernel-arguments" not in qatprep("doctor", "--only", "iommu", host=host).out


def test_doctor_names_staging_where_it_works() -> None:
    host = open_host("/", "iommu-off-by-default")
    assert isinstance(host, SimulatedHost)
    assert "qatprep gen-conf --stage-kernel-arguments" in qatprep("doctor", "--only", "iommu", host=host).out
    before = snapshot(host)
    assert staged(host).code == ExitCode.REBOOT
    assert host.read_text(GRUB)
    assert qatprep("rollback", "--yes", host=host).code == ExitCode.OK
    assert difference(before, snapshot(host)) == []


def test_nothing_is_written_by_printing() -> None:
    host = installed()
    for form in ("files", "butane", "ignition", "cloud-init", "kernel-arguments"):
        qatprep("gen-conf", "-f", form, host=host)
    assert host.operations == []
