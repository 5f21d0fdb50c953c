"""Ctrl-C and the other ways in which a run is asked to stop, at moments when it can stop.

Whoever ends a run (Ctrl-C, `kill`, an ssh connection that breaks) wants the host back as it was, not half changed, and
often says so twice. So one KeyboardInterrupt is raised for them all, never in the middle of a change, and none once
things are being put back.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _State:
    """Of this process, as signals are."""

    armed = False
    wanted = False
    raised = False
    depth = 0
    tell: Callable[[], None] | None = None


def _handle(number: int, frame: FrameType | None) -> None:
    first, _State.wanted = not _State.wanted, True
    if first and _State.tell is not None:
        # A second one may come while the first is reported, and would wait for its locks.
        _State.tell()
    if not _State.depth and not _State.raised:
        _State.raised = True
        raise KeyboardInterrupt


def _main() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def armed() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP come as one KeyboardInterrupt. What was ignored before (nohup) stays ignored."""
    if _State.armed or not _main():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    _State.armed, _State.wanted, _State.raised, _State.depth, _State.tell = True, False, False, 0, None
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, _handle)
        yield
    finally:
        _State.raised = True
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        _State.armed = False


@contextlib.contextmanager
def put_off(tell: Callable[[], None] | None = None) -> Iterator[None]:
    """No KeyboardInterrupt in here. `tell` is called when one is wanted, once; it is raised at the end."""
    if not _main():
        yield
        return
    _State.depth += 1
    outer, _State.tell = _State.tell, tell or _State.tell
    try:
        yield
    finally:
        _State.tell = outer
        _State.depth -= 1
    if _State.armed and _State.wanted and not _State.depth and not _State.raised:
        _State.raised = True
        raise KeyboardInterrupt


@contextlib.contextmanager
def put_aside() -> Iterator[None]:
    """No KeyboardInterrupt in here, nor afterwards: what is done in here ends what a run has to do."""
    with put_off():
        yield
        _State.raised = True
