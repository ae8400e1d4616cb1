"""A run's row: locked, asked how it stands, and its history written on."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline.db import clock
from pipeline.models import FINAL_RUN, Run, RunEvent, RunStatus
from pipeline.services import turns


def goes_on(session: Session, run_id: UUID) -> bool:
    """Whether work may be done for the run now: it has not ended, nor is it being cancelled."""
    run = session.get_one(Run, run_id, populate_existing=True)
    return not is_over(run) and run.status != RunStatus.CANCELLING


def lock(session: Session, run_id: UUID) -> Run:
    """The run's row, locked until the transaction ends: whoever joins its steps goes through here."""
    # NO KEY UPDATE: a plain FOR UPDATE makes a claim, which holds its step and refers to the run, wait for whoever
    # closes the run and waits for that step.
    locked = select(Run).where(Run.id == run_id).with_for_update(key_share=True)
    return session.scalars(locked.execution_options(populate_existing=True)).one()


def lock_to_close(session: Session, run_id: UUID) -> Run:
    """The run's row, locked behind its schedule's: whoever may end the run goes through here."""
    turns.lock(session, session.scalars(select(Run.schedule_key).where(Run.id == run_id)).one())
    return lock(session, run_id)


def is_final(run: Run) -> bool:
    return run.status in FINAL_RUN


def is_over(run: Run) -> bool:
    """Whether nothing more happens to it: final, and no late deliveries are to complete it."""
    return is_final(run) and run.waiting_for is None


def being_cancelled(session: Session, run_id: UUID) -> str | None:
    """Why the run is to end, while its steps at work have not stopped yet; None for any other."""
    cancelling = (Run.id == run_id, Run.status == RunStatus.CANCELLING)
    row = session.execute(select(Run.error).where(*cancelling)).one_or_none()
    return None if row is None else row[0] or "the run is cancelled"


def note(session: Session, run_id: UUID, kind: str, text: str) -> None:
    """Append a line to the run's history."""
    session.add(RunEvent(run_id=run_id, at=clock(session), kind=kind, text=text))


def last_event(session: Session, run_id: UUID, *kinds: str) -> RunEvent | None:
    """The newest line of these kinds in the run's history."""
    mine = select(RunEvent).where(RunEvent.run_id == run_id, RunEvent.kind.in_(kinds))
    return session.scalar(mine.order_by(RunEvent.id.desc()).limit(1))
