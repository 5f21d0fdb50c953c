"""The daemon itself: it starts with what qatprep writes, and logs the setting as on."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest

from qatprep.runtime.containerd import V2
from qatprep.runtime.edit import set_key
from tests.runtime.cases import DEBIAN
from tests.runtime.conftest import Containerd

SAID = re.compile(r"(?:DeviceOwnershipFromSecurityContext|device_ownership_from_security_context)\W{1,4}(true|false)")
PRIVATE = """set -e
mount -t tmpfs none /run
mount -t tmpfs none /var/lib
mkdir "$1/upper" "$1/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" overlay /etc
shift
exec "$@"
"""
"""Run in a mount namespace of its own: containerd makes /etc/cni, /run/containerd and more, whatever it is told."""
ENOUGH = 120.0
"""Seconds a daemon may take until it has said what its CRI plugin was given."""


def said(containerd: Containerd, text: str, home: Path) -> set[str]:
    """Start the daemon on private directories and sockets, and end it once its log names the setting."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace can be made here (root is needed): the daemon would write to the real /etc")
    places = f'root = "{home}/root"\nstate = "{home}/state"\n'
    text = text.replace("version = 2\n", f"version = 2\n{places}", 1)
    text += f'\n[grpc]\naddress = "{home}/c.sock"\n[ttrpc]\naddress = "{home}/c.sock.ttrpc"\n'
    config = home / "config.toml"
    config.write_text(text)
    log = home / "log"
    argv = ["unshare", "--mount", "sh", "-c", PRIVATE, "sh", *map(str, (home, containerd.path, "--config", config))]
    with log.open("w") as stream:
        daemon = subprocess.Popen(argv, stdout=stream, stderr=stream)
    try:
        end = time.monotonic() + ENOUGH
        while time.monotonic() < end and daemon.poll() is None:
            found = set(SAID.findall(log.read_text()))
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"containerd said nothing of the setting:\n{log.read_text()[-2000:]}")
    finally:
        daemon.terminate()
        daemon.wait(timeout=120)


def test_daemon_takes_the_edited_file(containerd: Containerd, tmp_path: Path) -> None:
    assert said(containerd, set_key(DEBIAN, "config.toml", V2), tmp_path) == {"true"}


def test_daemon_with_the_packaged_file_has_it_off(containerd: Containerd, tmp_path: Path) -> None:
    assert said(containerd, DEBIAN, tmp_path) == {"false"}
