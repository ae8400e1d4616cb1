"""Old rows go, a few at a time: finished runs with all that belongs to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, delete, inspect, select, tuple_, update
from sqlalchemy.orm import Session

from pipeline.db import CHUNK
from pipeline.models import (
    FINAL_RUN,
    Approval,
    Attempt,
    Base,
    Delivery,
    DeliveryAttempt,
    DeliveryDocument,
    Document,
    Notice,
    NoticeDelivery,
    Run,
    RunArtifact,
    RunEvent,
    Slot,
    Step,
)

# Runs that are taken apart together.
RUNS = 50

Condition = Callable[[Sequence[UUID]], ColumnElement[bool]]


def _of_its_deliveries(runs: Sequence[UUID]) -> ColumnElement[bool]:
    return DeliveryAttempt.delivery_id.in_(select(Delivery.id).where(Delivery.run_id.in_(runs)))


def _carried_by_its_deliveries(runs: Sequence[UUID]) -> ColumnElement[bool]:
    return DeliveryDocument.delivery_id.in_(select(Delivery.id).where(Delivery.run_id.in_(runs)))


def _of_its_notices(runs: Sequence[UUID]) -> ColumnElement[bool]:
    return NoticeDelivery.notice_id.in_(select(Notice.id).where(Notice.run_id.in_(runs)))


# What belongs to a run, and must go before what it refers to. The steps go first of all: a run without steps cannot be
# rerun, so that nobody gets a report twice from a run whose deliveries are half forgotten.
BELONGINGS: tuple[tuple[type[Base], Condition], ...] = (
    (Attempt, Attempt.run_id.in_),
    (Step, Step.run_id.in_),
    (DeliveryAttempt, _of_its_deliveries),
    (DeliveryDocument, _carried_by_its_deliveries),
    (Delivery, Delivery.run_id.in_),
    (RunArtifact, RunArtifact.run_id.in_),
    (Document, Document.run_id.in_),
    (RunEvent, RunEvent.run_id.in_),
    (Approval, Approval.run_id.in_),
    (NoticeDelivery, _of_its_notices),
    (Notice, Notice.run_id.in_),
)


def purge_runs(session: Session, before: datetime, rows: int = CHUNK) -> Counter[str]:
    """Delete about `rows` rows of runs that finished before `before` (UTC); how many went, by table.

    Call it, each time in a transaction of its own, until it answers with nothing. Slots stay: what was decided about a
    due instant is still told when the run itself is forgotten.
    """
    gone: Counter[str] = Counter()
    runs = _expired(session, before)
    for table, condition in BELONGINGS:
        room = rows - gone.total()
        if not runs or room <= 0:
            return gone
        gone[table.__tablename__] += _delete_some(session, table, condition(runs), room)
    if runs and gone.total() < rows:
        session.execute(update(Slot).where(Slot.run_id.in_(runs)).values(run_id=None))
        session.execute(delete(Run).where(Run.id.in_(runs)))
        gone["runs"] += len(runs)
    return +gone


def _expired(session: Session, before: datetime) -> Sequence[UUID]:
    """The oldest runs to be purged, locked: none of them is reopened meanwhile."""
    statement = (
        select(Run.id)
        # A run cannot have finished before it was created, and that column has an index.
        .where(Run.created_at < before, Run.finished_at < before, Run.status.in_(FINAL_RUN))
        .order_by(Run.created_at)
        .limit(RUNS)
        .with_for_update(skip_locked=True)
    )
    return session.scalars(statement).all()


def _delete_some(session: Session, table: type[Base], condition: ColumnElement[bool], most: int) -> int:
    key = inspect(table).primary_key
    chosen = select(*key).where(condition).limit(most)
    return session.connection().execute(delete(table).where(tuple_(*key).in_(chosen))).rowcount


def purge_notices(session: Session, before: datetime, rows: int = CHUNK) -> Counter[str]:
    """Delete up to `rows` notices of no run that were made before `before` (UTC), with where they went; see above."""
    old = select(Notice.id).where(Notice.created_at < before, Notice.run_id.is_(None)).order_by(Notice.created_at)
    ids = session.scalars(old.limit(rows)).all()
    session.execute(delete(NoticeDelivery).where(NoticeDelivery.notice_id.in_(ids)))
    session.execute(delete(Notice).where(Notice.id.in_(ids)))
    return +Counter(notices=len(ids))
