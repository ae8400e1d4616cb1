"""Records how the try of a claimed step ended: done, to be tried again, to look again, or failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from pipeline.db import clock
from pipeline.errors import ApprovalWanted, Blocked, Cancelled, Parked, PipelineError, Waiting
from pipeline.models import Attempt, Outcome, Run, RunStatus, Step, StepStatus, WaitingFor
from pipeline.retry import Retry
from pipeline.services import approvals, blocks, canvases, runs
from pipeline.services.steps.advancing import advance, after_failure
from pipeline.services.steps.claiming import Claim, write
from pipeline.services.steps.waking import remembered

# How a step waits for what is outside, such as a dead relay, and for how long.
PARKING = Retry(attempts=1_000_000, first=30, factor=2, ceiling=900, give_up_after=86400)


def record(
    session: Session,
    claim: Claim,
    result: Any,
    stages: Sequence[Sequence[canvases.Planned]] = (),
    *,
    carried: bool = False,
) -> None:
    """The step succeeded, with its result, the canvas it returned, or the verdict it ends its run with.

    Raises StaleClaim when the step is no longer ours, and Refused for a canvas that cannot be (see `add_canvas`).
    `carried`: its Celery message brings the next stage's along (it ran in its chord or chain).
    """
    now = clock(session)
    verdict = result if isinstance(result, runs.Verdict) else None
    ends = verdict or not (stages or _has_pending(session, claim.run.id))
    run = (runs.lock_to_close if ends else runs.lock)(session, claim.run.id)
    kept = {"status": verdict.status, "error": verdict.error} if verdict else result
    _finish(session, claim, StepStatus.SUCCEEDED, now, result=kept)
    _end_attempt(session, claim, Outcome.SUCCEEDED, now)
    if runs.is_over(run):
        runs.close_leftovers(session, run)
        return
    runs.end_waiting_for_data(run, now)
    if verdict:
        runs.apply(session, run, verdict)
        return
    if stages and run.status != RunStatus.CANCELLING:
        canvases.add_canvas(session, run, stages, now)
    advance(session, run, claim.step.stage, now, carried=carried)


def _has_pending(session: Session, run_id: UUID) -> bool:
    """Whether stages are left that cannot begin before the step that asks has ended: only without any may it close."""
    return (
        session.scalar(select(Step.id).where(Step.run_id == run_id, Step.status == StepStatus.PENDING).limit(1))
        is not None
    )


def record_failure(
    session: Session, claim: Claim, error: Exception, trace: str | None, retry: Retry, *, carried: bool = False
) -> None:
    """The attempt failed: the step is parked for its next try, or ends; a step that is not tolerated ends its run."""
    now = clock(session)
    run = runs.lock_to_close(session, claim.run.id)
    named = f"{type(error).__name__}: {error}".removesuffix(": ")
    sentence = str(error) or named if isinstance(error, PipelineError) else named
    over = runs.is_over(run) or run.status == RunStatus.CANCELLING
    if isinstance(error, Waiting) and not over:
        _look_again(session, run, claim, error, now)
        return
    wait = None if over else _wait(session, claim, error, retry, now)
    if wait is not None:
        _queue_again(session, claim, now, wait, error=sentence, memory=None)
        outcome = Outcome.PARKED if isinstance(error, Parked) else Outcome.RETRY
        _end_attempt(session, claim, outcome, now, error=sentence, trace=trace)
        return
    stopped = isinstance(error, Cancelled)
    _finish(session, claim, StepStatus.CANCELLED if stopped else StepStatus.FAILED, now, error=sentence)
    outcome = Outcome.CANCELLED if stopped else Outcome.FAILED
    _end_attempt(session, claim, outcome, now, error=sentence, trace=None if stopped else trace)
    after_failure(session, run, claim.step, sentence, now, carried=carried)


def _queue_again(session: Session, claim: Claim, now: datetime, wait: float, **values: Any) -> None:
    again = {
        "not_before": now + timedelta(seconds=wait),
        "task_id": canvases.task_id(claim.step.id, claim.step.generation, claim.fence),
        "published_at": None,
        "published": 0,
        "queued_at": now,
    }
    _finish(session, claim, StepStatus.QUEUED, now, **again, **values)


def _look_again(session: Session, run: Run, claim: Claim, error: Waiting, now: datetime) -> None:
    """Park a step that looked in vain; one look after the other is one row that grows longer, however many they are."""
    known = select(Step.memory).where(Step.id == claim.step.id).with_for_update(key_share=True)
    heard = remembered(session.scalar(known), claim.step.generation)
    wait = error.again_in if heard == claim.memory else 0.0  # somebody has called while it looked
    memory = {"generation": claim.step.generation, "kept": {**heard, **error.memory}}
    _queue_again(session, claim, now, wait, error=str(error), memory=memory)
    before = (Attempt.step_id == claim.step.id, Attempt.fence == claim.fence - 1, Attempt.outcome == Outcome.PARKED)
    earlier = session.scalar(select(Attempt).where(*before, Attempt.generation == claim.step.generation))
    if earlier is None:
        _end_attempt(session, claim, Outcome.PARKED, now, error=str(error))
    else:
        session.execute(delete(Attempt).where(Attempt.id == claim.attempt_id))
        earlier.fence, earlier.worker, earlier.finished_at, earlier.error = claim.fence, claim.owner, now, str(error)
    if error.for_data:
        run.status, run.waiting_for, run.error = RunStatus.WAITING, WaitingFor.DATA, str(error)
    if isinstance(error, Blocked):
        blocks.block(session, run, str(error), tell=not error.known)
    if isinstance(error, ApprovalWanted):
        approvals.ask(session, run, str(error), error.facts)


def tries(session: Session, claim: Claim) -> int:
    """How many tries of the claimed step have failed since it was planned, or run again."""
    of_step = (Attempt.step_id == claim.step.id, Attempt.generation == claim.step.generation)
    return session.scalar(select(func.count()).where(*of_step, Attempt.outcome == Outcome.RETRY)) or 0


def keep_output(session: Session, attempt_id: UUID, output: str) -> None:
    """Keep what a program or a task of another application said, also when its step is somebody else's by now."""
    session.execute(update(Attempt).where(Attempt.id == attempt_id).values(output=output))


