"""What follows when a step has ended: the next stage, the end of its run, and messages that were lost."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from pipeline.models import FINAL_STEP, Run, RunStatus, Step, StepStatus
from pipeline.services import runs


def advance(session: Session, run: Run, stage: int, now: datetime, *, carried: bool = False) -> None:
    """Queue the stage after `stage` when that one is finished; close a run that has none left.

    The run's row is locked, and its schedule's if it may be the last stage (see `runs.lock_to_close`).

    A body that its chord does not bring (`carried` is false, or a header step was tried again outside of it) counts as
    unpublished: the caller publishes it.
    """
    open_steps = select(Step.stage).where(Step.run_id == run.id, Step.status.not_in(FINAL_STEP))
    next_stage = session.scalar(open_steps.order_by(Step.stage).limit(1))
    if next_stage is None:
        if run.status == RunStatus.CANCELLING:
            runs.close_stopped(session, run)
        elif run.status in {RunStatus.QUEUED, RunStatus.RUNNING}:
            runs.close(session, run, RunStatus.SUCCEEDED)
        return
    if next_stage <= stage:
        return
    # Claimed again, or its message sent again: the chord's counter may have missed it.
    anew = (Step.run_id == run.id, Step.stage == stage, or_(Step.fence > 1, Step.published > 1))
    again = select(Step.id).where(*anew).limit(1)
    outside = {} if carried and session.scalar(again) is None else {"published_at": None}
    session.execute(
        update(Step)
        .where(Step.run_id == run.id, Step.stage == next_stage, Step.status == StepStatus.PENDING)
        .values(status=StepStatus.QUEUED, queued_at=now, **outside)
        .execution_options(synchronize_session=False)
    )


def after_failure(session: Session, run: Run, step: Step, error: str, now: datetime, *, carried: bool = False) -> None:
    """A step of this run, whose row is locked, has failed for good: its run ends, unless that is tolerated."""
    if runs.is_over(run):
        runs.close_leftovers(session, run)
    elif step.tolerated or run.status == RunStatus.CANCELLING:
        advance(session, run, step.stage, now, carried=carried)
    elif runs.is_final(run):
        run.waiting_for = None
        runs.close_leftovers(session, run)
    else:
        runs.close(session, run, RunStatus.FAILED, f"{step.name}: {error}")


def lose_message(session: Session, step_id: UUID, task: str) -> None:
    """Who was brought this message has done nothing that counts: if the step still waits for it, it is sent once more.

    So it does where its process was killed before it could claim anything, or where a standby has taken over from a
    database before it had heard of the claim.
    """
    session.execute(
        update(Step)
        .where(Step.id == step_id, Step.task_id == UUID(task), Step.status == StepStatus.QUEUED)
        .values(published_at=None)
    )


def carries_nothing(session: Session, step: Step) -> None:
    """The message of a step that is done ended badly: its chord or chain does not bring the next stage along."""
    runs.lock(session, step.run_id)
    told = step.task_id
    session.refresh(step)
    if step.task_id != told or step.finished_at is None:  # meanwhile it is to be carried out again
        return
    step.fence += 1  # the others of its stage see it: `advance`
    following = (Step.run_id == step.run_id, Step.canvas == step.canvas, Step.stage == step.stage + 1)
    session.execute(
        update(Step)
        .where(*following, Step.status == StepStatus.QUEUED, Step.fence == 0)
        .values(published_at=None)
        .execution_options(synchronize_session=False)
    )
