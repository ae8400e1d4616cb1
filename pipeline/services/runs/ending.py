"""Ends a run: as its steps went, as somebody wished, and with what it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from pipeline.db import clock
from pipeline.models import Backfill, DeliveryStatus, Run, RunStatus, Step, StepStatus, WaitingFor
from pipeline.services import turns
from pipeline.services.runs.rows import is_final, is_over, note


@dataclass(frozen=True)
class Verdict:
    """How a step ends its run, or what it leaves it waiting for."""

    status: RunStatus
    error: str | None = None
    waiting_for: WaitingFor | None = None


def close(
    session: Session, run: Run, status: RunStatus, error: str | None = None, waiting_for: WaitingFor | None = None
) -> None:
    """End a run whose row, and schedule's row, is locked: what has not started of it never will, nor is it sent.

    With `waiting_for` its deferred deliveries are still made, and complete it later. The run that waits for its turn
    behind it is queued.
    """
    from pipeline.services import notices
    from pipeline.services.notices import endings

    now = clock(session)
    run.status, run.error, run.finished_at, run.waiting_for = status, error, now, waiting_for
    close_leftovers(session, run)
    _cancel_unstarted(session, run, now)
    session.flush()
    notices.aside(session, lambda: endings.run_ended(session, run))
    if run.backfill_id is None:
        turns.begin_next(session, run.schedule_key)
    else:
        turns.begin_next_of(session, session.get_one(Backfill, run.backfill_id))


def cancel(session: Session, run: Run, by: str, reason: str | None = None) -> None:
    """End a run whose row, and schedule's row, is locked: at once, or as soon as what is at work of it is done.

    Nothing of it starts any more; what went out stays recorded. One that has ended but for late deliveries gives those
    up; one that is over, or is being cancelled, stays as it is.
    """
    if is_over(run) or run.status == RunStatus.CANCELLING:
        return
    said = f"cancelled by {by}{f': {reason}' if reason else ''}"
    note(session, run.id, "cancelled", said)
    if is_final(run):
        _give_up_late(session, run, said)
        return
    run.stop_at = None
    stop(session, run, said)


def stop(session: Session, run: Run, said: str) -> None:
    """Let nothing more of the run begin; it ends here, or with the last step that is at work (`close_stopped`)."""
    at_work = select(Step.id).where(Step.run_id == run.id, Step.status == StepStatus.RUNNING).limit(1)
    run.status, run.error, run.waiting_for = RunStatus.CANCELLING, said, None
    _cancel_unstarted(session, run, clock(session))
    if session.scalar(at_work) is None:
        close_stopped(session, run)


def close_stopped(session: Session, run: Run) -> None:
    """End a run that was stopped, once nothing of it is at work: as cancelled, or as failed if its time was used up.

    One with very many deliveries stays `cancelling`: beat, which sees that nothing moves it, ends those (`close_part`).
    """
    from pipeline.services import deliveries

    if not deliveries.are_many(session, run.id):
        close(session, run, RunStatus.FAILED if run.stop_at else RunStatus.CANCELLED, run.error)


def close_part(session: Session, run: Run) -> bool:
    """End some of what a run that was stopped has not rendered or sent; whether there may be more: come again."""
    from pipeline.services import deliveries, documents

    more = documents.close_part(session, run.id, f"not rendered: {run.error}")
    said = f"not sent: {run.error}"
    return deliveries.close_part(session, run.id, DeliveryStatus.CANCELLED, said, deferred=True) or more


def _give_up_late(session: Session, run: Run, said: str) -> None:
    from pipeline.services import deliveries

    run.waiting_for = None
    deliveries.close_open(session, run.id, DeliveryStatus.CANCELLED, f"not sent: {said}", deferred=True)
    _cancel_unstarted(session, run, clock(session))


def _cancel_unstarted(session: Session, run: Run, now: datetime) -> None:
    unstarted = (StepStatus.PENDING, StepStatus.QUEUED)
    session.execute(
        update(Step)
        .where(Step.run_id == run.id, Step.status.in_(unstarted))
        .values(status=StepStatus.CANCELLED, finished_at=now)
        .execution_options(synchronize_session="fetch")
    )


def close_leftovers(session: Session, run: Run) -> None:
    """End what an ended run has not rendered or sent: when it ends, and again when a step that was at work is done."""
    from pipeline.services import deliveries, documents

    ended = run.error or f"the run ended as {run.status}"
    deferred = run.waiting_for != WaitingFor.DEFERRED
    deliveries.close_open(session, run.id, DeliveryStatus.CANCELLED, f"not sent: {ended}", deferred=deferred)
    documents.close_planned(session, run.id, f"not rendered: {ended}")


def apply(session: Session, run: Run, verdict: Verdict) -> None:
    """Close a run whose row is locked, or leave it open with what it waits for; one that has ended may end better."""
    if is_final(run):
        _end_anew(session, run, verdict)
    elif verdict.status == RunStatus.WAITING and run.status == RunStatus.CANCELLING:
        close_stopped(session, run)
    elif verdict.status == RunStatus.WAITING:
        run.status, run.waiting_for, run.error = RunStatus.WAITING, verdict.waiting_for, verdict.error
    else:
        close(session, run, verdict.status, verdict.error, verdict.waiting_for)


def _end_anew(session: Session, run: Run, verdict: Verdict) -> None:
    """Late deliveries change how a run ended, if its deliveries were what it ended by; when it ended stays."""
    from pipeline.services.notices import endings

    run.waiting_for = verdict.waiting_for
    counted = select(Step.id).where(Step.run_id == run.id, Step.task == "report.finish", Step.result.is_not(None))
    if run.status not in {RunStatus.SUCCEEDED, RunStatus.PARTIAL, RunStatus.FAILED} or session.scalar(counted) is None:
        return
    status = RunStatus.PARTIAL if verdict.status == RunStatus.WAITING else verdict.status
    if status != run.status:
        note(session, run.id, "completed", f"{run.status} before, {status} now")
    run.status, run.error = status, verdict.error
    if status == RunStatus.SUCCEEDED:
        endings.run_ended(session, run)