def _wait(session: Session, claim: Claim, error: Exception, retry: Retry, now: datetime) -> float | None:
    """Seconds until the next try, or None to give up; parking uses up no attempt, but has its limit in time."""
    outcome = Outcome.PARKED if isinstance(error, Parked) else Outcome.RETRY
    of_step = (Attempt.step_id == claim.step.id, Attempt.generation == claim.step.generation)
    before = session.scalar(select(func.count()).where(*of_step, Attempt.outcome == outcome)) or 0
    first = session.scalar(select(func.min(Attempt.started_at)).where(*of_step)) or now
    if outcome == Outcome.PARKED:
        patience = retry.give_up_after or PARKING.give_up_after
        retry = replace(PARKING, first=min(PARKING.first, retry.first), give_up_after=patience)
    return retry.decide(error, before + 1, str(claim.step.id), first, now)


def _finish(session: Session, claim: Claim, status: StepStatus, now: datetime, **values: Any) -> None:
    finished_at = None if status == StepStatus.QUEUED else now
    said = {"error": None, **values}
    write(session, claim, status=status, lease_owner=None, lease_until=None, finished_at=finished_at, **said)


def _end_attempt(
    session: Session,
    claim: Claim,
    outcome: Outcome,
    now: datetime,
    *,
    error: str | None = None,
    trace: str | None = None,
) -> None:
    session.execute(
        update(Attempt)
        .where(Attempt.id == claim.attempt_id)
        .values(outcome=outcome, finished_at=now, error=error, traceback=trace)
        .execution_options(synchronize_session=False)
    )
