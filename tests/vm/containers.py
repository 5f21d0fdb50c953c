"""A container runtime for guests with a Debian tree: containerd, a client of its CRI, images made of Debian files."""

from __future__ import annotations

import glob
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile

from . import userland
from .extras import beside, once
from .packages import Apt, run, unpack

RUNTIME = ("containerd", "runc", "libstdc++6")  # the last for grpc
WORKLOAD = ("bash", "coreutils", "openssl", "qatengine")
IMAGE = "rig.local/qat:1"
"""Debian's openssl with qatengine and libqat."""
PAUSE = "registry.k8s.io/pause:3.8"
"""What containerd 1.7 keeps a pod's namespaces with; here busybox sleeps in its place."""
FOLDER = "/opt/rig"
"""In the guest: images and the CRI's messages."""


def build(cache: str, suite: str = userland.DEFAULT) -> str:
    """A folder to lie over the root of a guest. RigError when it cannot be made."""
    python = os.path.realpath(f"{userland.root(cache, suite)}/usr/bin/python3")
    version = os.path.basename(python).removeprefix("python")
    return once(cache, f"containers-{suite}", lambda directory: _build(cache, suite, version, directory))


def _build(cache: str, suite: str, version: str, directory: str) -> None:
    userland.fill(cache, userland.USERLANDS[suite].suites, RUNTIME, directory)
    here = f"{directory}{FOLDER}"
    os.makedirs(here)
    _messages(cache, version, here)
    with beside(directory) as tree:
        userland.fill(cache, userland.USERLANDS[suite].suites, WORKLOAD, tree)
        _image(tree, IMAGE, f"{here}/qat.tar")
    with beside(directory) as tree:
        os.makedirs(f"{tree}/bin")
        run(["cp", "/bin/busybox", f"{tree}/bin/busybox"])
        _image(tree, PAUSE, f"{here}/pause.tar", ["/bin/busybox", "sleep", "1000000"])


def _messages(cache: str, version: str, folder: str) -> None:
    """The CRI's messages for the guest's Python, out of the api.proto that Debian packages, and grpc."""
    userland.install_wheels(["grpcio", "protobuf"], f"{folder}/python", version)
    with beside(folder) as work:
        apt = Apt(os.path.join(cache, "apt"), ("sid",), bare=True)
        apt.update()
        for deb in apt.download(["golang-k8s-cri-api-dev"], work):
            unpack(deb, work)
        proto = glob.glob(f"{work}/usr/share/gocode/src/k8s.io/cri-api/pkg/apis/runtime/v1/api.proto")[0]
        run([sys.executable, "-m", "pip", "install", "-q", "--target", f"{work}/tools", "grpcio-tools"])
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{os.path.dirname(proto)}"]
        env = {**os.environ, "PYTHONPATH": f"{work}/tools"}
        subprocess.run([*command, f"--python_out={folder}/python", "api.proto"], env=env, check=True)


def _image(tree: str, name: str, path: str, command: list[str] | None = None) -> None:
    """An image of one layer in the form of `docker save`."""
    with tempfile.TemporaryFile(dir=os.path.dirname(path)) as layer:
        with tarfile.open(fileobj=layer, mode="w") as tar:
            for entry in sorted(os.listdir(tree)):
                tar.add(f"{tree}/{entry}", entry, filter=_owned_by_root)
        layer.seek(0)
        digest = hashlib.file_digest(layer, "sha256").hexdigest()
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": command or ["/bin/bash"], "Env": ["PATH=/usr/bin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
        manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
        with tarfile.open(path, "w") as tar:
            for member, document in (("manifest.json", manifest), ("config.json", config)):
                data = json.dumps(document).encode()
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            info = tarfile.TarInfo("layer.tar")
            info.size = layer.seek(0, os.SEEK_END)
            layer.seek(0)
            tar.addfile(info, layer)


def _owned_by_root(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if info.name.startswith(("usr/share/doc", "usr/share/man", "usr/share/locale")):
        return None
    info.uid = info.gid = 0
    return info
