"""Compares rows with leases and messages, and heals what was lost; harmless at any time, by any number at once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, exists, or_, select
from sqlalchemy.orm import Session

from pipeline.db import clock
from pipeline.models import Run, RunStatus, Step, StepStatus
from pipeline.services import approvals, backfills, late, pausing, runs, steps, turns, waiting
from pipeline.settings import settings

# Rows that one pass looks at: the rest comes two seconds later.
LIMIT = 500
# An unpublished step younger than this is being published by whoever just committed it.
PUBLISHING = timedelta(seconds=5)


def reconcile(session: Session) -> set[UUID]:
    """Free lapsed claims, finish lost joins, give due deliveries a step, end pauses, go on with backfills.

    Returns the runs whose steps want publishing: the caller publishes after commit.
    """
    now = clock(session)
    pausing.end_those_over(session)
    approvals.lapse(session, now)
    healed = {step.run_id for step in _release_dead(session, now)}
    healed |= set(_forget_lost_messages(session, now))
    healed |= set(_finish_joins(session, now))
    _begin_stalled(session)
    healed |= backfills.tend(session)
    healed |= late.sweep(session, now)
    waiting.call_waiting(session, now)
    return healed | set(_unpublished(session, now))


def _release_dead(session: Session, now: datetime) -> Iterable[Step]:
    running = select(Step).where(Step.status == StepStatus.RUNNING).order_by(Step.lease_until).limit(LIMIT)
    for step in session.scalars(running).all():
        if step.lease_owner and steps.is_dead(step.lease_owner):
            steps.release(session, step, now, f"process {step.lease_owner} is gone")
            yield step
        elif step.lease_until and step.lease_until < now:
            steps.release(session, step, now, f"{step.lease_owner} let its lease lapse")
            yield step


def _forget_lost_messages(session: Session, now: datetime) -> Iterable[UUID]:
    """Queued steps whose message nobody took for long: their run publishes them again under the same task id."""
    grace = timedelta(seconds=settings().republish_after)
    queued = select(Step).where(Step.status == StepStatus.QUEUED, Step.published_at < now - grace)
    for step in session.scalars(queued.order_by(Step.published_at).limit(LIMIT)).all():
        since = max(filter(None, (step.published_at, step.queued_at)))
        if since + grace * 2 ** min(step.published - 1, 10) < now:
            step.published_at = None
            yield step.run_id


def _finish_joins(session: Session, now: datetime) -> Iterable[UUID]:
    """Runs with pending steps and none queued or running: the join between them was lost."""
    active = exists().where(Step.run_id == Run.id, Step.status.in_((StepStatus.QUEUED, StepStatus.RUNNING)))
    open_run = Run.status.in_((RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.CANCELLING))
    stalled = select(Run.id).where(Run.finished_at.is_(None), open_run, ~active).limit(LIMIT)
    for run_id in session.scalars(stalled).all():
        run = runs.lock_to_close(session, run_id)
        if not runs.is_final(run):
            steps.advance(session, run, 0, now)
            yield run_id


def _begin_stalled(session: Session) -> None:
    """Runs whose turn it is, although nobody said so: the one before them ended while they were being opened."""
    for key in turns.stalled(session, LIMIT):
        turns.lock(session, key)
        turns.begin_next(session, key)


def _unpublished(session: Session, now: datetime) -> Iterable[UUID]:
    due = or_(
        Step.not_before <= now,
        and_(Step.not_before.is_(None), Step.queued_at < now - PUBLISHING),
    )
    waiting = select(Step.run_id).where(Step.status == StepStatus.QUEUED, Step.published_at.is_(None), due)
    return session.scalars(waiting.distinct().limit(LIMIT)).all()
