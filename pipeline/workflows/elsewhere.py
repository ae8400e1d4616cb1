"""Other applications on the same broker: which of their workers know a task, sending one, and how it is doing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from celery import Celery, states
from celery.result import denied_join_result
from kombu.entity import Queue
from kombu.exceptions import KombuError, OperationalError

from pipeline import log
from pipeline.celery import app
from pipeline.errors import PermanentError, TransientError
from pipeline.mistakes import did_you_mean
from pipeline.settings import environment
from pipeline.targets import variables_in

logger = log.get(__name__)
BROKER_AWAY = (OperationalError, ConnectionError, OSError)
# Seconds for which workers have to answer, and for which an answer is taken for true.
PATIENCE, TRUE_FOR = 1.0, 60.0
# The names that each worker knows; None where it did not say.
Listeners = dict[str, set[str] | None]
_known: dict[str, tuple[float, Listeners]] = {}


def listeners(queue: str) -> Listeners:
    """The workers of whatever application that listen to the queue, and the names of the tasks that each knows.

    One that is too busy to answer is missing, and so is everybody while the broker is away. Whoever did not say all is
    asked again.
    """
    since, found = _known.get(queue, (0.0, {}))
    if not found or None in found.values() or time.monotonic() - since > TRUE_FOR:
        found = _asked(queue)
        _known[queue] = (time.monotonic(), found)
    return found


def _asked(queue: str) -> Listeners:
    asking = app.control.inspect(timeout=PATIENCE)
    try:
        queues = asking.active_queues() or {}
        there = [worker for worker, listens in queues.items() if any(one["name"] == queue for one in listens)]
        if not there:
            return {}
        tasks = app.control.inspect(there, timeout=PATIENCE, limit=len(there)).registered() or {}
    except (KombuError, *BROKER_AWAY) as error:
        logger.warning("workers could not be asked what they know", error=str(error))
        return {}
    # A name may be followed by its options: "myapp.tasks.add [rate_limit=10/m]".
    named = {worker: {name.partition(" ")[0] for name in names} for worker, names in tasks.items()}
    return {worker: named.get(worker) for worker in there}


def unknown(name: str, queue: str, known: set[str], workers: Sequence[str]) -> PermanentError:
    """What to raise for a task that no worker of the queue knows."""
    others = sorted(one for one in known if not one.startswith("celery."))
    hint = did_you_mean(name, others, f"they know {', '.join(others[:12]) or 'none'}{' …' if len(others) > 12 else ''}")
    return PermanentError(f'no worker of the queue "{queue}" ({", ".join(workers)}) knows a task "{name}": {hint}')


def send(  # noqa: PLR0913 - what a message is made of
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    task_id: str,
    queue: str,
    expires: float,
    headers: Mapping[str, str],
    callbacks: Sequence[Any],
) -> None:
    """Send a task to a queue; `callbacks` are told of its success and its failure. Nobody begins it after `expires` s.

    Raises one of BROKER_AWAY.
    """
    succeeded, failed = callbacks
    # Nobody here waits for results: else sending subscribes to them first.
    with denied_join_result():
        app.send_task(
            name,
            args=list(args),
            kwargs=dict(kwargs),
            task_id=task_id,
            # Not declared: it is the other application's, with options that we do not know.
            queue=Queue(queue, no_declare=True),  # type: ignore[no-untyped-call]  # kombu types it not
            declare=[],
            expires=expires,
            headers=dict(headers),
            link=[succeeded],
            link_error=[failed],
        )


@dataclass(frozen=True)
class Found:
    """How a task stands as its result backend knows it: PENDING also means that nothing is known."""

    state: str
    result: Any = None
    traceback: str | None = None

    @property
    def is_unknown(self) -> bool:
        """Whether the worker that took it does not know it."""
        return type(self.result).__name__ == "NotRegistered"

    @property
    def error(self) -> str:
        """In words, how one that has ended without success did."""
        if self.state == states.REVOKED:
            return "was revoked, or had expired before a worker took it"
        if self.is_unknown:
            return "is not known to the worker that took it"
        return f"failed: {type(self.result).__name__}: {self.result}".removesuffix(": ")


def look(task_id: str, url: str | None) -> Found:
    """How the task stands in the result backend at `url` (ours where that is None); PENDING while it is away."""
    try:
        meta = _backend(url).get_task_meta(task_id, cache=False)
    except Exception as error:  # noqa: BLE001 - each backend, and each serializer, has exceptions of its own
        logger.warning("a task's result cannot be looked at", task=task_id, error=f"{type(error).__name__}: {error}")
        return Found(states.PENDING)
    return Found(str(meta["status"]), meta.get("result"), meta.get("traceback"))


def _backend(url: str | None) -> Any:
    if url is None:
        return app.backend
    for name in variables_in(url):
        if name not in environment():
            raise TransientError(f"task.results needs ${name}: set {name} in the workers' environment or .env")
        url = url.replace(f"${{{name}}}", environment()[name]).replace(f"${name}", environment()[name])
    return _other(url).backend


@lru_cache(maxsize=8)
def _other(url: str) -> Celery:
    return Celery("elsewhere", backend=url, set_as_current=False)


def revoke(task_id: str) -> None:
    """Have workers that have not begun the task leave it; one that is at work goes on."""
    try:
        app.control.revoke(task_id)
    except (KombuError, *BROKER_AWAY) as error:
        logger.warning("a task could not be revoked", task=task_id, error=str(error))
