"""The Kubernetes way: labels for NFD, the DaemonSet, and the device plugin that waits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
import typer.main
import yaml

from qatprep.cli.features import FILE, READY, app
from qatprep.cli.open_host import open_host
from qatprep.cli.session import Session
from qatprep.config import NodeConfig
from qatprep.engine.bootstrap import bootstrap
from qatprep.errors import NeedsRoot
from qatprep.host.base import Host
from qatprep.mesh.render.kubernetes import device_plugin
from tests.fleet.lab import ROOT, program

MANIFESTS = ROOT / "packaging" / "kubernetes"
DOMAIN = "qatprep.feature.node.kubernetes.io/"


def features(host: Host, *arguments: str) -> str:
    app._add_completion = False
    out = StringIO()
    command = typer.main.get_command(app)
    command.main(args=list(arguments), standalone_mode=False, obj=Session(out=out, given_host=host))
    return out.getvalue()


def labels(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name.removeprefix(DOMAIN): value for name, value in (line.split("=") for line in lines)}


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        (
            "spr-2s-ready",
            {"qat": "true", "qat-prepared": "true", "qat-proven": "false", "qat-vfs": "128", "qat-finding": "none"},
        ),
        ("dmar-absent", {"qat": "false", "qat-prepared": "false", "qat-vfs": "0", "qat-finding": "QP-IOMMU-001"}),
        ("half-bound", {"qat": "false", "qat-prepared": "false", "qat-vfs": "120", "qat-finding": "QP-VFIO-001"}),
        ("no-qat", {"qat": "false", "qat-prepared": "false", "qat-vfs": "0", "qat-finding": "none"}),
        ("cpu-amd-zen4", {"cryptomb": "true", "qat": "false"}),
        ("cpu-no-ifma", {"cryptomb": "false"}),
    ],
)
def test_labels(host: str, wanted: dict[str, str]) -> None:
    got = labels(features(open_host("/", host)))
    assert wanted.items() <= got.items()
    assert set(got) == {"qat", "qat-prepared", "qat-proven", "qat-vfs", "qat-finding", "cryptomb", "cryptomb-path"}, (
        "the same ones on every node"
    )


def test_the_files_follow_the_node() -> None:
    host = open_host("/", "srf-1s")
    features(host, "--write", "--expire", "15")
    assert not host.exists(READY)
    bootstrap(host, NodeConfig(smoke=False))
    features(host, "--write", "--expire", "15")
    text = host.read_text(FILE).raw
    assert labels(text)["qat-prepared"] == "true"
    assert text.startswith("# +expiry-time=2026-03-02T08:15:")
    assert host.exists(READY)
    host.write("/sys/bus/pci/devices/0000:6b:00.0/sriov_numvfs", b"0")
    features(host, "--write")
    assert labels(host.read_text(FILE).raw)["qat-prepared"] == "false"
    assert "expiry" not in host.read_text(FILE)
    assert not host.exists(READY)


def test_only_root_writes() -> None:
    with pytest.raises(NeedsRoot):
        features(open_host("/", "spr-2s-as-user"), "--write")


def test_the_document_has_its_schema() -> None:
    document = json.loads(features(open_host("/", "dmar-absent"), "--output", "json"))
    schema = json.loads(files("qatprep.schema").joinpath("features.json").read_text())
    fastjsonschema.compile(schema)(document)


# -- manifests --------------------------------------------------------------------------------------------------------


def manifest(name: str) -> Any:
    return yaml.safe_load((MANIFESTS / name).read_text())


def patched_plugin() -> dict[str, Any]:
    """Intel's DaemonSet as qatprep renders it, with the patch put in as kustomize does."""
    plugin, patch = device_plugin(), manifest("device-plugin-wait.yaml")
    assert patch["metadata"]["name"] == plugin["metadata"]["name"]
    pod, more = plugin["spec"]["template"]["spec"], patch["spec"]["template"]["spec"]
    assert set(more) == {"nodeSelector", "initContainers", "volumes"}
    pod["nodeSelector"] |= more["nodeSelector"]
    pod["initContainers"] = more["initContainers"]
    pod["volumes"] += more["volumes"]
    return plugin


def test_the_manifests_are_valid(tmp_path: Path) -> None:
    validate = program("kubernetes-validate")
    if validate is None:
        pytest.skip("kubernetes-validate is not installed (pip install kubernetes-validate)")
    (tmp_path / "plugin.yaml").write_text(yaml.safe_dump(patched_plugin()))
    paths = [tmp_path / "plugin.yaml", MANIFESTS / "daemonset.yaml", MANIFESTS / "namespace.yaml"]
    for version in ("1.30", "1.36"):
        command = [validate, "-k", version, "--strict", *map(str, paths)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_daemonset_asks_for_no_more_than_it_says() -> None:
    pod = manifest("daemonset.yaml")["spec"]["template"]["spec"]
    assert not {"hostPID", "hostNetwork", "hostIPC", "serviceAccountName"} & set(pod)
    assert pod["automountServiceAccountToken"] is False
    context = pod["containers"][0]["securityContext"]
    assert (context["privileged"], context["readOnlyRootFilesystem"]) == (False, True)
    assert context["capabilities"]["drop"] == ["ALL"]
    documented = (ROOT / "docs" / "fleet.md").read_text()
    for capability in context["capabilities"]["add"]:
        assert f"| {capability} |" in documented, capability


def test_the_daemonset_prepares_labels_and_ends_when_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    stub = tmp_path / "qatprep"
    stub.write_text(f'#!/bin/sh\necho "$@" >>{log}\n')
    stub.chmod(0o755)
    command = manifest("daemonset.yaml")["spec"]["template"]["spec"]["containers"][0]["command"]
    script = command[-1].replace("/usr/local/bin/qatprep", str(stub))
    run = subprocess.Popen([*command[:-1], script], start_new_session=True)
    try:
        _until(lambda: log.exists() and len(log.read_text().splitlines()) == 2)
        run.send_signal(signal.SIGTERM)
        assert run.wait(10) == 0
    finally:
        os.killpg(run.pid, signal.SIGKILL)
    assert log.read_text().splitlines() == [
        "bootstrap --root /host --no-smoke",
        "features --root /host --write --expire 15",
    ]
    period = int(script.split("sleep ")[1].split()[0])
    assert period < 15 * 60, "the labels must not lapse before they are written again"


def test_the_plugin_waits_until_the_devices_are_prepared(tmp_path: Path) -> None:
    """The very command of the patch, with the place where it looks."""
    host = open_host("/", "srf-1s")
    command = patched_plugin()["spec"]["template"]["spec"]["initContainers"][0]["command"]
    assert READY in command[-1]
    ready = tmp_path / "ready"
    script = command[-1].replace(READY, str(ready)).replace("sleep 2", "sleep 0.05")
    waiting = subprocess.Popen([*command[:-1], script])
    try:
        features(host, "--write")
        time.sleep(0.3)
        assert waiting.poll() is None and not host.exists(READY)
        bootstrap(host, NodeConfig(smoke=False))
        features(host, "--write")
        assert host.exists(READY)
        ready.touch()  # what the node's /run shows the container
        assert waiting.wait(10) == 0
    finally:
        waiting.kill()


def _until(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
