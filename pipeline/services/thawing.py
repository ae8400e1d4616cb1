"""What a rerun does again of a run's documents and deliveries: never anything of which something went out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from pipeline.bulk import is_one_of
from pipeline.db import clock
from pipeline.models import (
    Delivery,
    DeliveryAttempt,
    DeliveryDocument,
    DeliveryStatus,
    Document,
    DocumentStatus,
    Run,
)
from pipeline.services import deliveries, freezing, ledger

# It has reached a server, or nobody can say that it has not.
WENT_OUT = (
    DeliveryStatus.ACCEPTED,
    DeliveryStatus.UNCERTAIN,
    DeliveryStatus.BOUNCED,
    DeliveryStatus.COMPLAINED,
    DeliveryStatus.SENDING,
)


def batches_to_render(session: Session, run: Run) -> set[int]:
    """The render batches that hold documents which failed, or were left when the run ended."""
    # By name: an index finds them among a hundred thousand that are there.
    open_or_lost = Document.status.in_(set(DocumentStatus) - {DocumentStatus.RENDERED})
    mine = (Document.run_id == run.id, Document.batch.is_not(None), open_or_lost)
    return {batch for batch in session.scalars(select(Document.batch).where(*mine).distinct()) if batch is not None}


def render_again(session: Session, run: Run, batches: Collection[int], *, only_failed: bool) -> None:
    """Documents of these batches are planned again: those that are not there, or all that nobody was sent."""
    of = (Document.run_id == run.id, Document.batch.in_(batches))
    which = Document.status != DocumentStatus.RENDERED if only_failed else ~_went_out_with(Document.id)
    again = update(Document).where(*of, which).values(status=DocumentStatus.PLANNED, error=None)
    session.execute(again.execution_options(synchronize_session=False))


def plan_to_send(session: Session, run: Run) -> None:
    """What was not sent since the run ended, or since there was no document, waits for the gate again."""
    _put(session, run, (or_(_left(), _unwanted()),), status=DeliveryStatus.PLANNED)


def queue_to_send(session: Session, run: Run, batches: Collection[int]) -> None:
    """What was left of these batches, behind a gate that is open, is sent."""
    _put(session, run, (_left(), Delivery.batch.in_(batches)), status=DeliveryStatus.QUEUED)


def deliver_again(session: Session, run: Run, statuses: Collection[DeliveryStatus]) -> int:
    """Deliveries in these statuses whose documents are there are due now, as late ones; how many."""
    due_now = {"status": DeliveryStatus.DEFERRED, "not_before": clock(session), "deferrals": 0}
    return _put(session, run, _deliverable(statuses), **due_now)


def count(session: Session, run: Run, statuses: Collection[DeliveryStatus]) -> int:
    """How many deliveries in these statuses could be made: they have an address and a document."""
    mine = (Delivery.run_id == run.id, *_deliverable(statuses))
    return session.scalar(select(func.count()).select_from(Delivery).where(*mine)) or 0


def plan_again(session: Session, run: Run) -> None:
    """Everything that nothing went out of is open again: the plan, when it comes, says what becomes of it."""
    documents = (Document.run_id == run.id, ~_went_out_with(Document.id))
    values = {"status": DocumentStatus.PLANNED, "batch": None, "error": None}
    session.execute(update(Document).where(*documents).values(values).execution_options(synchronize_session=False))
    # What a person had skipped has a batch; what the plan itself had left out has none.
    by_hand = (Delivery.status == DeliveryStatus.SKIPPED) & Delivery.batch.is_not(None) & ~_unwanted()
    open_ = (Delivery.status.not_in(WENT_OUT), ~by_hand, Delivery.repeat == 0, ~_made_good())
    carried = select(Delivery.id).where(Delivery.run_id == run.id, *open_)
    gone = delete(DeliveryDocument).where(DeliveryDocument.delivery_id.in_(carried))
    session.execute(gone.execution_options(synchronize_session=False))
    _put(session, run, open_, status=DeliveryStatus.PLANNED, batch=None)


def leave_out(session: Session, run: Run) -> None:
    """What the new plan knows nothing of any more ends, and says so; call it when all of that plan is rows."""
    why = f"no longer planned in generation {run.generation}"
    documents = (Document.run_id == run.id, Document.status == DocumentStatus.PLANNED, Document.batch.is_(None))
    ended = update(Document).where(*documents).values(status=DocumentStatus.SKIPPED, error=why)
    session.execute(ended.execution_options(synchronize_session=False))
    open_ = (Delivery.run_id == run.id, Delivery.status == DeliveryStatus.PLANNED, Delivery.batch.is_(None))
    ledger.put(session, open_, status=DeliveryStatus.SKIPPED, reason=why)


def take_up(session: Session, table: type[Document | Delivery], run: Run, rows: Sequence[dict[str, Any]]) -> None:
    """Write what the new plan says over the rows that are open again; each keeps its id and its Message-ID."""
    named = ("key",) if table is Document else ("channel", "address", "key")
    kept = {"id", "message_id", "generation", "deferrals", *named}
    open_ = [table.run_id == run.id, table.status == "planned", table.batch.is_(None)]
    open_.append(is_one_of(session, table.key, list({row["key"] for row in rows})))
    if table is Delivery:
        open_ += [Delivery.repeat == 0, is_one_of(session, Delivery.address, list({row["address"] for row in rows}))]
    known = {
        tuple(row[1:]): row[0]
        for row in session.execute(select(table.id, *(getattr(table, n) for n in named)).where(*open_))
    }
    changes = []
    for row in rows:
        found = known.get(tuple(str(row[name]) for name in named))
        if found is not None:
            changes.append({"id": found, **{name: value for name, value in row.items() if name not in kept}})
    if changes:
        session.execute(update(table), changes)


def _left() -> ColumnElement[bool]:
    """Not sent since its run ended, or for want of a document or a step: nobody who was asked has refused it."""
    answers = (DeliveryStatus.FAILED, DeliveryStatus.EXPIRED)
    answered = exists().where(DeliveryAttempt.delivery_id == Delivery.id, DeliveryAttempt.event.in_(answers))
    return or_(Delivery.status == DeliveryStatus.CANCELLED, Delivery.status.in_(answers) & ~answered)


def _unwanted() -> ColumnElement[bool]:
    """Left out by `send_if`, which is asked again."""
    return Delivery.cause.is_not_distinct_from(deliveries.UNWANTED)


def _deliverable(statuses: Collection[DeliveryStatus]) -> tuple[ColumnElement[bool], ...]:
    rendered = exists().where(Document.id == Delivery.document_id, Document.status == DocumentStatus.RENDERED)
    carries = exists().where(
        DeliveryDocument.delivery_id == Delivery.id,
        Document.id == DeliveryDocument.document_id,
        Document.status == DocumentStatus.RENDERED,
    )
    # What the plan itself refused, for its address, has no batch.
    whole = or_(rendered, (Delivery.key == freezing.COMBINED) & carries)
    again, first = aliased(Delivery), func.coalesce(Delivery.repeat_of, Delivery.id)
    later = exists().where(
        again.repeat_of == first,
        again.address == Delivery.address,
        again.repeat > Delivery.repeat,
        again.status.in_(statuses),
    )
    # Of one and its repeats, if all were lost, the last: nobody gets it twice.
    return Delivery.status.in_(statuses), Delivery.batch.is_not(None), whole, ~_made_good(), ~later


def _made_good() -> ColumnElement[bool]:
    """Somebody had it sent once more to the same address, and that went out; a copy for another makes nothing good."""
    again = aliased(Delivery)
    same = (again.repeat_of == Delivery.id, again.address == Delivery.address)
    return exists().where(*same, again.status.in_(WENT_OUT))


def _went_out_with(document_id: Any) -> ColumnElement[bool]:
    own = exists().where(Delivery.document_id == document_id, Delivery.status.in_(WENT_OUT))
    among = exists().where(
        DeliveryDocument.document_id == document_id,
        Delivery.id == DeliveryDocument.delivery_id,
        Delivery.status.in_(WENT_OUT),
    )
    return own | among


def _put(session: Session, run: Run, where: Sequence[ColumnElement[bool]], **values: Any) -> int:
    """Open deliveries that have a place in a batch, or are about to get one, in the run's generation."""
    fresh = {"reason": None, "cause": None, "phase": None, "not_before": None, "generation": run.generation, **values}
    batched = () if "batch" in values else (Delivery.batch.is_not(None),)
    return ledger.put(session, (Delivery.run_id == run.id, *batched, *where, ~_made_good()), **fresh)
