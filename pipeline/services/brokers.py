"""What a broker that was emptied, or a worker that was killed, has lost: messages of steps, counters of chords."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from pipeline.db import clock
from pipeline.models import ACTIVE_STEP, Broker, Step, StepStatus
from pipeline.services import publishing, runs


def mark(session: Session, name: str) -> str | None:
    """What the broker was marked with, as far as SQL knows."""
    return session.scalar(select(Broker.mark).where(Broker.name == name))


def remember(session: Session, name: str, found: str) -> None:
    """The broker bears this mark from now on."""
    session.merge(Broker(name=name, mark=found, marked_at=clock(session)))


def with_messages(session: Session) -> Sequence[UUID]:
    """Runs whose steps are to be handed out by a broker, in the order of ids."""
    unfinished = select(Step.run_id).where(ACTIVE_STEP)
    return session.scalars(unfinished.distinct().order_by(Step.run_id)).all()


def forget_messages(session: Session, run_id: UUID) -> int:
    """The run's messages are lost, and so are the chords that would bring later ones: how many there were."""
    run = runs.lock(session, run_id)
    lost = (Step.run_id == run_id, Step.status.in_((StepStatus.QUEUED, StepStatus.PENDING)))
    forgotten = update(Step).where(*lost, Step.published_at.is_not(None)).values(published_at=None)
    count: int = session.execute(forgotten.execution_options(synchronize_session=False)).rowcount  # type: ignore[attr-defined]  # a cursor result: it has one
    if count:
        messages = "1 message" if count == 1 else f"{count} messages"
        runs.note(session, run.id, "healed", f"the broker was emptied: {messages} published again")
    return count


def not_begun(session: Session, task_ids: Sequence[str]) -> Sequence[Step]:
    """The steps that these messages name and that nobody has claimed yet, in the order of their runs."""
    mine = (Step.task_id.in_(map(UUID, task_ids)), Step.status == StepStatus.QUEUED)
    return session.scalars(select(Step).where(*mine).order_by(Step.run_id, Step.stage, Step.ordinal)).all()


def note_put_back(session: Session, steps: Sequence[Step]) -> None:
    """Tell in the history of their runs, by which the steps are ordered, that their messages lie in the queue again."""
    for run_id, of_run in groupby(steps, lambda step: step.run_id):
        names = publishing.named(list(of_run))
        runs.note(session, run_id, "healed", f"{names}: fetched by a worker whose connection ended; put back")
