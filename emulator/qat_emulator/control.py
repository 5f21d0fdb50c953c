"""A socket beside those of the devices: one line of text is an order, one line of JSON the answer."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Sequence

from qat_emulator.errors import EmulatorError

NAME = "control"
SECONDS = 5.0
"""How long either end waits for the other."""

Answer = Callable[[list[str]], dict[str, object]]


def listen(folder: str, answer: Answer) -> socket.socket:
    """Answer orders, one client at a time, in a thread. A ValueError becomes {"error": its text}."""
    path = f"{folder}/{NAME}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(4)

    def loop() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # closed: the program ends
            with client, contextlib.suppress(OSError):
                client.settimeout(SECONDS)
                with client.makefile("rw", encoding="utf-8") as line:
                    try:
                        reply = answer(line.readline().split())
                    except ValueError as problem:
                        reply = {"error": str(problem)}
                    line.write(json.dumps(reply) + "\n")

    threading.Thread(target=loop, daemon=True, name="control").start()
    return listener


def ask(folder: str, words: Sequence[str]) -> dict[str, object]:
    """What the devices served from `folder` answer. EmulatorError."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(SECONDS)
            client.connect(f"{folder}/{NAME}")
            with client.makefile("rw", encoding="utf-8") as line:
                line.write(" ".join(words) + "\n")
                line.flush()
                reply: dict[str, object] = json.loads(line.readline())
    except (OSError, ValueError) as problem:
        raise EmulatorError(f"nothing is served from {folder}: {problem}", f"qat-emulator serve {folder}") from problem
    if "error" in reply:
        raise EmulatorError(str(reply["error"]))
    return reply
