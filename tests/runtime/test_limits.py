"""Configuration that would take minutes or gigabytes to parse is not parsed, and says so."""

from __future__ import annotations

import pytest

from qatprep.cli.open_host import open_host
from qatprep.facts import containerd
from qatprep.facts.base import Unknown
from qatprep.runtime import toml
from qatprep.simulator.host import SimulatedHost

MAIN = "/etc/containerd/config.toml"
PARTS = 'version = 2\nimports = ["/etc/containerd/more.toml"]\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("#" * toml.LIMIT + "\n", f"the file has {toml.LIMIT + 1} bytes"),
        ("\n\n" + "a." * 120_000 + "b = 1\n", "line 3: a key of more than 16 parts"),
        ("x = {" + '"a" . ' * 17 + "b = 1}\n", "line 1: a key of more than 16 parts"),
        ("a" * 250_000 + " = 1\n", ""),
        ("x = '" + "a.b " * 60_000 + "'\n", ""),
        ("[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'a.b.c.d.e.f.g.h'.x]\n", ""),
    ],
)
@pytest.mark.parametrize("path", [MAIN, "/etc/containerd/more.toml"])
def test_a_file_is_parsed_or_refused(path: str, text: str, why: str) -> None:
    host = open_host("/", "spr-2s")
    assert isinstance(host, SimulatedHost)
    host.tree.file(MAIN, PARTS.encode())
    host.tree.file(path, text.encode())
    found = containerd.read(host, MAIN)
    assert isinstance(found, Unknown) == bool(why)
    if isinstance(found, Unknown):
        assert path in found.reason and why in found.reason
