"""The deliveries of a run as a whole: let out at the gate, closed at its end, counted."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from pipeline.bulk import PORTION, in_the_row, insert_new
from pipeline.db import clock
from pipeline.models import (
    OPEN_DELIVERY,
    Attempt,
    Delivery,
    DeliveryDocument,
    DeliveryStatus,
    Document,
    DocumentStatus,
    Outcome,
    Run,
    Suppression,
)
from pipeline.services import ledger

# The cause of a delivery that `send_if` did not want: no person's decision, and looked at again by a rerun.
UNWANTED = "unwanted"
# Deliveries that are ended at once, in fractions of a second; where there are more, some at a time.
MANY = 20_000


def batches(session: Session, run_id: UUID) -> list[int]:
    """The batches that hold a delivery still to be made, in order."""
    open_ones = (Delivery.run_id == run_id, Delivery.status.in_(OPEN_DELIVERY), Delivery.batch.is_not(None))
    numbers = session.scalars(select(Delivery.batch).where(*open_ones).distinct().order_by(Delivery.batch))
    return [number for number in numbers if number is not None]


def withhold(session: Session, run_id: UUID, some: Sequence[int], reason: str) -> None:
    """Deliveries of some batches that carry nothing but documents which `send_if` did not want are skipped."""
    planned = _planned(run_id, some)
    unwanted = exists().where(Document.id == Delivery.document_id, Document.status == DocumentStatus.SKIPPED)
    carries = DeliveryDocument.delivery_id == Delivery.id
    wanted = carries & (Document.id == DeliveryDocument.document_id) & (Document.status != DocumentStatus.SKIPPED)
    skipped = {"status": DeliveryStatus.SKIPPED, "reason": reason, "cause": UNWANTED}
    ledger.put(session, (*planned, unwanted), **skipped)
    ledger.put(session, (*planned, exists().where(carries), ~exists().where(wanted)), **skipped)


def release_to_send(session: Session, run_id: UUID, some: Sequence[int], *, send: bool = True) -> None:
    """The gate is open for some batches: deliveries of rendered documents are queued, others end with the reason.

    Nothing goes out before the gate itself is recorded: only then there are steps that deliver.
    """
    planned = _planned(run_id, some)
    if not send:
        ledger.put(session, planned, status=DeliveryStatus.SKIPPED, reason="triggered with --no-send")
        return
    unrendered = exists().where(Document.id == Delivery.document_id, Document.status != DocumentStatus.RENDERED)
    ledger.put(
        session, (*planned, unrendered), status=DeliveryStatus.FAILED, reason="its document could not be rendered"
    )
    # A combined message goes out with those of its documents that are there, and names the others.
    carries = DeliveryDocument.delivery_id == Delivery.id
    rendered = carries & (Document.id == DeliveryDocument.document_id) & (Document.status == DocumentStatus.RENDERED)
    empty = exists().where(carries) & ~exists().where(rendered)
    ledger.put(
        session, (*planned, empty), status=DeliveryStatus.FAILED, reason="none of its documents could be rendered"
    )
    ledger.put(session, planned, status=DeliveryStatus.QUEUED)


def _planned(run_id: UUID, some: Sequence[int]) -> tuple[ColumnElement[bool], ...]:
    """What is planned in some batches, a portion of those that `batches` has found."""
    status = in_the_row(Delivery.status) == DeliveryStatus.PLANNED
    return Delivery.run_id == run_id, Delivery.batch.between(some[0], some[-1]), status


def suppress(session: Session, address: str, reason: str, source: str) -> bool:
    """Never mail this address again until somebody lifts it; whether that is new: the first reason stays."""
    row = {"address": address, "reason": reason, "source": source, "created_at": clock(session)}
    return insert_new(session, Suppression, [row]) > 0


def are_many(session: Session, run_id: UUID) -> bool:
    """Whether a run has more deliveries to end than one transaction should: on SQLite all other writers wait for it."""
    return session.scalar(select(Delivery.id).where(*_idle(run_id, deferred=True)).offset(MANY).limit(1)) is not None


def close_part(session: Session, run_id: UUID, status: DeliveryStatus, reason: str, *, deferred: bool = False) -> bool:
    """Of what `close_open` ends, end some that nobody has begun; whether there may be more: come again."""
    some = select(Delivery.id).where(*_idle(run_id, deferred=deferred)).limit(PORTION)
    return ledger.put(session, (Delivery.id.in_(some),), status=status, reason=reason) == PORTION


def _idle(run_id: UUID, *, deferred: bool) -> tuple[ColumnElement[bool], ...]:
    idle = (DeliveryStatus.PLANNED, DeliveryStatus.QUEUED, *([DeliveryStatus.DEFERRED] if deferred else []))
    return Delivery.run_id == run_id, Delivery.status.in_(idle)


def close_open(session: Session, run_id: UUID, status: DeliveryStatus, reason: str, *, deferred: bool = False) -> None:
    """End every delivery of a run that is not on its way and will not be; with `deferred`, those turned away too.

    What a step attempt that has ended left behind is on nobody's way: at its final dot it may have gone out.
    """
    at_work = exists().where(Attempt.id == Delivery.attempt_id, Attempt.outcome == Outcome.RUNNING)
    left = (Delivery.run_id == run_id, Delivery.status == DeliveryStatus.SENDING, ~at_work)
    ledger.doubt(session, session.get_one(Run, run_id), left, again=not deferred)
    ledger.put(session, left, status=status, reason=reason)
    ledger.put(session, _idle(run_id, deferred=deferred), status=status, reason=reason)


def counts(session: Session, run_id: UUID) -> dict[str, int]:
    """How many deliveries stand where, by status."""
    statement = select(Delivery.status, func.count()).where(Delivery.run_id == run_id).group_by(Delivery.status)
    return dict(session.execute(statement).all())
