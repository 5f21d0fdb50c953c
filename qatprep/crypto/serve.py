"""The other side of child.py: requests as lines of JSON on standard input, answers as lines of JSON to a descriptor.

Whatever the library writes goes wherever the parent sent the standard streams.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Any

Answer = dict[str, Any]


def secret(size: int) -> bytearray:
    """The `size` bytes that follow a request: a key, of which no copy stays in a buffer of Python's."""
    data = bytearray(size)
    view = memoryview(data)
    while view:
        got = os.readv(0, [view])
        if not got:
            raise EOFError("the parent is gone")
        view = view[got:]
    return data


class _Answering:
    """The request that is being answered."""

    out = -1
    number = 0


def part(value: Answer) -> None:
    """Say something before the answer (child.Child.ask, `each`)."""
    # Nobody may listen any more: what was begun is ended all the same.
    with contextlib.suppress(BrokenPipeError):
        os.write(_Answering.out, json.dumps({"id": _Answering.number, "part": value}).encode() + b"\n")


def serve(child: object) -> None:
    """Answer every request by the method do_<name> of `child`, until the parent closes its end. Does not return."""
    out = _Answering.out = int(sys.argv[1])
    with open(0, "rb", buffering=0, closefd=False) as requests:  # unbuffered: what follows a line is not read with it
        for line in requests:
            request = json.loads(line)
            number = _Answering.number = request.pop("id")
            try:
                answer: Answer = getattr(child, f"do_{request.pop('do')}")(**request)
            except Exception as e:
                answer = {"error": f"{type(e).__name__}: {e}"}
            os.write(out, json.dumps({"id": number, **answer}).encode() + b"\n")
    # Not through the interpreter's own end: libqat's handlers at exit may wait for a device that is gone.
    sys.stdout.flush()
    os._exit(0)
