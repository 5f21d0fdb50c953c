"""The guard: no test changes the machine it runs on. And what every test may use."""

from __future__ import annotations

import contextlib
import difflib
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import pytest

from qat_emulator import namespace
from qat_emulator.errors import EmulatorError
from qatprep.cli.session import Session
from qatprep.host import manifest
from qatprep.host.base import Host
from tests.simulator.hosts import load_once

KEPT = ("/etc/", "/sys/", "/dev/vfio", "/proc/sys/", "/lib/", "/usr/lib/", "/run/qatprep", "/var/lib/qatprep", "/boot/")
"""Below these nothing may be opened for writing, made, removed, renamed or given another owner or mode."""
PROGRAMS = ("modprobe", "rmmod", "insmod", "groupadd", "groupdel", "systemctl", "udevadm", "update-grub", "grubby")
"""These may not be started at all from a test's process (a namespace, a VM or a chroot starts its own)."""
_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background: what a test starts must hear Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


gc.set_threshold(100_000)  # as the program itself (qatprep.__main__): a quarter of a bootstrap's time
manifest.load = load_once

Item = TypeVar("Item")
EVERYTHING = bool(os.environ.get("QATPREP_TEST_FULL"))
"""The full run: hours, on two cores."""


def some(items: Iterable[Item], one_in: int, first: int = 0) -> list[Item]:
    """One in so many of what is tried many times over, from the `first` on: tests of the same list take others of
    it. All of it in the full run."""
    return list(items) if EVERYTHING else list(items)[first::one_in]


LONG = (
    "tests/test_commands.py",
    "tests/fleet/test_nodes.py",
    "tests/cli/test_terminal.py",
    "tests/emulated/test_verdicts.py",
    "tests/fleet/test_role.py",
    "tests/packages/test_deb.py",
    "tests/packages/test_wheel.py",
    "tests/fleet/test_modules.py",
    "tests/docs/test_site.py",
    "tests/fleet/test_sanity.py",
    "tests/fleet/test_collection.py",
)
"""Files of some tests that take long: first, or the last worker would end minutes after the others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: n for n, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(LONG)))


class TouchedTheMachine(BaseException):
    """A test was about to change the real machine. No `except Exception` of the code under test can hide it."""


class _Guard:
    on = False


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if not _Guard.on:
        return
    if event == "open":
        path, _, flags = args
        if isinstance(path, str) and isinstance(flags, int) and flags & _WRITE:
            _refuse(event, path)
    elif event in ("os.chmod", "os.chown", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"):
        _refuse(event, args[0])
    elif event in ("os.rename", "os.link", "os.symlink"):
        _refuse(event, args[1])
    elif event in ("subprocess.Popen", "os.exec", "os.posix_spawn"):
        program = os.fspath(args[0] or "") if not isinstance(args[0], bytes) else args[0].decode()
        if program.rsplit("/", 1)[-1] in PROGRAMS:
            raise TouchedTheMachine(f"{event}: {program}")


def _refuse(event: str, path: Any) -> None:
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if isinstance(path, str) and (path + "/").startswith(KEPT):
        raise TouchedTheMachine(f"{event}: {path}")


sys.addaudithook(_audit)


def _own_run() -> str:
    """Give this process, and all that it starts, a /run/qatprep of its own: programs that tests start as root sign on
    this machine, and what they write as its proof must not be found there. Why that is impossible, "" when it is done.
    """
    try:
        namespace.enter()
        namespace.cover("/run/qatprep")
    except (EmulatorError, OSError) as problem:
        return str(problem)
    return ""


_SHARED_RUN = _own_run() if os.geteuid() == 0 else ""
_SIGNING = {"smoke", "--prove", "--boot", "bootstrap"}


@pytest.fixture(autouse=True)
def nothing_signs_where_its_proof_would_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    if not _SHARED_RUN:
        return
    start = subprocess.Popen.__init__

    def checked(self: Any, args: Any, *more: Any, **named: Any) -> None:
        words = args.split() if isinstance(args, str) else [os.fspath(word) for word in args]
        if _SIGNING & set(words):
            pytest.skip(f"this would write a proof into the machine's /run, which cannot be covered: {_SHARED_RUN}")
        start(self, args, *more, **named)

    monkeypatch.setattr(subprocess.Popen, "__init__", checked)


class TooMuchWork(BaseException):
    """Work that grows faster than what it is given. No `except Exception` of the code under test can hide it."""


@contextlib.contextmanager
def at_most(cpu_seconds: float = 200.0) -> Iterator[None]:
    """Stops work that would take minutes of this process's own CPU time; ten times what it takes where it is linear.

    What should be linear and is not would take hours with the sizes of our tests: no load of the machine comes near.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooMuchWork(f"more than {cpu_seconds:g} seconds of CPU time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@pytest.fixture(autouse=True)
def no_proof_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that signs on this machine leaves no proof in its /run."""
    from qatprep.facts import proof

    keep = proof.save

    def save(host: Host, kept: proof.Proof) -> None:
        if getattr(host, "root", "") != "/":
            keep(host, kept)

    monkeypatch.setattr(proof, "save", save)


@pytest.fixture(autouse=True)
def guard() -> Iterator[None]:
    _Guard.on = True
    yield
    _Guard.on = False


class Screen(StringIO):
    """What a terminal shows."""

    def isatty(self) -> bool:
        return True


class Called:
    """What one call of qatprep gave."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        import json

        return json.loads(self.out)


def qatprep(*args: str, host: Host | None = None, env: dict[str, str] | None = None) -> Called:
    """Call qatprep in this process, as its entry point would. With COLUMNS in `env`, its stdout is a terminal of that
    width without colours."""
    from qatprep.__main__ import main

    env = env or {}
    out, err = (Screen() if "COLUMNS" in env else StringIO()), StringIO()
    session = Session(out=out, err=err, env={"NO_COLOR": "1", **env}, given_host=host)
    code = main(list(args), session)
    return Called(int(code), out.getvalue(), err.getvalue())


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden-update", action="store_true", help="write the golden files again")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with a golden file, or write it there: --golden-update."""
    update = bool(request.config.getoption("--golden-update"))

    def compare(path: Path, text: str) -> None:
        if update:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        wanted = path.read_text(encoding="utf-8") if path.exists() else ""
        if wanted != text:
            lines = difflib.unified_diff(wanted.splitlines(), text.splitlines(), str(path.name), "now", lineterm="")
            pytest.fail("\n".join(lines) + "\n\n./dev golden accepts it", pytrace=False)

    return compare
