"""The device verbs without typer mean exactly what typer takes them to mean, or are left to typer."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import pytest
import typer

from qatprep.cli import device
from qatprep.cli.app import call
from qatprep.cli.device import app
from qatprep.cli.device_verbs import VERBS, Options
from qatprep.cli.session import Session
from qatprep.cli.shortcut import shortcut
from qatprep.exits import ExitCode
from tests.conftest import qatprep

VF = "0000:6b:00.1"

Meant = tuple[str, list[str], dict[str, Any]]


@pytest.fixture
def meant(monkeypatch: pytest.MonkeyPatch) -> list[Meant]:
    """What was called in the place of the verbs: name, words, and options other than their defaults."""
    calls: list[Meant] = []

    def stand_in(name: str) -> Any:
        def record(session: Session, words: list[str], options: Options) -> ExitCode:
            default = Options._field_defaults
            given = {k: str(v) if isinstance(v, str) else v for k, v in options._asdict().items() if v != default[k]}
            calls.append((name, words, given))
            return ExitCode.OK

        return record

    made = typer.Typer()
    for name, verb in list(VERBS.items()):
        replaced = verb._replace(run=stand_in(name))
        monkeypatch.setitem(VERBS, name, replaced)
        made.command(name)(device._command(replaced))
    monkeypatch.setattr(device, "app", made)
    return calls


TAKEN = [
    ("bind", VF),
    ("bind", VF, "0000:6b:00.2", "--yes"),
    ("bind", "--driver", "qat_vfio_pci", VF, "--group=qat", "--mode", "0640", "--force"),
    ("bind", VF, "-y", "--output", "json", "--check"),
    ("bind", VF, "-o", "json", "--root", "/host"),
    ("unbind", "6b:00.*", "--simulate", "spr-2s"),
    ("services", "asym;dc", "6b:00.0", "--yes"),
    ("vfs", "remove", "6b:00.0", "70:00.0"),
    ("list",),
    ("list", "--all", "--output=json"),
    ("list", "-a"),
]
LEFT = [
    (),
    ("bind",),
    ("bind", "--help"),
    ("bind", "-h"),
    ("bind", VF, "--yse"),
    ("bind", VF, "--driver"),
    ("bind", VF, "--driver", "--yes"),
    ("bind", VF, "--driver="),
    ("bind", VF, "--simulate", ""),
    ("bind", VF, "--yes=1"),
    ("bind", VF, "--group", "a", "--group", "b"),
    ("bind", VF, "--output", "xml"),
    ("bind", VF, "-yo", "json"),
    ("bind", VF, "-ojson"),
    ("bind", VF, "-o=json"),
    ("bind", "--", VF),
    ("bind", "-"),
    ("bind", ""),
    ("bind", VF, "--every"),
    ("list", VF),
    ("list", "--every"),
    ("list", "--no-vfs"),
    ("services", "dc"),
    ("vfs", "create", "6b:00.0", "--count", "4"),
    ("restart", VF),
    ("--help",),
]


@pytest.mark.parametrize("arguments", TAKEN, ids=" ".join)
def test_taken_as_typer_would(arguments: tuple[str, ...], meant: list[Meant]) -> None:
    argv = ["device", *arguments]
    run = shortcut(argv)
    assert run is not None
    session = Session()
    assert run(session) == call(argv, session) == 0
    assert meant[0] == meant[1]


@pytest.mark.parametrize("arguments", LEFT, ids=" ".join)
def test_left_to_typer(arguments: tuple[str, ...]) -> None:
    assert shortcut(["device", *arguments]) is None


def test_whatever_is_thrown_at_it(meant: list[Meant]) -> None:
    """Options as typer declares them, and some that it does not, in any order: taken as typer would, or not at all."""
    dice = random.Random(7)
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    pool = [option for command in commands.values() for p in command.params for option in (*p.opts, *p.secondary_opts)]
    values = [VF, "create", "remove", "dc", "json", "human", "qat", "1", "", "-", "--", "-1", "=", "*", "--yes=1"]
    taken = 0
    for _ in range(3000):
        verb = dice.choice([*commands])
        words = [dice.choice(pool if dice.random() < 0.4 else values) for _ in range(dice.randrange(6))]
        argv = ["device", verb, *(f"{w}={dice.choice(values)}" if dice.random() < 0.1 else w for w in words)]
        run = shortcut(argv)
        if run is None:
            continue
        taken += 1
        meant.clear()
        assert run(Session()) == call(argv, Session()) == 0, argv
        assert meant[0] == meant[1], argv
    assert taken > 100


HEAVY = {"typer", "click", "qatprep.checks", "qatprep.assess", "qatprep.facts.snapshot", "qatprep.config"}


@pytest.mark.parametrize(
    ("host", "verb"),
    [
        ("vfs-unbound", ("bind", VF, "--yes")),
        ("spr-2s-ready", ("bind", VF)),
        ("spr-2s-ready", ("unbind", VF, "--yes")),
        ("spr-2s-ready", ("services", "dc", "6b:00.0", "--check")),
        ("spr-2s-ready", ("list",)),
    ],
)
def test_what_takes_long_to_load_is_not_loaded(host: str, verb: tuple[str, ...]) -> None:
    code = "import sys; from qatprep.__main__ import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    argv = [sys.executable, "-c", code, "device", *verb, "--simulate", host]
    loaded = subprocess.run(argv, capture_output=True, text=True, check=True).stderr.split()
    assert "qatprep.cli.device_verbs" in loaded
    assert (HEAVY if verb == ("list",) else HEAVY | {"rich"}) & set(loaded) == set()


def test_mistakes_are_told_by_typer() -> None:
    called = qatprep("device", "bind", VF, "--yse")
    assert called.code == 2
    assert "unknown option '--yse'" in called.err and "did you mean --yes" in called.err
