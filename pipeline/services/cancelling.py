"""Ending a run on demand: what has not begun never will, what is at work stops, what went out stays on record."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipeline.errors import Refused
from pipeline.models import Run, RunStatus, Step, StepStatus
from pipeline.services import audit, runs
from pipeline.services.answers import wording
from pipeline.services.audit import Actor


def cancel(session: Session, run_id: UUID, actor: Actor, reason: str | None = None) -> tuple[Run, str | None]:
    """End the run: at once, or, where steps are at work, as `cancelling` until the last of them has stopped.

    Returns the run and, where somebody was faster and nothing was changed, when that was, who and why. Raises Refused
    for a run that has ended otherwise.
    """
    run = runs.lock_to_close(session, run_id)
    over = runs.is_over(run)
    last = runs.last_event(session, run.id, "cancelled", "stopped", "rerun")
    if last and (run.status == RunStatus.CANCELLING or (over and last.kind == "cancelled")):
        return run, f"on {wording.moment(last.at, run.zone)}: {last.text}"
    if over:
        raise Refused(f"run {run.id} has ended as {run.status}: there is nothing left to cancel")
    audit.record(session, actor, "cancel", "run", run.id, schedule=run.schedule_key, reason=reason)
    runs.cancel(session, run, str(actor), reason)
    return run, None


def at_work(session: Session, run_id: UUID) -> int:
    """How many of the run's steps are being carried out now."""
    running = (Step.run_id == run_id, Step.status == StepStatus.RUNNING)
    return session.scalar(select(func.count()).select_from(Step).where(*running)) or 0
