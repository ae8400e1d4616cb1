"""Runs on their way to the broker, behind the answers: one thread publishes together what all requests have opened."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from fastapi import FastAPI, Request

from pipeline import log
from pipeline.publisher import Publisher

logger = log.get(__name__)
# Seconds that the thread gets to finish what it is at when the process ends; reconcile does the rest.
PATIENCE = 2.0


def install(app: FastAPI) -> None:
    """Runs can be handed over from here on, and are published once the application has started."""
    app.state.stopped = threading.Event()
    app.state.publisher = Publisher(app.state.stopped)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The thread lives as long as the application does."""
    app.state.stopped.clear()
    thread = threading.Thread(target=app.state.publisher.run, args=(_safely,), name="web-publisher", daemon=True)
    thread.start()
    yield
    app.state.publisher.stop()
    thread.join(PATIENCE)


def hand_over(request: Request, *run_ids: UUID) -> None:
    """Have runs published soon that are committed; whoever asked does not wait for the broker."""
    publisher: Publisher = request.app.state.publisher
    publisher.put(run_ids)


def _safely(work: Callable[[], object]) -> None:
    try:
        work()
    except Exception:  # whatever it is: reconcile publishes what was not
        logger.exception("runs could not be published")
