"""A limit of time for a piece of work in this process that cannot be asked to stop, such as the layout of a page."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Seconds after which it rings again: code that was called from C may have swallowed the first time.
AGAIN = 5.0


class Rang(BaseException):
    """The time is over. No Exception: a library that passes over its own errors must not pass over this."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Interrupt the block by `Rang` once it has taken so long; only the main thread of a process can be."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    armed = True

    def ring(_number: int, _frame: FrameType | None) -> None:
        if armed:
            raise Rang

    handler = signal.signal(signal.SIGALRM, ring)
    left = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *left)
