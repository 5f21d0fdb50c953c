"""What drivers did to a device, in order, as JSON lines."""

from __future__ import annotations

import json
import threading
import time
from typing import TextIO


class Record:
    """One line an event: seconds since the start, function, what, and its values. Without a file, nothing."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def __call__(self, function: str, what: str, **values: object) -> None:
        if self._file is None:
            return
        line = {"seconds": round(time.monotonic() - self._began, 6), "function": function, "what": what, **values}
        with self._lock:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
