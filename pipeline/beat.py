"""The SQL-backed scheduler: `celery -A pipeline beat` fires slots as rows and heals runs, beside any other beat."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from celery.beat import Scheduler
from sqlalchemy import delete

from pipeline import log
from pipeline.brokermark import BrokerMark
from pipeline.db import clock, reading, transaction
from pipeline.endurance import Endurance
from pipeline.failpoints import failpoint
from pipeline.fetched import Fetched
from pipeline.healing import Healer
from pipeline.models import Heartbeat
from pipeline.notifier import Notifier
from pipeline.publisher import Publisher
from pipeline.services import firing
from pipeline.settings import settings
from pipeline.vitals import Vitals
from pipeline.watcher import Watcher

logger = log.get(__name__)
# Seconds between two looks: for due slots at most, for what to heal, at the schedule files once looking has failed, and
# signs of life.
TICK, HEAL, WATCH, HEARTBEAT = 1.0, 2.0, 5.0, 10.0
# At least between two looks: after firing, and where another beat is deciding what is due.
AGAIN, ELSEWHERE = 0.01, 0.05
# A clock that is so much off what has passed was set.
SET = timedelta(seconds=5)


class SqlScheduler(Scheduler):
    """Decides due slots in SQL; publishing and healing have threads of their own and never delay a decision."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._last: dict[str, float] = {}
        self._looked: tuple[datetime, float] | None = None
        self._safely = Endurance()
        self._publisher = Publisher(self._stopped)
        self._watcher = Watcher()
        self._healer = Healer()
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Load the schedule files where they are watched, and start the threads."""
        threads = [self._publish, self._heal, self._look_at_broker]
        if settings().watches_schedules:
            self._safely(self._watcher.look)
            threads.append(self._watch)
        for work in threads:
            thread = threading.Thread(target=work, name=f"beat-{work.__name__.strip('_')}", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._threads += Notifier(self._safely, self._stopped).start()
        self._every(HEARTBEAT, self._beat)  # a monitor is called from the start, and not a minute later
        self._threads += Vitals(self._safely, self._stopped).start()
        # What was imported stays: to look through it for garbage would hold up a slot for a tenth of a second.
        gc.collect()
        gc.freeze()

    def tick(self, *_: Any, **__: Any) -> float:
        """Fire what is due; returns the seconds until the next look."""
        self._every(HEARTBEAT, self._beat)
        return self._safely(self._fire) or TICK

    @property
    def info(self) -> str:
        return "    . schedules -> the pipeline's database"

    def close(self) -> None:
        self._publisher.stop()  # and with it all that look at `_stopped`
        for thread in self._threads:  # one that waits for a dead broker is left behind: it ends with the process
            thread.join(2)
        self._safely(self._leave)

    def sync(self) -> None:
        """Nothing is kept in memory: everything was committed when it was decided."""

    def _fire(self) -> float:
        """Fire batch after batch while more is due; the seconds until the next slot, or look."""
        wait = self._until_due()
        if wait > 0:
            return wait
        least = AGAIN if self._drain() else ELSEWHERE
        return max(self._until_due(), least)

    def _drain(self) -> int:
        """Fire all that is due; how many runs that opened."""
        number, more = 0, True
        self._publisher.undisturbed.clear()
        try:
            while more and not self._stopped.is_set():
                with transaction() as session:
                    batch = firing.fire_due(session)
                failpoint("firing.committed")
                for run in batch.fired:
                    logger.info("fired", schedule=run.schedule_key, due=run.due_at.isoformat(), run=str(run.run_id))
                self._publisher.put(run.run_id for run in batch.fired if not run.waits)
                number, more = number + len(batch.fired), batch.more
                self._every(HEARTBEAT, self._beat)
        finally:
            self._publisher.undisturbed.set()
        return number

    def _until_due(self) -> float:
        with reading() as session:
            soonest, now = firing.soonest(session), clock(session)
        self._notice_a_set_clock(now)
        return TICK if soonest is None else min(TICK, (soonest - now).total_seconds())

    def _notice_a_set_clock(self, now: datetime) -> None:
        """Say that the database's clock was set: what was decided stays decided, and no slot is decided twice."""
        passed = time.monotonic()
        if self._looked is not None:
            by = now - self._looked[0] - timedelta(seconds=passed - self._looked[1])
            if abs(by) > SET:
                logger.warning(
                    "the clock was set: slots are due by the new time, and none twice",
                    seconds=round(by.total_seconds()),
                )
        self._looked = now, passed

    def _beat(self) -> None:
        with transaction(durable=False) as session:
            session.merge(Heartbeat(name=_name(), at=clock(session), detail={"pid": os.getpid()}))

    def _leave(self) -> None:
        """Say goodbye: a beat that was stopped has not fallen silent."""
        with transaction(durable=False) as session:
            session.execute(delete(Heartbeat).where(Heartbeat.name == _name()))

    def _publish(self) -> None:
        self._publisher.run(self._safely)

    def _heal(self) -> None:
        while not self._stopped.wait(HEAL):
            self._safely(self._reconcile)

    def _look_at_broker(self) -> None:
        mark, fetched = BrokerMark(), Fetched()
        while not self._stopped.wait(HEAL):
            self._publisher.put(self._safely(mark.look) or ())
            self._publisher.put(self._safely(fetched.look) or ())

    def _watch(self) -> None:
        pause = WATCH
        while not self._stopped.wait(pause):
            pause = self._safely(self._watcher.look) or WATCH

    def _reconcile(self) -> None:
        self._publisher.put(self._healer.heal())

    def _every(self, seconds: float, work: Callable[[], None]) -> None:
        now = time.monotonic()
        if now - self._last.get(work.__name__, -seconds) >= seconds:
            self._last[work.__name__] = now
            self._safely(work)


def _name() -> str:
    return f"beat@{socket.gethostname()}:{os.getpid()}"
