"""qatprep config init, check and show; the reference of keys; today's node as a configuration."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from qatprep.cli.open_host import open_host
from qatprep.config import NodeConfig, demand, describe, parse
from qatprep.config.writing import commented, reference, rows
from qatprep.exits import ExitCode
from qatprep.facts import gather
from qatprep.schema_check import leaves
from qatprep.simulator.scenarios import scenarios
from tests.conftest import qatprep, some
from tests.terminal import on_terminal

ROOT = Path(__file__).parents[2]


@cache
def schema(kind: str) -> Any:
    return fastjsonschema.compile(json.loads(files("qatprep.schema").joinpath(f"{kind}.json").read_text()))


@pytest.mark.parametrize("name", some((host.name for host in scenarios()), 3))
def test_the_file_that_init_prints_is_a_configuration(name: str) -> None:
    """The defaults, without a mistake; so it is with all that is switched off switched on."""
    facts = gather(open_host("/", name))
    text = commented(facts, name)
    assert parse(text, "a test") == NodeConfig(source="a test")
    demand(parse(text, "a test"), facts.pci.pfs)
    everything = re.sub(r"^#(?! \S)", "", text, flags=re.MULTILINE)
    parse(everything, "a test")
    keys = [key.rsplit(".", 1)[-1] for key, _ in leaves("config")]
    assert [key for key in keys if f"{key}:" not in text] == []


@pytest.mark.parametrize("name", some((host.name for host in scenarios()), 3, 1))
def test_todays_node_is_a_configuration(name: str) -> None:
    parse(describe(gather(open_host("/", name))), "a test")


def test_init_tells_of_the_devices() -> None:
    called = qatprep("config", "init", "--simulate", "spr-2s")
    assert called.code == ExitCode.OK
    assert "# 8 4xxx PFs: 4 on NUMA node 0 and 4 on NUMA node 1.\n" in called.out
    text = called.out.replace("\n# ", " ")
    assert "A 4xxx device offers asym, sym, dc, dcc, at most 2 at the same time; dcc only by itself." in text
    assert max(map(len, called.out.splitlines())) < 80
    assert "no QAT PF" in qatprep("config", "init", "--simulate", "no-qat").out


def test_the_reference_is_that_of_the_schema() -> None:
    """packaging/reference.py writes it."""
    assert reference() in (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


# -- check ------------------------------------------------------------------------------------------------------------


def check(*arguments: str) -> Any:
    called = qatprep("config", "check", *arguments, "-o", "json")
    schema("config-check")(called.json)
    return called.code, called.json


def test_check_has_all_mistakes_for_programs(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text("devices:\n  vfs: 8\nsmoke: perhaps\n")
    code, document = check("--simulate", "spr-2s", "--config", str(path), "--set", "nodes.mode=0666")
    assert code == ExitCode.USAGE
    found = [(one["source"]["kind"], one["source"]["line"], one["key"]) for one in document["mistakes"]]
    assert sorted(found) == [("file", 2, "devices.vfs"), ("file", 3, "smoke"), ("set", 0, "nodes.mode")]


def test_check_of_what_is_well(tmp_path: Path) -> None:
    called = qatprep("config", "check", "--simulate", "spr-2s")
    assert called.code == ExitCode.OK
    assert (
        called.out
        == "built-in defaults: no mistakes, and the 8 QAT PFs of simulated spr-2s, kernel 6.12.117 can be set so\n"
    )
    code, document = check("--simulate", "spr-2s", "--set", "devices@numa7.vfs=false")
    assert (code, document["mistakes"]) == (ExitCode.OK, [])
    (warning,) = document["warnings"]
    assert warning == "--set 'devices@numa7.vfs=false': no PF of this host matches the override for numa_node 7"


# -- show -------------------------------------------------------------------------------------------------------------

CONFIG = """\
devices:
  services: asym
overrides:
- match: {family: 4xxx, numa_node: 1}
  services: dc
"""


def test_show_names_the_source_of_each_value(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    called = qatprep(
        *("config", "show", "--simulate", "spr-2s", "--config", str(path)),
        *("--set", "nodes.group=tls", "--set", "devices@6b:00.0.vfs=no", "-o", "json"),
    )
    schema("config-show")(called.json)
    found = {row["key"]: (row["value"], row["source"]["kind"], row["source"]["text"]) for row in called.json["values"]}
    assert found["devices.services"] == ("asym", "file", f"{path}:2:3")
    assert found["nodes.group"] == ("tls", "set", "--set 'nodes.group=tls'")
    assert found["nodes.mode"] == ("0660", "default", "built-in defaults")
    assert found["metrics"] == (None, "default", "built-in defaults")
    assert found["overrides[0].services (family 4xxx and numa_node 1)"] == ("dc", "file", f"{path}:5:3")
    assert found["overrides[1].vfs (device 6b:00.0)"] == (False, "set", "--set 'devices@6b:00.0.vfs=no'")
    devices = {
        pf["device"]: {row["key"]: (row["value"], row["source"]["line"]) for row in pf["values"]}
        for pf in called.json["devices"]
    }
    assert devices["0000:e8:00.0"] == {
        "services": ("dc", 5),
        "vfs": (True, 0),
        "driver": ("vfio-pci", 0),
        "auto_reset": (None, 0),
    }
    assert devices["0000:6b:00.0"] == {
        "services": ("asym", 2),
        "vfs": (False, 0),
        "driver": ("vfio-pci", 0),
        "auto_reset": (None, 0),
    }


def test_every_key_is_shown() -> None:
    assert [row.key for row in rows(NodeConfig())] == [key for key, _ in leaves("config") if "[]" not in key]


# -- on a terminal ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 160])
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["init"], 0, "at most 2 at the same time"),
        (["check"], 0, "no mistakes"),
        (["check", "--set", "devices.services=assym"], 2, "did you mean asym?"),
        (["check", "--set", "devices.services=asym;sym;dc"], 2, "at most 2 services at the same time"),
        (["show", "--set", "devices@numa1.services=dc"], 0, "--set 'devices@numa1.services=dc'"),
        (["--help"], 0, "init"),
        ([], 2, "Commands"),
    ],
)
def test_on_a_terminal(arguments: list[str], code: int, words: str, columns: int) -> None:
    host = [] if arguments in ([], ["--help"]) else ["--simulate", "spr-2s-ready"]
    with on_terminal("config", *arguments, *host, columns=columns) as terminal:
        assert terminal.end() == code, terminal.text
        assert words in " ".join(terminal.text.split())
        assert "Traceback" not in terminal.text
