"""Sockets in a folder, each served by a thread, one client after the other."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable


def listen(path: str, serve: Callable[[socket.socket], None]) -> socket.socket:
    """Call `serve` with each client in turn and close it afterwards, until the listener is closed. OSError."""
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
                return
            with client, contextlib.suppress(ConnectionError, TimeoutError):
                serve(client)

    threading.Thread(target=loop, daemon=True, name=path).start()
    return listener
