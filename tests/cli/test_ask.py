"""Being asked at a terminal before something is lost."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from qatprep.__main__ import main
from qatprep.cli.session import Session
from qatprep.cli.open_host import open_host
host = open_host("/", "spr-2s-ready")
host.simulated = False
code = main(sys.argv[1:], Session(given_host=host))
print("services:", host.read_text("/sys/bus/pci/devices/0000:6b:00.0/qat/cfg_services").raw.strip())
sys.exit(code)
"""
QUESTION = "Go on? [y/N]: "


@pytest.mark.parametrize("extra", [[], ["-ohuman"]], ids=["", "by typer"])
@pytest.mark.parametrize(
    ("answer", "code", "services", "said"),
    [
        ("y\n", 0, "dc", "done; to undo: qatprep rollback"),
        ("n\n", 0, "sym;asym", "nothing was changed"),
        ("perhaps\nYES\n", 0, "dc", "done"),
        ("\n", 0, "sym;asym", "nothing was changed"),
        ("\x04", 130, "sym;asym", "interrupted"),
        (signal.SIGINT, 130, "sym;asym", "interrupted"),
    ],
    ids=["yes", "no", "at last", "enter", "ctrl-d", "ctrl-c"],
)
def test_asked(answer: str | signal.Signals, code: int, services: str, said: str, extra: list[str]) -> None:
    here, terminal = pty.openpty()
    argv = [sys.executable, "-c", PROGRAM, "device", "services", "dc", "6b:00.0", *extra]
    try:
        with subprocess.Popen(argv, stdin=terminal, stdout=subprocess.PIPE, stderr=terminal, text=True) as process:
            talk = ""
            while QUESTION not in talk:
                assert select.select([here], [], [], 120)[0], talk
                talk += os.read(here, 4096).decode()
            assert "cost: 0000:6b:00.0: 16 VFs are destroyed" in talk
            if isinstance(answer, str):
                os.write(here, answer.encode())
            else:
                process.send_signal(answer)
            out, _ = process.communicate(timeout=120)
            talk += os.read(here, 4096).decode()
        assert (process.returncode, out.splitlines()[-1]) == (code, f"services: {services}")
        assert out.startswith(("0000:6b:00.0 VFs: 16 -> 0", "services:"))  # no word of the question among the data
        assert said in talk and "mistake" not in talk
    finally:
        os.close(here)
        os.close(terminal)
