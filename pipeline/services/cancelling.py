"""Ending a run on demand: what has not begun never will, what is at work stops, what went out stays on record."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipeline.errors import Refused
from pipeline.models import Run, RunStatus, Step, StepStatus
from pipeline.services import audit, runs
from pipeline.services.audit import Actor


def cancel(session: Session, run_id: UUID, actor: Actor, reason: str | None = None) -> Run:
    """End the run: at once, or, where steps are at work, as `cancelling` until the last of them has stopped.

    Again while it is being cancelled it changes nothing. Raises Refused for a run that has ended.
    """
    run = runs.lock_to_close(session, run_id)
    if run.status == RunStatus.CANCELLING:
        return run
    if runs.is_over(run):
        raise Refused(f"run {run.id} has ended as {run.status}: there is nothing left to cancel")
    audit.record(session, actor, "cancel", "run", run.id, schedule=run.schedule_key, reason=reason)
    runs.cancel(session, run, str(actor), reason)
    return run


def at_work(session: Session, run_id: UUID) -> int:
    """How many of the run's steps are being carried out now."""
    running = (Step.run_id == run_id, Step.status == StepStatus.RUNNING)
    return session.scalar(select(func.count()).select_from(Step).where(*running)) or 0
