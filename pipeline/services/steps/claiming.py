"""Claims a step under a fence and a lease, which every later write names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.orm import Session

from pipeline.adapters import owners
from pipeline.db import clock
from pipeline.errors import StaleClaim
from pipeline.models import Attempt, Outcome, Run, RunStatus, Step, StepStatus, WaitingFor, new_id
from pipeline.services import limits, runs
from pipeline.services.steps.releasing import release
from pipeline.services.steps.waking import remembered
from pipeline.settings import settings


@dataclass(frozen=True)
class Claim:
    """The right to carry out one step, until its lease lapses or somebody else takes it over."""

    run: Run
    step: Step
    fence: int
    attempt_id: UUID
    owner: str
    # When it was claimed (UTC).
    at: datetime
    # What the stage before it returned, where the step asked for it.
    inputs: tuple[Any, ...]

    @property
    def memory(self) -> dict[str, Any]:
        """What the last look of a step that waits has left for this one."""
        return remembered(self.step.memory, self.step.generation)


def claim(session: Session, step_id: UUID, task: str) -> Claim | None:
    """Claim the step that a message named, or None when there is nothing to do: done, too early, taken, or replaced.

    One guarded UPDATE raises the fence; a step whose owner died on this host is taken over at once.
    """
    now = clock(session)
    step = session.get(Step, step_id)
    if step is None or str(step.task_id) != task:
        return None
    run = None
    if step.stage == 1 or step.generation > 1 or step.task == runs.START_TASK:
        run = runs.lock(session, step.run_id)  # it may begin the run: before the step, as whoever cancels does
    if step.status == StepStatus.RUNNING and step.lease_owner and owners.is_dead(step.lease_owner):
        release(session, step, now)
        if step.status == StepStatus.QUEUED:
            step.task_id, step.published_at = UUID(task), now  # this message carries it on
        session.flush()
    is_due = step.status == StepStatus.QUEUED and (step.not_before is None or step.not_before <= now)
    if is_due and limits.has_to_wait(session, step, run, now):
        return None
    fence = _raise_fence(session, step, now)
    if fence is None:
        return None
    run = _begun(session, step.run_id, now)
    attempt = Attempt(
        id=new_id(),
        run_id=run.id,
        step_id=step_id,
        generation=step.generation,
        fence=fence,
        worker=owners.owner(),
        outcome=Outcome.RUNNING,
        started_at=now,
    )
    session.add(attempt)
    return Claim(run, step, fence, attempt.id, owners.owner(), now, _inputs(session, step))


def _raise_fence(session: Session, step: Step, now: datetime) -> int | None:
    """Make the step ours under its next fence; None where it is not due, or somebody was quicker."""
    return session.execute(
        update(Step)
        .where(Step.id == step.id, Step.status == StepStatus.QUEUED, Step.fence == step.fence)
        .where(or_(Step.not_before.is_(None), Step.not_before <= now))
        .values(
            status=StepStatus.RUNNING,
            fence=Step.fence + 1,
            lease_owner=owners.owner(),
            lease_until=now + timedelta(seconds=settings().lease),
            started_at=func.coalesce(Step.started_at, now),
            not_before=None,
            place_wanted_at=None,
        )
        .returning(Step.fence)
        .execution_options(synchronize_session=False)
    ).scalar_one_or_none()


def is_being_done(session: Session, step_id: UUID, task: str) -> bool:
    """Whether somebody is carrying out the step on account of the same message, which has come twice."""
    same = (Step.id == step_id, Step.task_id == UUID(task), Step.status == StepStatus.RUNNING)
    return session.scalar(select(Step.id).where(*same)) is not None


def _begun(session: Session, run_id: UUID, now: datetime) -> Run:
    """The run, marked as running from its first claim on, or again when late deliveries reopen it."""
    deferred = and_(Run.status == RunStatus.WAITING, Run.waiting_for == WaitingFor.DEFERRED)
    begins = session.execute(
        update(Run)
        .where(Run.id == run_id, or_(Run.status == RunStatus.QUEUED, deferred))
        .values(status=RunStatus.RUNNING, waiting_for=None, started_at=func.coalesce(Run.started_at, now))
        .execution_options(synchronize_session=False)
    )
    run = session.get_one(Run, run_id, populate_existing=True)
    if begins.rowcount:  # type: ignore[attr-defined]  # a cursor result: it has one
        runs.allow_time(run, now)
    return run


def _inputs(session: Session, step: Step) -> tuple[Any, ...]:
    """What the stage before it in the same canvas returned: always a list, in order.

    Celery hands on a bare value where a group happens to have one member; such code breaks on the day that it has.
    """
    if not step.takes_results:
        return ()
    before = select(Step).where(Step.run_id == step.run_id, Step.canvas == step.canvas, Step.stage == step.stage - 1)
    earlier = session.scalars(before.order_by(Step.ordinal)).all()
    return ([one.result for one in earlier],) if earlier else ()


def renew(session: Session, claim: Claim) -> None:
    """Extend the claim's lease. Raises StaleClaim when the step is somebody else's by now."""
    write(session, claim, lease_until=clock(session) + timedelta(seconds=settings().lease))


def write(session: Session, claim: Claim, **values: Any) -> None:
    """Write to the claimed step. Raises StaleClaim when the claim's fence is no longer the step's."""
    mine = (Step.id == claim.step.id, Step.fence == claim.fence, Step.status == StepStatus.RUNNING)
    statement = update(Step).where(*mine).values(**values).execution_options(synchronize_session=False)
    if not session.execute(statement).rowcount:  # type: ignore[attr-defined]  # a cursor result: it has one
        raise StaleClaim(f"step {claim.step.name} of run {claim.run.id} was taken over by another process")
