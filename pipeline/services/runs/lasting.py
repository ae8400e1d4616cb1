"""The time that a run may take: counted while it works, and what happens when it is used up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline import timing
from pipeline.models import Run, RunStatus, WaitingFor
from pipeline.services.runs.ending import stop
from pipeline.services.runs.rows import note

# Runs that one pass looks at.
LIMIT = 500


def go_on(run: Run, now: datetime) -> None:
    """The run, whose row is locked, works, or works again after it has waited: its time counts from here."""
    run.status, run.waiting_for, run.error = RunStatus.RUNNING, None, None
    allow_time(run, now)


def allow_time(run: Run, now: datetime) -> None:
    """The run has its whole time from `now` on."""
    limit = run.definition.get("time_limit")
    run.stop_at = now + timing.parse_duration(limit) if limit else None


def end_waiting_for_data(run: Run, now: datetime) -> None:
    """The run, whose row is locked, goes on if it was its data that it waited for."""
    if run.status == RunStatus.WAITING and run.waiting_for == WaitingFor.DATA:
        go_on(run, now)


def out_of_time(session: Session, now: datetime) -> Sequence[UUID]:
    """Runs that work, and whose time is used up; while one waits for a person or its data, nothing is counted."""
    over = (Run.stop_at.is_not(None), Run.stop_at <= now, Run.finished_at.is_(None), Run.status == RunStatus.RUNNING)
    return session.scalars(select(Run.id).where(*over).order_by(Run.stop_at).limit(LIMIT)).all()


def stop_if_out_of_time(session: Session, run: Run, now: datetime) -> None:
    """End the run, whose row and whose schedule's row is locked, as failed if its time is used up.

    As when somebody cancels it: what is at work stops, nothing else begins, what went out stays recorded.
    """
    if run.status != RunStatus.RUNNING or run.stop_at is None or run.stop_at > now:
        return
    said = f"took longer than its time limit of {run.definition.get('time_limit')} allows and was stopped"
    note(session, run.id, "stopped", said)
    stop(session, run, said)
