"""The pipeline, as an application sees it that only sends Celery tasks: it needs `celery[redis]`, and none of our code.

The result backend is looked at, not subscribed to: threads of a web server may share it, and nothing piles up in it.
"""

from __future__ import annotations

import os
import re
import time
from uuid import uuid4

from celery import Celery
from celery.result import denied_join_result
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

BROKER = os.environ["PIPELINE_BROKER_URL"]
# Seconds that a worker may take to answer, and the broker.
PATIENCE = float(os.environ.get("SHOP_PATIENCE", "5"))
celery = Celery("shop", broker=BROKER, backend=os.environ.get("PIPELINE_RESULT_URL") or BROKER)
celery.conf.update(
    # A broker that is away is told within seconds; the default waits for minutes.
    task_publish_retry_policy={"max_retries": 1, "interval_start": 0.1},
    broker_transport_options={"socket_connect_timeout": 3, "socket_timeout": PATIENCE},
    redis_socket_connect_timeout=3,
    redis_socket_timeout=PATIENCE,
    result_backend_transport_options={"retry_policy": {"max_retries": 1}},
)
# Somebody waits: first in the queue. Redis takes the lowest number first, RabbitMQ the highest.
FIRST = 9 if BROKER.startswith("amqp") else 0
# A state of our own: Celery says PENDING of what was sent and of what never was.
SENT = "SENT"


class Refused(Exception):
    """It cannot be as asked; the text is the pipeline's sentence."""


class NotFound(Refused):
    """There is no such run or schedule."""


class Occupied(Refused):
    """Another run is active, whose id the sentence names: `run`."""

    @property
    def run(self) -> str:
        return re.search(r"run (\S+)", str(self))[1]


class NoAnswer(Exception):
    """The broker is away, or no worker has time."""


def start(schedule: str, wish: dict) -> str:
    """Open a run, and return the id to ask for. `wish` has what `run.start` takes: period, key, params, to, send, by.

    The task's id names the run, too: a worker that has not answered yet still will, and till then it is `queued`.
    """
    task_id = str(uuid4())
    try:
        return ask("run.start", {**wish, "schedule": schedule}, task_id=task_id)
    except TimeoutError:
        return task_id


def status(run: str) -> dict:
    """How it stands. What was still refused after `start` had given its task's id is raised here."""
    try:
        return ask("run.status", {"run": run}, expires=PATIENCE)
    except (NotFound, TimeoutError):
        if (started := celery.AsyncResult(run)).failed():
            raise refusal(started.result) from None
        if started.state == SENT:
            return {"id": run, "status": "queued"}
        raise


def cancel(run: str, reason: str, by: str) -> dict:
    return ask("run.cancel", {"run": run, "reason": reason, "by": by})


def ask(task: str, kwargs: dict, **options):
    """What the task answers. Raises Refused or NotFound with its sentence, NoAnswer, and TimeoutError."""
    try:
        with denied_join_result():
            if "task_id" in options:  # before it is sent: its result comes after this
                celery.backend.store_result(options["task_id"], None, SENT)
            sent = celery.send_task(
                task, kwargs=kwargs, priority=FIRST, exchange="pipeline", routing_key="default", **options
            )
        until = time.monotonic() + PATIENCE
        while not sent.ready():
            if time.monotonic() > until:
                raise TimeoutError(f"no worker has taken {task} within {PATIENCE:g} s")
            time.sleep(0.02)
        if sent.successful():
            return sent.result
        error = sent.result
    except (OperationalError, RedisError, ConnectionError, RuntimeError) as away:
        raise NoAnswer(f"the broker does not answer: {away}") from away
    raise refusal(error)


def refusal(error: Exception) -> Exception:
    """Celery makes the class anew by its name, since this process does not have the pipeline's."""
    kind = {"NotFound": NotFound, "Occupied": Occupied, "Refused": Refused}.get(type(error).__name__)
    return kind(str(error)) if kind else error
