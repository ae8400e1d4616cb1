"""What a broker that was emptied, or a worker that was killed, has lost: messages of steps, counters of chords."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select, tuple_, update
from sqlalchemy.orm import Session

from pipeline.db import CHUNK, clock
from pipeline.models import ACTIVE_STEP, Broker, Step, StepStatus
from pipeline.services import publishing, runs


class Queued(NamedTuple):
    """A step that waits with a message."""

    id: UUID
    run_id: UUID
    name: str
    task_id: UUID


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
    # How often a message was sent says how long the next one may take: this one was not waited for in vain.
    lost = (Step.run_id == run_id, Step.status.in_((StepStatus.QUEUED, StepStatus.PENDING)))
    forgotten = update(Step).where(*lost, Step.published_at.is_not(None)).values(published_at=None, published=1)
    count: int = session.execute(forgotten.execution_options(synchronize_session=False)).rowcount  # type: ignore[attr-defined]  # a cursor result: it has one
    if count:
        messages = "1 message" if count == 1 else f"{count} messages"
        runs.note(session, run.id, "healed", f"the broker was emptied: {messages} published again")
    return count


def with_message(session: Session, *, before: datetime) -> Sequence[Queued]:
    """The steps that nobody has claimed yet and whose message was sent before that time, in the order of their runs."""
    columns = select(Step.id, Step.run_id, Step.name, Step.task_id)
    waiting = columns.where(ACTIVE_STEP, Step.status == StepStatus.QUEUED, Step.published_at < before)
    found = session.execute(waiting.order_by(Step.run_id, Step.stage, Step.ordinal))
    return [Queued(*row) for row in found]


def note_put_back(session: Session, steps: Sequence[Queued]) -> None:
    """Tell in the history of their runs, by which the steps are ordered, that their messages lie in the queue again."""
    _note(session, steps, "fetched by a worker whose connection ended; put back")


def send_again(session: Session, steps: Sequence[Queued], *, before: datetime) -> None:
    """The messages of these steps, ordered by their runs and sent before that time, are lost."""
    for at in range(0, len(steps), CHUNK):
        lost = [(step.id, step.task_id) for step in steps[at : at + CHUNK]]
        # Another beat may have sent some of them anew.
        still = (tuple_(Step.id, Step.task_id).in_(lost), Step.status == StepStatus.QUEUED, Step.published_at < before)
        session.execute(update(Step).where(*still).values(published_at=None))
    _note(session, steps, "its message was lost with a worker's connection; it is sent again")


def _note(session: Session, steps: Sequence[Queued], what: str) -> None:
    for run_id, of_run in groupby(steps, lambda step: step.run_id):
        runs.note(session, run_id, "healed", f"{publishing.listed([step.name for step in of_run])}: {what}")
