"""The messages of steps that are due, and what becomes of a step whose task ended outside of our hands."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from celery import chain, chord, group
from celery.canvas import Signature
from celery.exceptions import ChordError
from celery.result import denied_join_result
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline import log
from pipeline.adapters import owners
from pipeline.celery import HARD_AFTER, TIME_LIMITS, app
from pipeline.db import clock, persist, reading, transaction
from pipeline.errors import BrokerAway
from pipeline.failpoints import failpoint
from pipeline.models import Step, StepStatus
from pipeline.services import priorities, publishing, steps

logger = log.get(__name__)
# A message that ends before its step is claimed is sent again at once so many times; then after its grace, as if lost.
AT_ONCE = 3


def publish(run_id: UUID) -> bool:
    """Publish the canvas of a run's steps that are due and have no message; True when there was one.

    A broker that is away costs nothing but time: the steps stay unpublished, and reconcile comes back to them.
    """
    try:
        return bool(publish_all([run_id]))
    except BrokerAway as error:
        logger.warning("the broker is away; reconcile publishes later", run=str(run_id), error=str(error))
        return False


def publish_all(run_ids: Sequence[UUID]) -> list[UUID]:
    """Publish the canvases of several runs, see `publish`: the runs that there was one of.

    Raises BrokerAway at the first one that cannot be; those before it are marked as published.
    """
    with reading() as session:
        ready = publishing.publishable(session, run_ids, clock(session))
    sent: list[UUID] = []
    try:
        # Nobody here waits for results: else every publish subscribes to them first, 20 s long if the broker is away.
        with denied_join_result():
            for run_id, stages in ready.items():
                _canvas(stages).apply_async()
                failpoint("publish.sent")
                sent.append(run_id)
    # What Celery's result store gives up with is a plain RuntimeError.
    except (BrokerError, ConnectionError, OSError, RuntimeError) as error:
        raise BrokerAway(str(error)) from error
    finally:
        if sent:
            with transaction(durable=False) as session:
                carried = [step for run_id in sent for stage in ready[run_id] for step in stage]
                publishing.mark_published(session, carried, clock(session))
    return sent


def _canvas(stages: Sequence[Sequence[Step]]) -> Signature:
    first, *later = [[_signature(one) for one in stage] for stage in stages]
    links = [stage[0] for stage in later]
    if len(first) == 1:
        return chain(first[0], *links) if links else first[0]
    if not links:
        return group(first)
    return chord(first, chain(*links) if len(links) > 1 else links[0])


def _signature(row: Step) -> Signature:
    """The message of one step: ids only; run and step stand in its headers, so that Flower's view matches ours."""
    return app.signature(
        row.task,
        kwargs={"step_id": str(row.id)},
        immutable=True,
        task_id=str(row.task_id),
        queue=row.queue,
        priority=priorities.for_broker(row.priority, app.conf.broker_url),
        headers={"run": str(row.run_id), "step": row.name},
        kwargsrepr=repr({"run": str(row.run_id), "step": row.name}),
        link_error=[failed.s()],
        **_limits(row),
    )


def _limits(row: Step) -> dict[str, float]:
    """The schedule's own limit of time for one attempt, where it says one: soft, and a while later hard."""
    limit = row.retry.get("time_limit")
    return {} if limit is None else {"soft_time_limit": limit, "time_limit": limit + HARD_AFTER}


@app.task(name="run.failed", ignore_result=True)
def failed(task_id: str) -> None:
    """The one error path: a step's task ended outside of our hands (killed, past its hard limit, the database away).

    A dead process's claim is released here and now; a living one's is left to its lease. One that had recorded its step
    has not brought along what comes next; one that had not yet claimed it has used up the message.
    """
    # A chord that ended badly tells so of what it was to bring, too, of which no message was fetched.
    was_fetched = not isinstance(app.AsyncResult(task_id).result, ChordError)
    run_id = persist(lambda session: _ended_outside(session, task_id, was_fetched=was_fetched))
    if run_id is not None:
        publish(run_id)


def _ended_outside(session: Session, task_id: str, *, was_fetched: bool) -> UUID | None:
    row = session.scalar(select(Step).where(Step.task_id == UUID(task_id)))
    if row is None:
        return None
    if row.status == StepStatus.RUNNING and row.lease_owner and owners.is_dead(row.lease_owner):
        now = clock(session)
        steps.release(session, row, now, _killed(row, now - steps.tried_since(session, row)))
    elif row.finished_at is not None:
        steps.carries_nothing(session, row)
    elif row.status == StepStatus.QUEUED and was_fetched and row.published <= AT_ONCE:
        steps.lose_message(session, row.id, task_id)
    return row.run_id


def _killed(row: Step, after: timedelta) -> str:
    """Celery hands over the task's id and nothing else; a task that had all of its time has run out of it."""
    hard = _limits(row).get("time_limit") or app.tasks[row.task].time_limit or TIME_LIMITS[1]
    if after.total_seconds() >= hard:
        return f"it did not stop at its time limit, and its process was killed after {hard:g} s"
    return "its process was killed (memory, a fault in a library, or a signal)"
