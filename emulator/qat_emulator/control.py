"""A socket next to those of the devices: one line of text is an order, one line of JSON the answer."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Sequence

from qat_emulator import sockets
from qat_emulator.errors import EmulatorError

NAME = "control"
SECONDS = 5.0
"""How long either end waits for the other."""

Answer = Callable[[list[str]], dict[str, object]]


def listen(folder: str, answer: Answer) -> socket.socket:
    """Answer orders. A ValueError becomes {"error": its text}."""

    def serve(client: socket.socket) -> None:
        client.settimeout(SECONDS)
        with client.makefile("rw", encoding="utf-8", errors="replace") as line:
            try:
                reply = answer(line.readline().split())
            except ValueError as problem:
                reply = {"error": str(problem)}
            line.write(json.dumps(reply) + "\n")

    return sockets.listen(f"{folder}/{NAME}", serve)


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
