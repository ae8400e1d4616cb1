"""What signals mean to a worker's process while it carries out a step."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from billiard.process import current_process
from celery.exceptions import SoftTimeLimitExceeded

from pipeline import stopping
from pipeline.handle import RunHandle

# Seconds within which a worker and its processes are told to end by one and the same signal.
TOGETHER = 1.0


def is_a_workers_child() -> bool:
    """In any other process (a test, a thread pool) a signal would hit others, too."""
    return bool(current_process().name != "MainProcess")


@contextmanager
def heard(handle: RunHandle) -> Iterator[None]:
    """Until the block ends: SIGUSR1 is the step's limit of time, as Celery has it; SIGTERM and SIGQUIT end the process.

    Those are often sent to all processes of a service at once (systemd, dumb-init, `kill -- -GROUP`). Then they are
    passed over here: the worker has heard them, too, and its steps have the time that it has (see `shutdown`). Sent to
    this process alone, or once more, or by a worker that ends at once (SIGQUIT), they end the step where it is: it is
    given back, which is no failed try, before the process goes.
    """
    if not (is_a_workers_child() and threading.current_thread() is threading.main_thread()):
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        handle.interrupted = True
        raise SoftTimeLimitExceeded

    def end(_number: int, _frame: FrameType | None) -> None:
        if _is_for_all():
            return
        handle.ending = handle.ending or time.monotonic()
        if not handle.recording:  # what is done is recorded first
            raise handle.given_back()

    handlers = {signal.SIGUSR1: interrupt, signal.SIGTERM: end, signal.SIGQUIT: end}
    before: dict[int, Any] = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if handle.ending:
            os.kill(os.getpid(), signal.SIGTERM)


def _is_for_all() -> bool:
    """Whether the worker is told to stop by this signal, too; it may be a moment late."""
    until = time.monotonic() + TOGETHER
    while stopping.since() is None and time.monotonic() < until:
        time.sleep(0.01)
    since = stopping.since()
    return since is not None and since < TOGETHER
