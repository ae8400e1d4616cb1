"""The SQL-backed scheduler: `celery -A pipeline beat` fires slots as rows and heals runs, beside any other beat."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import Empty, Full, Queue
from typing import Any
from uuid import UUID

from celery.beat import Scheduler
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pipeline import log, tasks
from pipeline.db import clock, reading, transaction
from pipeline.errors import PipelineError
from pipeline.failpoints import failpoint
from pipeline.models import Heartbeat
from pipeline.notifier import Notifier
from pipeline.services import firing
from pipeline.services.reconcile import reconcile
from pipeline.settings import settings
from pipeline.watcher import Watcher

logger = log.get(__name__)
# Seconds between two looks: for due slots at most, for what to heal, at the schedule files
# once looking has failed, and signs of life.
TICK, HEAL, WATCH, HEARTBEAT = 1.0, 2.0, 5.0, 10.0
# At least between two looks: another beat may be deciding what is due.
AGAIN = 0.01
# Runs that wait for the publisher at most; what does not fit is published by reconcile.
WAITING_TO_PUBLISH = 10_000


class SqlScheduler(Scheduler):
    """Decides due slots in SQL; publishing and healing have threads of their own and never delay a decision."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._queue: Queue[UUID] = Queue(WAITING_TO_PUBLISH)
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._last: dict[str, float] = {}
        self._watcher = Watcher()
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Load the schedule files where they are watched, and start the threads."""
        threads = [self._publish, self._heal]
        if settings().watches_schedules:
            self._safely(self._watcher.look)
            threads.append(self._watch)
        for work in threads:
            thread = threading.Thread(target=work, name=f"beat-{work.__name__.strip('_')}", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._threads += Notifier(self._safely, self._stopped).start()

    def tick(self, *_: Any, **__: Any) -> float:
        """Fire what is due; returns the seconds until the next look."""
        self._every(HEARTBEAT, self._beat)
        return self._safely(self._fire) or TICK

    @property
    def info(self) -> str:
        return "    . schedules -> the pipeline's database"

    def close(self) -> None:
        self._stopped.set()
        for thread in self._threads:  # one that waits for a dead broker is left behind: it ends with the process
            thread.join(2)

    def sync(self) -> None:
        """Nothing is kept in memory: everything was committed when it was decided."""

    def _fire(self) -> float:
        """Fire batch after batch while more is due; the seconds until the next slot, or look."""
        wait = self._until_due()
        if wait > 0:
            return wait
        more = True
        while more and not self._stopped.is_set():
            with transaction() as session:
                batch = firing.fire_due(session)
            failpoint("firing.committed")
            for run in batch.fired:
                logger.info("fired", schedule=run.schedule_key, due=run.due_at.isoformat(), run=str(run.run_id))
                if not run.waits:
                    self._enqueue(run.run_id)
            more = batch.more
            self._every(HEARTBEAT, self._beat)
        return max(self._until_due(), AGAIN)

    def _until_due(self) -> float:
        with reading() as session:
            soonest, now = firing.soonest(session), clock(session)
        return TICK if soonest is None else min(TICK, (soonest - now).total_seconds())

    def _beat(self) -> None:
        name = f"beat@{socket.gethostname()}:{os.getpid()}"
        with transaction(durable=False) as session:
            session.merge(Heartbeat(name=name, at=clock(session), detail={"pid": os.getpid()}))

    def _publish(self) -> None:
        while not self._stopped.is_set():
            try:
                run_id = self._queue.get(timeout=1)
            except Empty:
                continue
            self._safely(partial(tasks.publish, run_id))

    def _heal(self) -> None:
        while not self._stopped.wait(HEAL):
            self._safely(self._reconcile)

    def _watch(self) -> None:
        pause = WATCH
        while not self._stopped.wait(pause):
            pause = self._safely(self._watcher.look) or WATCH

    def _reconcile(self) -> None:
        with transaction(durable=False) as session:
            healed = reconcile(session)
        for run_id in healed:
            self._enqueue(run_id)

    def _enqueue(self, run_id: UUID) -> None:
        try:
            self._queue.put_nowait(run_id)
        except Full:
            logger.warning("more runs wait to be published than fit; reconcile comes back to this one", run=str(run_id))

    def _every(self, seconds: float, work: Callable[[], None]) -> None:
        now = time.monotonic()
        if now - self._last.get(work.__name__, -seconds) >= seconds:
            self._last[work.__name__] = now
            self._safely(work)

    def _safely(self, work: Callable[[], Any]) -> Any:
        """Do the work; what goes wrong is told and tried again at the next look: beat and its threads go on."""
        try:
            return work()
        except Exception as error:  # a thread that ended here would publish, or heal, nothing from then on
            reason = error.orig if isinstance(error, DBAPIError) else error
            logger.error(  # noqa: TRY400 - where a mistake is ours, and only there, its traceback says more
                "beat could not do its work, and tries again",
                work=getattr(work, "__name__", "publish"),
                error=f"{type(reason).__name__}: {reason}",
                exc_info=not isinstance(error, SQLAlchemyError | PipelineError | OSError),
            )
            return None
