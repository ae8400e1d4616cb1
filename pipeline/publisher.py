"""Publishes runs from a bounded queue: nobody who decides or heals ever waits for the broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from uuid import UUID

from pipeline import log, tasks
from pipeline.errors import BrokerAway

logger = log.get(__name__)
# Runs that wait to be published at most, and that are published together.
MOST, TOGETHER = 10_000, 50
# Seconds between two tries while the broker is away, and between two batches while slots are being decided.
PAUSE, COURTESY = 1.0, 0.25


class Publisher:
    """Takes runs from any thread; publishes them in one.

    What does not fit, or cannot be published, is let go: it stays unpublished in SQL, and reconcile brings it again.
    """

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped
        # Set while no slots are being decided: that goes first, since both take turns in one interpreter.
        self.undisturbed = threading.Event()
        self.undisturbed.set()
        self._arrived = threading.Condition()
        self._waiting: dict[UUID, None] = {}
        self._full = False
        self._away_since: float | None = None

    def put(self, run_ids: Iterable[UUID]) -> None:
        """Have the runs published soon; one that waits already is not taken twice."""
        with self._arrived:
            for run_id in run_ids:
                if len(self._waiting) < MOST:
                    self._waiting[run_id] = None
                elif not self._full:
                    self._full = True
                    logger.warning("more runs wait to be published than fit: reconcile comes back to them", fit=MOST)
            self._arrived.notify()

    def run(self, safely: Callable[[Callable[[], object]], object]) -> None:
        """Publish until `stopped`; `safely` carries out a piece of work and swallows, and tells, what goes wrong."""
        while not self._stopped.is_set():
            self.undisturbed.wait(COURTESY)
            batch = self._take()
            if batch:
                safely(partial(self.publish, batch))

    def stop(self) -> None:
        """Have `run` return at the end of what it is at."""
        self._stopped.set()
        with self._arrived:
            self._arrived.notify_all()

    def publish(self, batch: Sequence[UUID]) -> None:
        """Publish these runs, and notice when the broker goes away and comes back."""
        try:
            tasks.publish_all(batch)
        except BrokerAway as error:
            self._is_away(error)
            self._stopped.wait(PAUSE)
        else:
            self._is_back()

    def _take(self) -> list[UUID]:
        with self._arrived:
            self._arrived.wait_for(lambda: self._waiting or self._stopped.is_set())
            batch = list(islice(self._waiting, TOGETHER))
            for run_id in batch:
                del self._waiting[run_id]
            self._full = self._full and bool(self._waiting)
            return batch

    def _is_away(self, error: BrokerAway) -> None:
        with self._arrived:
            self._waiting.clear()
        if self._away_since is None:
            self._away_since = time.monotonic()
            logger.error("the broker is away: runs are opened, and published when it is back", error=str(error))

    def _is_back(self) -> None:
        if self._away_since is not None:
            away = round(time.monotonic() - self._away_since)
            logger.info("the broker is back: what was not published is", away_seconds=away)
            self._away_since = None
