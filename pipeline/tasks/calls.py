"""What `celery call` and other applications may ask of us: the tasks `run.*`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from celery import Task

from pipeline.celery import app
from pipeline.db import reading, transaction
from pipeline.errors import Refused
from pipeline.mistakes import did_you_mean
from pipeline.models import Door, Trigger
from pipeline.services import approvals, cancelling, rerunning, runs, wish
from pipeline.services.audit import Actor
from pipeline.tasks.opening import rerun, trigger
from pipeline.tasks.publishing import publish


def _caller(task: Task, by: str | None) -> Actor:
    """Who sent the message, and from which process: `request.hostname` would be the worker that carries it out."""
    origin = task.request.origin
    return Actor(by or origin or "call", Door.CELERY, origin)


@app.task(name="run.start", bind=True, typing=False)
def start(self: Task, schedule: Any = None, params: Any = None, **said: Any) -> str:
    """Open a run of `schedule`; returns its id. Celery's task id is its idempotency key.

    `said` are the other fields of `wish.Wish`: period, key, to, send, now, by. A wish that cannot be granted makes this
    task FAILURE with the sentence as its error.
    """
    wished = wish.read({"schedule": schedule, "params": params, **said}, "run.start")
    request = runs.Request(
        schedule_key=wished.schedule,
        params=wished.params,
        period=wished.period,
        keys=wished.key,
        to=wished.to,
        send=wished.send,
        at_once=wished.now,
        trigger=Trigger.API,
        actor=_caller(self, wished.by),
        idempotency_key=self.request.id,
    )
    return str(trigger(request)[0])


@app.task(name="run.cancel", bind=True)
def cancel(self: Task, run: str, reason: str | None = None, by: str | None = None) -> dict[str, Any]:
    """End a run, for an application that only sends tasks: its id, its status after that, and whether this did it.

    Raises NotFound, and Refused for a run that has ended otherwise; both make this task FAILURE with the sentence
    as its error.
    """
    actor = _caller(self, by)
    with transaction() as session:
        found, before = cancelling.cancel(session, runs.find(session, run).id, actor, reason)
        return {"id": str(found.id), "status": found.status, "new": before is None}


@app.task(name="run.rerun", bind=True)
def rerun_task(self: Task, run: str, by: str | None = None, **said: Any) -> dict[str, Any]:
    """Reopen a run; `said` are the fields of `rerunning.Wish`. Answers with its id, status and generation.

    Raises NotFound, and Refused for what cannot be; both make this task FAILURE with the sentence as its error.
    """
    known = {one.name for one in fields(rerunning.Wish)}
    for name in said.keys() - known:
        hint = did_you_mean(name, known, f"it takes {', '.join(sorted(known))}")
        raise Refused(f'run.rerun has no "{name}": {hint}')
    actor = _caller(self, by)
    with reading() as session:
        run_id = runs.find(session, run).id
    found, new = rerun(run_id, actor, rerunning.Wish(**said))
    return {"id": str(found.id), "status": found.status, "generation": found.generation, "new": new}


@app.task(name="run.approve", bind=True)
def approve(self: Task, run: str, note: str | None = None, by: str | None = None) -> dict[str, Any]:
    """Let a run that waits for an approval send what it has made; raises Refused for one that was answered before."""
    actor = _caller(self, by)
    with transaction() as session:
        found, called = approvals.approve(session, actor, runs.find(session, run).id, note)
        said = {"id": str(found.id), "status": found.status}
    if called:
        publish(called)
    return said


@app.task(name="run.reject", bind=True)
def reject(self: Task, run: str, note: str | None = None, by: str | None = None) -> dict[str, Any]:
    """End a run that waits for an approval, nothing of it being sent; raises Refused as `run.approve` does."""
    actor = _caller(self, by)
    with transaction() as session:
        found = approvals.reject(session, actor, runs.find(session, run).id, note)
        return {"id": str(found.id), "status": found.status}


@app.task(name="run.status")
def status(run: str) -> dict[str, Any]:
    """Where a run stands, as JSON: id, status, progress in numbers, error."""
    from pipeline.services import answers

    with reading() as session:
        return answers.progress(session, runs.find(session, run))
