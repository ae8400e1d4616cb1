"""Keeps a step's claim while it works, and ends the step when somebody ends its run."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from pipeline import hung, interrupting, log
from pipeline.db import reading, transaction
from pipeline.errors import StaleClaim
from pipeline.handle import RunHandle
from pipeline.services import runs, steps
from pipeline.settings import settings

logger = log.get(__name__)
# Seconds between two looks at whether the run is being cancelled.
LOOK = 1.0
# Seconds after that for a step to notice by itself at a safe point, then until its process is killed.
INTERRUPT, KILL = 4.0, 3.0
# For the answer to a message that is out: without it nobody can know whether it has arrived.
ANSWER = 8.0
# Seconds in which a step whose process is to end has to be given back.
END = 4.0


@contextmanager
def kept(handle: RunHandle) -> Iterator[None]:
    """Renew the claim's lease every third of it until the block ends.

    A claim that is lost, or a run that is cancelled, is noticed at safe points (`handle.alive`). A step that comes to
    none is interrupted as by its soft time limit, and at last killed with its process; its worker starts another.
    One that keeps this thread from running is killed by its worker (see `hung`).
    """
    with interrupting.heard(handle), hung.heartbeat() as beat:
        keeper = _Keeper(handle, beat)
        keeper.start()
        try:
            yield
        finally:
            keeper.end()


class _Keeper(threading.Thread):
    def __init__(self, handle: RunHandle, beat: Callable[[], None]) -> None:
        super().__init__(name=f"lease-{handle.claim.step.name}", daemon=True)
        self._handle = handle
        self._beat = beat
        self._done = threading.Event()
        # Seconds that this process was given: one that stood still could not notice anything.
        self._lived = 0.0
        self._cancelled_at = 0.0
        self._interrupted_at = 0.0

    def end(self) -> None:
        self._done.set()
        self.join()

    def run(self) -> None:
        third = settings().lease / 3
        renewed = looked = time.monotonic()
        while not self._done.wait(min(LOOK, third)):
            self._lived += min(time.monotonic() - looked, 2 * LOOK)
            looked = time.monotonic()
            self._beat()
            if self._handle.ending and time.monotonic() - self._handle.ending > END:
                self._signal(signal.SIGKILL, "killed")
            try:
                if time.monotonic() - renewed >= third:
                    self._renew()
                    renewed = time.monotonic()
                self._look()
            except StaleClaim:
                self._handle.lost = True
                return
            except (SQLAlchemyError, OSError) as error:
                logger.warning("the lease could not be renewed", error=str(getattr(error, "orig", error)))

    def _renew(self) -> None:
        with transaction(durable=False) as session:
            steps.renew(session, self._handle.claim)

    def _look(self) -> None:
        if self._handle.cancelled is None:
            with reading() as session:
                self._handle.cancelled = runs.being_cancelled(session, self._handle.id)
            self._cancelled_at = self._lived
            return
        if self._interrupted_at:
            if self._lived - self._interrupted_at >= KILL:
                self._signal(signal.SIGKILL, "killed")
        elif self._lived - self._cancelled_at >= (ANSWER if self._handle.is_waiting_for_an_answer else INTERRUPT):
            self._interrupted_at = self._lived
            self._signal(signal.SIGUSR1, "interrupted")

    def _signal(self, number: signal.Signals, what: str) -> None:
        if not interrupting.is_a_workers_child() or self._done.is_set():
            return
        logger.warning("the step is to end, and does not", step=self._handle.claim.step.name, so=what)
        os.kill(os.getpid(), number)
