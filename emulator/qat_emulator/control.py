"""A socket beside those of the devices, to ask and change what is being served."""

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
MOST = 1 << 16

Answer = Callable[[list[str]], str]


def listen(folder: str, answer: Answer) -> socket.socket:
    """Answer words with a text, one client at a time, in a thread. ValueError becomes an error of the client."""
    path = f"{folder}/{NAME}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
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
                try:
                    reply = {"text": answer(json.loads(client.recv(MOST)))}
                except ValueError as problem:
                    reply = {"error": str(problem)}
                client.sendall(json.dumps(reply).encode())

    threading.Thread(target=loop, daemon=True, name="control").start()
    return listener


def ask(folder: str, words: Sequence[str]) -> str:
    """What the devices served from `folder` answer. EmulatorError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.settimeout(SECONDS)
            client.connect(f"{folder}/{NAME}")
            client.sendall(json.dumps(list(words)).encode())
            reply: dict[str, str] = json.loads(client.recv(MOST))
    except (OSError, ValueError) as problem:
        raise EmulatorError(f"nothing is served from {folder}: {problem}", f"qat-emulator serve {folder}") from problem
    if "error" in reply:
        raise EmulatorError(reply["error"])
    return reply["text"]
