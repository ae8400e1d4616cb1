"""What a broker that was emptied, or a worker that was killed, has lost: messages of steps, counters of chords."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from pipeline.bulk import CHUNK, is_one_of
from pipeline.db import clock
from pipeline.models import ACTIVE_STEP, Broker, Run, Step, StepStatus
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


def forget_messages(session: Session, name: str, known: str, found: str) -> set[UUID]:
    """The broker has lost the mark it was `known` by, with all messages and the chords that would bring later ones.

    It bears the mark `found` from now on; the runs that are to be published again, in the same transaction: whoever is
    killed in it leaves that to another beat. None where another one was faster, and publishes them.
    """
    same = (Broker.name == name, Broker.mark == known)
    renewed = update(Broker).where(*same).values(mark=found, marked_at=clock(session)).returning(Broker.name)
    if session.scalar(renewed) is None:
        return set()
    lost: Counter[UUID] = Counter()
    run_ids = session.scalars(select(Step.run_id).where(ACTIVE_STEP).distinct().order_by(Step.run_id)).all()
    for at in range(0, len(run_ids), CHUNK):
        some = run_ids[at : at + CHUNK]
        session.execute(select(Run.id).where(Run.id.in_(some)).order_by(Run.id).with_for_update(key_share=True))
        unfinished = (Step.run_id.in_(some), Step.status.in_((StepStatus.QUEUED, StepStatus.PENDING)))
        # How often a message was sent says how long the next one may take: this one was not waited for in vain.
        forgotten = (
            update(Step).where(*unfinished, Step.published_at.is_not(None)).values(published_at=None, published=1)
        )
        lost.update(session.connection().execute(forgotten.returning(Step.run_id)).scalars())
    for run_id, count in lost.items():
        messages = "1 message" if count == 1 else f"{count} messages"
        runs.note(session, run_id, "healed", f"the broker was emptied: {messages} published again")
    return set(lost)


def with_message(session: Session, *, before: datetime) -> Sequence[Queued]:
    """The steps that nobody has claimed yet and whose message was sent before that time, in the order of their runs."""
    columns = select(Step.id, Step.run_id, Step.name, Step.task_id)
    waiting = columns.where(ACTIVE_STEP, Step.status == StepStatus.QUEUED, Step.published_at < before)
    found = session.execute(waiting.order_by(Step.run_id, Step.stage, Step.ordinal))
    return [Queued(*row) for row in found]


def note_put_back(session: Session, steps: Sequence[Queued]) -> None:
    """Tell in the history of their runs, by which the steps are ordered, that their messages lie in the queue again."""
    _note(session, steps, "fetched by a worker whose connection ended; put back")


def send_again(session: Session, steps: Sequence[Queued | Step], *, before: datetime, why: str) -> set[UUID]:
    """The messages of these steps, ordered by their runs and sent before that time, are lost: `why`, in words.

    The runs that are to be published now: another beat may have sent some of them anew, and told of it.
    """
    sent: set[UUID] = set()
    for at in range(0, len(steps), CHUNK):
        lost = is_one_of(session, Step.id, [step.id for step in steps[at : at + CHUNK]])
        still = (lost, Step.status == StepStatus.QUEUED, Step.published_at < before)
        forgotten = update(Step).where(*still).values(published_at=None).returning(Step.id)
        sent.update(session.connection().execute(forgotten).scalars())
    mine = [step for step in steps if step.id in sent]
    _note(session, mine, why)
    return {step.run_id for step in mine}


def _note(session: Session, steps: Sequence[Queued | Step], what: str) -> None:
    for run_id, of_run in groupby(steps, lambda step: step.run_id):
        runs.note(session, run_id, "healed", f"{publishing.listed([step.name for step in of_run])}: {what}")
