"""Every verb, progress display and question on a real terminal: 80 and 160 columns, and resized while it runs."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from qatprep.cli.app import VERBS
from qatprep.crypto import library
from tests.cli.test_ask import PROGRAM
from tests.cli.test_ctrl_c import SLOW
from tests.conftest import some
from tests.mesh.test_handshake import tls_server
from tests.terminal import Terminal, on_terminal

READY, BARE = "--simulate spr-2s-ready", "--simulate spr-2s"
CALLS = {
    f"doctor {READY} --profile qat": (0, "CONFIGURED"),
    "doctor --simulate half-bound": (3, "QP-VFIO-001"),
    "doctor --simulate k8s-as-the-paper-says --profile qat": (3, "QP-MEM-001"),
    f"plan {BARE}": (3, "VFs"),
    f"bootstrap --yes {BARE}": (0, "each read back"),
    f"bootstrap {BARE} --check --diff": (3, "+0000:6b:00.1 to"),
    f"rollback --list {BARE}": (0, "remembers no runs"),
    f"status {READY}": (0, "spr-2s-ready"),
    "smoke --provider openssl": (0, "openssl"),
    "bench rsa --rounds 2 --seconds 0.02 --key rsa-2048": (0, "rsa-2048"),
    "bench queue --rounds 1 --seconds 0.02": (0, "queue"),
    "tune --workers 1 --seconds 0.03 --poll-delay 5 --load 100 --load 200": (0, ""),
    "render envoy -p qat": (0, "tls_certificates"),
    "inspect stats -": (2, "nothing is piped in"),
    "inspect handshake 127.0.0.1:1": (1, "refused"),
    "render istio -p qat --as gateway-api": (0, "parametersRef"),
    "render kubernetes --as device-plugin-operator": (0, "QatDevicePlugin"),
    "gen-conf -f kernel-arguments": (0, "iommu"),
    f"config show {READY}": (0, "devices.services"),
    f"metrics {READY}": (0, "qatprep_"),
    f"features {READY}": (0, "qat"),
    f"capture {READY}": (0, "# qatprep host 1"),
    f"report --markdown - {BARE}": (3, "QP-SRIOV-001"),
    "explain QP-SVC-001": (0, "QP-SVC-001"),
    f"device list {READY}": (0, "vfio-pci"),
    f"device services dc 6b:00.0 --yes {READY}": (0, "done"),
    f"device vfs remove 6b:00.0 --yes {READY}": (0, "done"),
    f"device reset 6b:00.0 --yes {READY}": (0, "16 VFs are destroyed"),
    f"device reset 6b:00.0 --check {READY}": (3, "16 VFs are destroyed"),
    f"device down 6b:00.0 --yes {READY}": (0, "done"),
    f"device up 6b:00.0 {READY}": (0, "Nothing to do"),
    f"device bind 0000:6b:00.* {READY}": (0, ""),
    "hosts": (0, "spr-2s"),
    "--help": (0, "bootstrap"),
    "bootstrap --simulate nowhere": (2, "nowhere"),
}
"""A command line, the exit status and what is on the screen at the end. No CPU is needed that has AVX-512."""
MEASURING = ("bench", "tune")
"""These need the native module."""
SIZES = (80, 160)


def fine(terminal: Terminal) -> None:
    assert "Traceback" not in terminal.text and "internal error" not in terminal.text, terminal.text


def test_every_verb_is_among_them() -> None:
    missing = set(VERBS) - {words for call in CALLS for words in call.split()}
    assert not missing


def skip_unless_possible(call: str) -> None:
    if call.startswith(MEASURING):
        pytest.importorskip("qatprep._native")
    if call.startswith("bench queue"):
        missing = library.missing()
        if missing:
            pytest.skip(f"crypto_mb cannot run on this machine: {missing} missing")


@pytest.mark.parametrize(
    ("call", "columns"), [pair for n, call in enumerate(CALLS) for pair in some(((call, c) for c in SIZES), 2, n % 2)]
)
def test_a_verb(call: str, columns: int) -> None:
    code, words = CALLS[call]
    skip_unless_possible(call)
    with on_terminal(*call.split(), columns=columns) as terminal:
        assert terminal.end() == code, terminal.text
        fine(terminal)
        assert words in " ".join(terminal.text.split())


@pytest.mark.parametrize("columns", SIZES)
def test_a_handshake(columns: int, tmp_path: Path) -> None:
    with tls_server(tmp_path) as port:
        ca = str(tmp_path / "cert.pem")
        call = ("inspect", "handshake", f"localhost:{port}", "--ca", ca, "--count", "30", "--resume")
        with on_terminal(*call, columns=columns) as terminal:
            assert terminal.end() == 0, terminal.text
            fine(terminal)
            for words in ("RSA 2048 for localhost", "verified", "TLSv1.3", "1 full handshake, 29 resumed", "200 OK"):
                assert words in " ".join(terminal.text.split())


@pytest.mark.parametrize("call", [call for call in CALLS if call.startswith((*MEASURING, "bootstrap", "doctor"))])
def test_a_verb_in_a_window_that_changes(call: str) -> None:
    """With each piece of output it is pulled to the other size."""
    code, words = CALLS[call]
    skip_unless_possible(call)
    with on_terminal(*call.split(), columns=SIZES[0]) as terminal:
        for n in itertools.count(1):
            if not terminal.more():
                break
            terminal.resize(SIZES[n % 2])
        assert terminal.end() == code, terminal.text
        fine(terminal)
        assert words in " ".join(terminal.text.split())


@pytest.mark.parametrize("columns", SIZES)
def test_the_progress_of_a_run(columns: int, tmp_path: Path) -> None:
    """A bar a device, whatever happens to the window, also on the way back."""
    env = {"QATPREP_STATE": str(tmp_path / "node")}
    for verb, seen in (("bootstrap --yes --no-smoke", "0000:6b:00.0"), ("rollback --yes", "undo")):
        slow = ("-c", SLOW)
        with on_terminal(*verb.split(), *BARE.split(), columns=columns, env=env, program=slow) as terminal:
            terminal.until(seen)
            for width in (sum(SIZES) - columns, 20, 1, columns):
                terminal.resize(width)
                if not terminal.more():
                    break
            assert terminal.end() == 0, terminal.text
            fine(terminal)


@pytest.mark.parametrize("columns", SIZES)
def test_a_measurement_that_is_stopped(columns: int) -> None:
    """bench aes measures for a minute; Ctrl-C ends it, and the line of its progress goes away."""
    with on_terminal("bench", "aes", "--rounds", "1", columns=columns) as terminal:
        terminal.until("bench aes")
        terminal.resize(sum(SIZES) - columns)
        terminal.more()
        terminal.type("\x03")
        assert terminal.end() == 130, terminal.text
        fine(terminal)


QUESTIONS = {
    "device services dc 6b:00.0": "Go on? [y/N]: ",
    "bootstrap --no-smoke --set devices.services=dc": "changes? [y/N]: ",
    "rollback": "Undo this? [y/N]: ",
}
ASKED = PROGRAM.replace(
    "host.simulated = False\n",
    "if 'rollback' in sys.argv: main(['device', 'services', 'dc', '6b:00.0', '--yes'], Session(given_host=host))\n"
    "host.simulated = False\n",
)


@pytest.mark.parametrize("columns", SIZES)
@pytest.mark.parametrize("answer", ["y\n", "n\n", "\x03", "\x04"], ids=["yes", "no", "ctrl-c", "ctrl-d"])
@pytest.mark.parametrize("call", QUESTIONS)
def test_a_question(call: str, answer: str, columns: int) -> None:
    """Seen whole before anything is done; the window may change before it is answered."""
    with on_terminal(*call.split(), columns=columns, program=("-c", ASKED)) as terminal:
        terminal.until(QUESTIONS[call])
        terminal.resize(sum(SIZES) - columns)
        terminal.type(answer)
        assert terminal.end() == (0 if answer in ("y\n", "n\n") else 130), terminal.text
        fine(terminal)
        after = terminal.text.rsplit("services: ", 1)[1].strip()
        before = "dc" if call == "rollback" else "sym;asym"
        assert (after != before) == (answer == "y\n")
