"""Ends a worker within PIPELINE_STOP_WITHIN: what is at work may finish, and what does not is given back.

SIGTERM, and the first Ctrl-C, are Celery's warm shutdown: the worker takes nothing new and waits for its children.
After half of the time steps stop at their next safe point (`RunHandle.alive`); after all of it, or at a second signal,
the children that are left are ended, and their steps queued again as if they had said so themselves. (Celery's own soft
shutdown sleeps for all of its time-out, also where nothing is at work, and handles no answer meanwhile.)
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery import signals
from sqlalchemy.exc import SQLAlchemyError

from pipeline import log, stopping
from pipeline.adapters import owners
from pipeline.db import clock, reading, transaction
from pipeline.services import steps
from pipeline.settings import settings
from pipeline.tasks import publish

logger = log.get(__name__)
WHY = "its worker was stopped"
# Seconds that a worker whose children were ended may take to leave by itself.
LAST = 4.0
_hurry = threading.Event()


@signals.worker_init.connect
def _begin(**_: Any) -> None:
    stopping.forget()


@signals.worker_shutting_down.connect
def _asked(**_: Any) -> None:
    """In a signal's handler, in the main thread: once when the worker is to stop, and whenever it is asked again."""
    if stopping.since() is not None:
        _hurry.set()
        return
    stopping.ask()
    threading.Thread(target=_end_in_time, name="shutdown", daemon=True).start()


def _end_in_time() -> None:
    _hurry.wait(settings().stop_within)
    names = {owners.owner_of(pid): pid for pid in _children()}
    logger.warning("the worker stops: what is still at work is given back", processes=len(names))
    for pid in names.values():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # At once: whoever heals would take it for the steps' own doing.
    give_back(names)
    os.kill(os.getpid(), signal.SIGQUIT)
    time.sleep(LAST)
    os._exit(1)


def _children() -> list[int]:
    """The worker's children: its threads start some, too."""
    found = Path("/proc/self/task").glob("*/children")
    return [int(pid) for path in found for pid in path.read_text().split()]


def give_back(names: Collection[str]) -> None:
    """Queue the steps of these processes, which are ending, again, for whichever worker comes first."""
    deadline = time.monotonic() + 1
    while not all(map(owners.is_dead, names)) and time.monotonic() < deadline:
        time.sleep(0.005)
    try:
        with reading() as session:
            left = [(one.run_id, one.id) for one in steps.owned_by(session, names)]
        for run_id, step_id in left:
            with transaction(durable=False) as session:
                steps.hand_back(session, step_id, clock(session), WHY)
            publish(run_id)
    except SQLAlchemyError as error:  # their leases lapse
        logger.warning("what was at work could not be given back", error=str(getattr(error, "orig", error)))
