"""`gen-conf -f cdi`: its fields by the specification, and what a container of the real Podman gets."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import tools
from tests.conftest import EVERYTHING, qatprep

SCRIPT = Path(__file__).with_name("podman.sh")
READY = "spr-2s-ready"
full_run = pytest.mark.skipif(not EVERYTHING, reason="twenty seconds; in the full run")


def spec(*arguments: str, host: str = READY) -> dict[str, Any]:
    ran = qatprep("gen-conf", "-f", "cdi", "--simulate", host, *arguments)
    assert ran.code == 0, ran.err
    found: dict[str, Any] = json.loads(ran.out)
    return found


def nodes(edits: dict[str, Any]) -> list[str]:
    return [node["path"] for node in edits["containerEdits"]["deviceNodes"]]


def test_every_vf_by_its_address_and_all() -> None:
    document = spec()
    assert (document["cdiVersion"], document["kind"]) == ("0.5.0", "intel.com/qat")
    names = [device["name"] for device in document["devices"]]
    assert (len(names), names[0], names[-1]) == (129, "0000-6b-00.1", "all")
    # SPEC.md: names begin and end with a letter or digit, with dashes, underscores and dots between.
    assert all(re.fullmatch(r"[a-zA-Z0-9]([a-zA-Z0-9_.-]*[a-zA-Z0-9])?", name) for name in names)
    assert nodes(document) == ["/dev/vfio/vfio"]
    single = [path for device in document["devices"][:-1] for path in nodes(device)]
    assert nodes(document["devices"][-1]) == single and len(set(single)) == 128


def test_the_mode_of_the_configuration() -> None:
    document = spec("--set", "nodes.mode=0600")
    edits = [document, *document["devices"]]
    assert {n["fileMode"] for e in edits for n in e["containerEdits"]["deviceNodes"]} == {0o600}
    assert {n["permissions"] for e in edits for n in e["containerEdits"]["deviceNodes"]} == {"rw"}


def test_no_vf_is_an_error() -> None:
    ran = qatprep("gen-conf", "-f", "cdi", "--simulate", "spr-2s")
    assert (ran.code, ran.out) == (1, "")
    assert "none of the 0 VFs can be given to a container" in ran.err and "qatprep bootstrap" in ran.err
    ran = qatprep("gen-conf", "-f", "cdi", "--simulate", READY, "--write", "/nowhere")
    assert ran.code == 2 and "gen-conf -f cdi > /run/cdi/intel-qat.json" in ran.err


@pytest.fixture(scope="module")
def podman() -> Path:
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces can be made here (root is needed)")
    try:
        return tools.get("podman")
    except tools.Unavailable as e:
        pytest.skip(f"no Podman: {e}")


@pytest.mark.parametrize(
    ("arguments", "owner", "count"),
    [
        pytest.param(["--device", "intel.com/qat=0000-6b-00.1"], "0:0", 1, marks=full_run),
        pytest.param(["--user", "101:102", "--device", "intel.com/qat=0000-6b-00.1"], "101:102", 1, marks=full_run),
        (["--user", "101:102", "--device", "intel.com/qat=all"], "101:102", 128),
    ],
)
def test_a_container_of_the_real_podman(
    podman: Path, arguments: list[str], owner: str, count: int, tmp_path: Path
) -> None:
    document = spec()
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(document))
    everything = [*nodes(document), *nodes(document["devices"][-1])]
    inside = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", str(SCRIPT)]
    ran = subprocess.run(
        [*inside, str(podman), str(tmp_path), str(file), " ".join(everything), *arguments],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if "cgroup2" in ran.stderr or "cgroups in hybrid mode" in ran.stderr:
        pytest.skip(f"no cgroup v2 can be mounted here: {ran.stderr.strip()[:200]}")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    expected = everything[: 1 + count]
    assert sorted(ran.stdout.splitlines()) == sorted(f"660 {owner} {path}" for path in expected)


def test_a_device_that_is_not_there_is_refused_by_podman(podman: Path, tmp_path: Path) -> None:
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(spec()))
    inside = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", str(SCRIPT), str(podman), str(tmp_path)]
    argv = [*inside, str(file), "/dev/vfio/vfio", "--device", "intel.com/qat=none"]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode and "unresolvable CDI devices intel.com/qat=none" in ran.stderr
