"""Every mistake of a configuration at once, each with its place and a suggestion; --set is blamed for its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from qatprep.config import ConfigError, NodeConfig, parse
from qatprep.config.reading import LIMIT
from qatprep.errors import InputError
from qatprep.exits import ExitCode
from qatprep.schema_check import errors, schema
from qatprep.yaml_text import DEEPEST, document, documents
from tests.conftest import qatprep

FIVE = """\
devices:
  services: assym
  vfs: "yes"
  drivr: vfio-pci
nodes:
  mode: "rw"
overrides:
- match: {numa: 1}
  services: dc,asym
"""
FIVE_TOLD = [
    ("2:3", "devices.services", "'assym' is none of", "did you mean asym?"),
    ("3:3", "devices.vfs", "'yes', not true or false", "true makes all VFs"),
    ("4:3", "devices.drivr", "unknown key 'drivr' in devices", "did you mean driver?"),
    ("6:3", "nodes.mode", "'rw'", 'octal and in quotes: "0660"'),
    ("8:11", "overrides[0].match.numa", "unknown key 'numa' in overrides[0].match", "did you mean numa_node?"),
    ("9:3", "overrides[0].services", "separated by ';'", "did you mean dc;asym?"),
]


def mistakes(text: str, *settings: str) -> list[tuple[str, str, str, str]]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "a.yaml", settings)
    return [(str(one.place), one.key, one.text, one.hint) for one in caught.value.mistakes]


def test_all_mistakes_at_once() -> None:
    found = mistakes(FIVE)
    assert len(found) == len(FIVE_TOLD)
    for (place, key, text, hint), (at, wanted, words, suggestion) in zip(found, FIVE_TOLD, strict=True):
        assert (place, key) == (f"a.yaml:{at}", wanted)
        assert words in text
        assert suggestion in hint


def test_a_file_and_settings_are_told_together(tmp_path: Path) -> None:
    path = tmp_path / "five.yaml"
    path.write_text(FIVE)
    arguments = ["--config", str(path), "--set", "nodes.group=A B", "--set", "smoke=perhaps"]
    for verb in (["bootstrap"], ["plan"], ["doctor"], ["config", "check"], ["config", "show"]):
        called = qatprep(*verb, "--simulate", "spr-2s", *arguments)
        assert (called.code, called.out) == (ExitCode.USAGE, ""), verb
        assert "the configuration has 8 mistakes" in called.err
        for at, *_ in FIVE_TOLD:
            assert f"  {path}:{at}: " in called.err
        assert "--set 'nodes.group=A B': nodes.group is 'A B'" in called.err
        assert "--set 'smoke=perhaps': smoke is 'perhaps', not true or false" in called.err


@pytest.mark.parametrize(
    ("setting", "text", "hint"),
    [
        ("services=asym", "unknown key 'services'", "did you mean devices.services?"),
        ("devcies.services=asym", "unknown key 'devcies'", "did you mean devices?"),
        ("devices.services=dc,asym", "separated by ';'", "did you mean dc;asym?"),
        ("devices.services=sym assym", "separated by ';'", "did you mean sym;asym?"),
        ("devices.services=rsa", "'rsa' is none of", "services are asym"),
        ("devices.driver=vfio_pci", "not one of vfio-pci", "did you mean vfio-pci"),
        ("devices.vfs=8", "devices.vfs is '8', not true or false", "true makes all VFs"),
        ("devices.vfs", "not KEY=VALUE", "--set devices.services=asym"),
        ("devices..vfs=true", "not KEY=VALUE", ""),
        ("smoke.x=1", "smoke is a mapping, not true or false", ""),
        ("devices=5", "devices is 5, not a mapping", ""),
        ("containers.memlock=lots", "containers.memlock", "for example 128M"),
        ("containers.memlock=64K", "less than a megabyte", ""),
        ("version=2", "this qatprep knows only 1", ""),
        ("nodes.mode=0666", "lets every user", "nodes.world_accessible: true"),
        ("nodes.mode=0664", "lets every user", "nodes.world_accessible: true"),
        ("overrides[0].vfs=true", "set as devices@MATCH.KEY", "devices@6b:00.0.services=dc"),
        ("devices@9xxx.vfs=true", "'9xxx' is not a BDF, a family (", "numa1"),
        ("devices@numa1=true", "has no key after the devices", ""),
        ("devices@6b:00.0=true", "has no key after the devices", ""),
        ("devices@numa1.servces=dc", "unknown key 'servces' in overrides[0]", "did you mean services?"),
    ],
)
def test_a_setting_is_blamed_for_itself(setting: str, text: str, hint: str) -> None:
    for before in ("", "devices: {services: asym}\nnodes: {group: tls}\n"):
        ((place, _, said, suggestion),) = mistakes(before, setting)
        assert place == f"--set {setting!r}"
        assert text in said
        assert hint in suggestion


def test_a_mistake_in_the_file_is_not_blamed_on_a_setting() -> None:
    found = mistakes("devices: {services: assym}\n", "devices.vfs=false", "devices.driver=vfoi-pci")
    assert sorted(place for place, *_ in found) == ["--set 'devices.driver=vfoi-pci'", "a.yaml:1:11"]


def test_a_missing_match_is_told_once() -> None:
    ((place, _, text, hint),) = mistakes("overrides:\n- services: dc\n")
    assert (place, text) == ("a.yaml:2:3", "overrides[0] lacks the key 'match'")
    assert "numa_node" in hint
    ((_, key, _, hint),) = mistakes("overrides:\n- mach: {numa_node: 1}\n  services: dc\n")
    assert (key, hint) == ("overrides[0].mach", "did you mean match?")


def test_mistakes_of_many_overrides_keep_their_places() -> None:
    found = mistakes("overrides:\n- 5\n- {match: {}}\n- {match: {family: 4xx}, vfs: 1}\n- match: 3\n")
    assert {(place, key) for place, key, *_ in found} == {
        ("a.yaml:2:3", "overrides[0]"),
        ("a.yaml:3:4", "overrides[1].match"),
        ("a.yaml:4:12", "overrides[2].match.family"),
        ("a.yaml:4:26", "overrides[2].vfs"),
        ("a.yaml:5:3", "overrides[3].match"),
    }
    assert any(hint.startswith("did you mean 4") for *_, hint in found)


def test_the_list_of_a_message_ends() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("".join(f"key{n}: 1\n" for n in range(500)), "a.yaml")
    assert len(caught.value.mistakes) == 500
    assert "and 480 more" in caught.value.message
    assert len(caught.value.message.splitlines()) < 60


@pytest.mark.parametrize(
    ("settings", "overrides"),
    [
        (["devices@4xxx.services=dc"], [{"match": {"family": "4xxx"}, "services": "dc"}]),
        (["devices@numa1.vfs=off"], [{"match": {"numa_node": 1}, "vfs": False}]),
        (["devices@6b:00.0.driver=none"], [{"match": {"device": "6b:00.0"}, "driver": "none"}]),
        (["devices@0000:e*.driver=none"], [{"match": {"device": "0000:e*"}, "driver": "none"}]),
        (
            ["devices@4xxx@numa1.services=dc", "devices@4xxx@numa1.vfs=true", "devices@4xxx.vfs=false"],
            [
                {"match": {"family": "4xxx", "numa_node": 1}, "services": "dc", "vfs": True},
                {"match": {"family": "4xxx"}, "vfs": False},
            ],
        ),
    ],
)
def test_overrides_by_setting(settings: list[str], overrides: list[object]) -> None:
    assert parse("", "a.yaml", settings).document == {"overrides": overrides}
    mine = {"match": {"numa_node": 0}, "vfs": True}
    read = parse("overrides: [{match: {numa_node: 0}, vfs: true}]", "a.yaml", settings)
    assert read.document == {"overrides": [mine, *overrides]}


def test_an_override_of_the_file_stays_as_it_is() -> None:
    """One of --set is an exception of its own, after it: both are shown with their source."""
    read = parse("overrides: [{match: {numa_node: 1}, vfs: true}]", "a.yaml", ["devices@numa1.vfs=false"])
    places = [str(read.place(("overrides", index, "vfs"))) for index in (0, 1)]
    assert places == ["a.yaml:1:37", "--set 'devices@numa1.vfs=false'"]


def test_everybody_is_let_in_only_by_name() -> None:
    asked = parse("nodes: {mode: '0666', world_accessible: true}", "a.yaml")
    assert asked.mode == 0o666
    assert parse("", "a.yaml", ["nodes.mode=0666", "nodes.world_accessible=true"]).mode == 0o666
    assert parse("nodes: {world_accessible: true}", "a.yaml").mode == NodeConfig.mode


def test_device_bind_lets_everybody_in_only_by_name() -> None:
    arguments = ["device", "bind", "0000:6b:00.1", "--simulate", "spr-2s-ready", "--group", "qat", "--mode", "0666"]
    called = qatprep(*arguments)
    assert called.code == ExitCode.USAGE
    assert "--world-accessible" in called.err
    assert qatprep(*arguments, "--world-accessible").code == ExitCode.OK


# -- the reader -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: {c: 1, c: 2}\n", "x:2:11: the key 'c' stands here twice"),
        ("a: [{<<: {b: 1}}]\n", "x:1:6: merge keys"),
        ("a: &a 1\nb: *a\n", "x:2:4: aliases"),
        ("a: 2026-99-99\n", "x:1:4: not YAML"),
        ("a: " + "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), f"at most {DEEPEST} levels"),
        ("a: !!python/name:os.system\n", "x:1:4: not YAML"),
        ("? [a]\n: 1\n", "not YAML"),
        ("a: \x07\n", "not YAML"),
    ],
)
def test_what_no_reader_takes(text: str, words: str) -> None:
    with pytest.raises(InputError, match="x") as caught:
        documents(text, "x")
    assert words in caught.value.message


def test_the_deepest_that_is_read() -> None:
    assert document("[" * DEEPEST + "]" * DEEPEST, "x").value is not None


def test_places() -> None:
    read = document("a:\n  - b: 1\n    c: [2, 3]\n", "x")
    places = {(): "x:1:1", ("a",): "x:1:1", ("a", 0): "x:2:5", ("a", 0, "c"): "x:3:5", ("a", 0, "c", 1): "x:3:12"}
    assert {path: str(read.place(path)) for path in places} == places
    assert str(read.place(("a", 0, "missing"))) == "x:2:5"


def test_a_configuration_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_text("#" * LIMIT + "\n")
    called = qatprep("config", "check", "--simulate", "spr-2s", "--config", str(path))
    assert called.code == ExitCode.USAGE
    assert f"has {LIMIT + 1} bytes" in called.err


def test_a_schema_does_not_fill_in_its_defaults() -> None:
    assert errors("config", {"nodes": {}}) == ([], {"nodes": {}})
    assert "default" in schema("config")["properties"]["nodes"]["properties"]["group"]


def test_a_slip_in_a_key_that_is_needed_is_a_mistake() -> None:
    """The check of a document ends at a key that it lacks: what was written in its place is told all the same."""
    found, rest = errors("bench-rsa", {"schema": "qatprep.bench-rsa/1", "resluts": []})
    assert rest is None
    assert [one.hint for one in found if "'resluts'" in one.text] == ["did you mean results?"]
    assert not any("'results'" in one.text for one in found)
