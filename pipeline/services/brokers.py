"""What a broker that was emptied has lost: messages of steps, and the counters of chords."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from pipeline.db import clock
from pipeline.models import ACTIVE_STEP, Broker, Step, StepStatus
from pipeline.services import runs


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
