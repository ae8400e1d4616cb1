"""Ends a worker's process whose run is cancelled and that hears of nothing, such as one that hangs in C code.

A step's own thread interrupts and kills it (`leases`), as long as Python runs it: who holds the interpreter's lock
keeps it from that. So that thread leaves a sign of life in memory shared with the worker's main process, which looks
into the database for those that leave none, and for no others.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from billiard.process import current_process
from celery import signals
from sqlalchemy.exc import SQLAlchemyError

from pipeline import log
from pipeline.adapters import owners
from pipeline.db import reading
from pipeline.services import steps

logger = log.get(__name__)
# Seconds: between two looks, without a sign of life, and then with a cancelled run until the process is killed.
LOOK, SILENT, PATIENCE = 1.0, 4.0, 2.0
# A process's pid and its last sign of life, by time.monotonic(), at its place among those of its worker.
_SIGN = struct.Struct("qd")
_PLACES = 1024
_shared = mmap.mmap(-1, _SIGN.size * _PLACES)
# A process that was forked while another thread read the database would wait for ever for locks of SQLite's library
# that nobody in it opens again.
_reading = threading.Lock()
os.register_at_fork(before=_reading.acquire, after_in_parent=_reading.release, after_in_child=_reading.release)


@contextmanager
def heartbeat() -> Iterator[Callable[[], None]]:
    """What to call about once a second until the block ends."""
    place = getattr(current_process(), "index", _PLACES)
    if place >= _PLACES:  # no worker's child, or one too many
        yield lambda: None
        return
    try:
        _leave(place)
        yield lambda: _leave(place)
    finally:
        _SIGN.pack_into(_shared, place * _SIGN.size, 0, 0.0)


def _leave(place: int) -> None:
    _SIGN.pack_into(_shared, place * _SIGN.size, os.getpid(), time.monotonic())


def silent() -> set[int]:
    """The processes of this worker that carry out a step, and have left no sign of life for some seconds."""
    late = time.monotonic() - SILENT
    return {pid for pid, at in _SIGN.iter_unpack(_shared[:]) if pid and at < late}


class Watch:
    """Looks again and again, in the worker's main process."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    def look(self) -> None:
        """Kill who is silent, and was so at the last looks, too, while its run was cancelled."""
        found = {owners.owner_of(pid): pid for pid in silent()}
        names = {name: pid for name, pid in found.items() if not owners.is_dead(name)}
        if not names:
            self._since.clear()
            return
        with _reading, reading() as session:
            cancelled = {names[name] for name in steps.cancelled_of(session, names)}
        now = time.monotonic()
        self._since = {pid: self._since.get(pid, now) for pid in cancelled}
        for pid, since in self._since.items():
            if now - since >= PATIENCE:
                logger.warning("the run is cancelled, and its process hears of nothing: it is killed", pid=pid)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@signals.worker_ready.connect
def _begin(**_: Any) -> None:
    threading.Thread(target=_look_for_ever, name="hung", daemon=True).start()


def _look_for_ever() -> None:
    watch = Watch()
    while True:
        time.sleep(LOOK)
        try:
            watch.look()
        except (SQLAlchemyError, OSError) as error:
            logger.warning("silent processes could not be looked after", error=str(getattr(error, "orig", error)))
