"""The step that has another application's Celery task done: `task:` in a schedule file.

It sends the task, parks, and holds no worker meanwhile. The other worker calls back when it is done (`link`,
`link_error`), whatever result backend it has; result and traceback come from the backend, which is looked at now and
then as well, since callbacks can be lost.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from celery import states

from pipeline import targets
from pipeline.celery import EXCHANGE, QUEUES, app
from pipeline.db import transaction
from pipeline.errors import Parked, PermanentError, TransientError, Waiting
from pipeline.handle import RunHandle
from pipeline.schedule import RETRIES
from pipeline.services import steps
from pipeline.targets import ForeignTask
from pipeline.tasks import LARGEST_RESULT, publish, step
from pipeline.timing import format_duration, parse_duration
from pipeline.workflows import elsewhere

# A result that its worker has announced is stored a moment later, if its worker stores it where we look.
ANNOUNCED = timedelta(seconds=5)
# Between two looks passes a tenth of the time that it has taken so far, within these seconds.
SOONEST, LATEST, SHARE = 1.0, 60.0, 0.1


class TaskFailed(TransientError):
    """The task failed, with its own traceback: worth another try only where the schedule's `retry.task` says so."""

    def __init__(self, message: str, trace: str | None = None) -> None:
        super().__init__(message)
        self.trace = trace or ""


@step(retry=RETRIES["task"])
def task(run: RunHandle) -> dict[str, Any]:
    """Send the task, or look how the one that was sent is doing; its result, when it has succeeded."""
    declared = run.definition.task
    if declared is None:
        raise PermanentError(f"the schedule {run.name} names no task")
    if "task_id" not in run.memory:
        _send(run, declared)
    return _follow(run, declared)


def _send(run: RunHandle, declared: ForeignTask) -> None:
    """Send it once a try: a process that dies in between sends it again under the same id, unless it has begun."""
    listeners = elsewhere.listeners(declared.queue)
    _check_known(declared, listeners)
    task_id = str(uuid5(run.claim.step.id, f"task/{run.claim.step.generation}/{run.tries}"))
    limit = parse_duration(declared.time_limit)
    if elsewhere.look(task_id, declared.results).state == states.PENDING:
        args, kwargs = (targets.filled(given, run.placeholders) for given in (declared.args, declared.kwargs))
        try:
            elsewhere.send(
                declared.name,
                args,
                kwargs,
                task_id=task_id,
                queue=declared.queue,
                expires=limit.total_seconds(),
                headers={"run": str(run.id), "schedule": run.name},
                callbacks=[_callback(run, task_id, how) for how in ("succeeded", "failed")],
            )
        except elsewhere.BROKER_AWAY as error:
            raise Parked(f"{declared.name} could not be sent, the broker is away: {error}") from error
    memory = {"task_id": task_id, "sent_at": run.now.isoformat(), "heard_by": bool(listeners)}
    raise Waiting(_waits(declared, task_id, states.PENDING, heard_by=bool(listeners)), again_in=SOONEST, memory=memory)


def _callback(run: RunHandle, task_id: str, how: str) -> Any:
    """By exchange and routing key: to a queue that it does not know, another application might refuse to send."""
    told = {"step_id": str(run.claim.step.id), "task_id": task_id, "how": how}
    way = {"exchange": EXCHANGE, "routing_key": QUEUES[0]}
    return app.signature("task.settled", kwargs=told, immutable=True, options=way)


@app.task(name="task.settled", ignore_result=True)
def settled(step_id: str, task_id: str, how: str) -> None:
    """Another application's worker says that the task which the step follows has `succeeded` or `failed`."""
    with transaction(durable=False) as session:
        called = steps.call(session, UUID(step_id), settled={task_id: how})
    if called:
        publish(called)


def _check_known(declared: ForeignTask, listeners: elsewhere.Listeners) -> None:
    """Raises PermanentError where workers listen to the queue, and each says that it does not know the task."""
    said = [names for names in listeners.values() if names is not None]
    known = set().union(*said)
    if listeners and len(said) == len(listeners) and declared.name not in known:
        raise elsewhere.unknown(declared.name, declared.queue, known, sorted(listeners))


def _follow(run: RunHandle, declared: ForeignTask) -> dict[str, Any]:
    task_id, sent_at = run.memory["task_id"], datetime.fromisoformat(run.memory["sent_at"])
    found = elsewhere.look(task_id, declared.results)
    if found.state == states.SUCCESS:
        return _succeeded(run, task_id, found.result)
    if found.state in states.READY_STATES:
        if found.is_unknown:  # its workers had not said in time what they know
            _check_known(declared, elsewhere.listeners(declared.queue))
        raise TaskFailed(f"{declared.name} {found.error}", found.traceback)
    settled_as, limit = run.memory.get("settled", {}).get(task_id), parse_duration(declared.time_limit)
    passed, memory = run.now - sent_at, dict(run.memory)
    if settled_as:
        announced_at = datetime.fromisoformat(memory.setdefault("announced_at", run.now.isoformat()))
        if run.now - announced_at >= ANNOUNCED:
            return _settled(run, declared, task_id, settled_as)
    elif passed >= limit:
        elsewhere.revoke(task_id)
        raise TaskFailed(
            f"{declared.name} did not end within its time limit of {format_duration(limit)}{_lost(memory)}"
        )
    if not memory["heard_by"] and found.state == states.PENDING:
        listeners = elsewhere.listeners(declared.queue)
        _check_known(declared, listeners)
        memory["heard_by"] = bool(listeners)
    wait = min(max(SOONEST, passed.total_seconds() * SHARE), LATEST)
    left = SOONEST if settled_as else (limit - passed).total_seconds()
    said = _waits(declared, task_id, found.state, heard_by=memory["heard_by"])
    raise Waiting(said, again_in=min(wait, left), memory=memory)


def _waits(declared: ForeignTask, task_id: str, state: str, *, heard_by: bool) -> str:
    said = f'waits for {declared.name} in the queue "{declared.queue}", task {task_id}'
    if state != states.PENDING:
        return f"{said}: {state}"
    return said if heard_by else f"{said}: no worker that answers listens to that queue"


def _lost(memory: dict[str, Any]) -> str:
    return "" if memory["heard_by"] else ": no worker that answers listens to its queue"


def _succeeded(run: RunHandle, task_id: str, result: Any) -> dict[str, Any]:
    """Keep the result on the attempt, and on the step where it is JSON that is not too large."""
    try:
        text = json.dumps(result, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        text, result = repr(result), None
    run.keep_output(text[:LARGEST_RESULT])
    small = len(text) < LARGEST_RESULT // 4  # as ASCII it may be longer
    return {"task": task_id, "result": result if small else None}


def _settled(run: RunHandle, declared: ForeignTask, task_id: str, how: str) -> dict[str, Any]:
    """Its worker said how it ended, and keeps no result where we look."""
    where = "it keeps no result in PIPELINE_RESULT_URL: `task.results` says where it does"
    if how == "failed":
        raise TaskFailed(f"{declared.name} failed; why is in its worker's log ({where})")
    run.keep_output(f"succeeded; {where}")
    return {"task": task_id, "result": None}
