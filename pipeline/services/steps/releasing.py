"""Takes steps away from what died, and gives up those that nobody can carry out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from pipeline.adapters import owners
from pipeline.db import clock
from pipeline.models import ACTIVE_STEP, Attempt, Outcome, Run, RunStatus, Step, StepStatus
from pipeline.services import canvases, runs
from pipeline.services.steps.advancing import advance, after_failure

# A step that kills its process this often is not tried again.
POISONOUS = 3
# Messages after which a step is given up whose task the workers do not know: seven minutes of them, by default.
UNKNOWN = 4


def release(
    session: Session, step: Step, now: datetime, why: str = "its process died", *, blameless: bool = False
) -> None:
    """Take a running step away from an owner that died or fell silent; it is queued again, or failed as poisonous.

    `blameless`: the process was ended for reasons of its own, and that says nothing about the step.
    """
    run = runs.lock_to_close(session, step.run_id)
    fence, lease = step.fence, step.lease_until
    session.refresh(step)
    # Meanwhile recorded, taken over by somebody else, or renewed after all.
    if step.status != StepStatus.RUNNING or (step.fence, step.lease_until) != (fence, lease):
        return
    session.execute(
        update(Attempt)
        .where(Attempt.step_id == step.id, Attempt.fence == fence, Attempt.outcome == Outcome.RUNNING)
        .values(outcome=Outcome.PARKED if blameless else Outcome.ABANDONED, finished_at=now, error=why)
        .execution_options(synchronize_session=False)
    )
    killed = 0 if blameless else _deaths(session, step)
    # Raised here too: whoever comes back from the dead finds a fence that is not its own.
    step.fence, step.lease_owner, step.lease_until = fence + 1, None, None
    cancelled, given_up = run.status == RunStatus.CANCELLING, killed >= POISONOUS or runs.is_over(run)
    becomes = "cancelled" if cancelled else "given up" if given_up else "queued again"
    runs.note(session, run.id, "healed", f"{step.name}: {why}; {becomes}")
    if cancelled:
        step.status, step.finished_at, step.error = StepStatus.CANCELLED, now, run.error
        session.flush()
        advance(session, run, step.stage, now)
        return
    if given_up:
        step.status, step.finished_at = StepStatus.FAILED, now
        died = "1 process" if killed == 1 else f"{killed} processes"
        step.error = f"abandoned: {died} died or fell silent while carrying it out, the last one: {why}"
        session.flush()
        after_failure(session, run, step, step.error, now)
        return
    step.status, step.published_at, step.published, step.queued_at = StepStatus.QUEUED, None, 0, now
    step.task_id = canvases.task_id(step.id, step.generation, step.fence)


def tried_since(session: Session, step: Step) -> datetime:
    """When the try of a running step began."""
    mine = (Attempt.step_id == step.id, Attempt.fence == step.fence)
    return session.scalars(select(Attempt.started_at).where(*mine)).one()


def cancelled_of(session: Session, owners: Collection[str]) -> set[str]:
    """Those of the processes that work on a step whose run is being cancelled."""
    mine = (ACTIVE_STEP, Step.status == StepStatus.RUNNING, Step.lease_owner.in_(owners))
    found = select(Step.lease_owner).join(Run, Run.id == Step.run_id).where(*mine, Run.status == RunStatus.CANCELLING)
    return {str(owner) for owner in session.scalars(found)}


def owned_by(session: Session, owners: Collection[str]) -> Sequence[Step]:
    """The steps that these processes have claimed."""
    return session.scalars(select(Step).where(Step.status == StepStatus.RUNNING, Step.lease_owner.in_(owners))).all()


def hand_back(session: Session, step_id: UUID, now: datetime, why: str) -> None:
    """Queue a step again whose process was ended on purpose, unless it is somebody else's by now."""
    step = session.get_one(Step, step_id)
    if step.status == StepStatus.RUNNING and step.lease_owner and owners.is_dead(step.lease_owner):
        release(session, step, now, why, blameless=True)


def _deaths(session: Session, step: Step) -> int:
    """How many processes in a row the step has cost without anything being done."""
    mine = (Attempt.step_id == step.id, Attempt.generation == step.generation)
    last = select(func.coalesce(func.max(Attempt.fence), 0)).where(*mine, Attempt.progressed).scalar_subquery()
    died = (*mine, Attempt.outcome == Outcome.ABANDONED, Attempt.fence > last)
    return session.scalar(select(func.count()).where(*died)) or 0


def not_known(session: Session, task: UUID, name: str, worker: str) -> None:
    """A worker was given the message of a step whose task it does not know: its file is missing there, or older.

    Reconcile sends the message again, since another worker may know it; after the `UNKNOWN`th time the step has failed.
    """
    step = _waiting_for(session, task)
    if step is None:
        return
    way = "put its file into the workflows/ of every worker, and start the workers again"
    step.error = f'worker {worker} does not know the task "{name}": {way}'
    if step.published >= UNKNOWN:
        _give_up(session, step, f"given up after {step.published} messages: {step.error}")


def revoked(session: Session, task: UUID, worker: str) -> None:
    """Somebody told Celery to throw the message of a step away, and each that follows it: the step has failed."""
    step = _waiting_for(session, task)
    if step is not None:
        _give_up(session, step, f"revoked with Celery, and thrown away by worker {worker}")


def _waiting_for(session: Session, task: UUID) -> Step | None:
    """The step that is to be carried out by this message, its run locked; None where it has gone on meanwhile."""
    step = session.scalar(select(Step).where(Step.task_id == task, Step.status == StepStatus.QUEUED))
    if step is None:
        return None
    runs.lock_to_close(session, step.run_id)
    session.refresh(step)
    return step if step.status == StepStatus.QUEUED and step.task_id == task else None


def _give_up(session: Session, step: Step, why: str) -> None:
    now = clock(session)
    step.status, step.finished_at, step.error = StepStatus.FAILED, now, why
    session.flush()
    after_failure(session, session.get_one(Run, step.run_id), step, why, now)
