"""Documents as rows: frozen when the run is planned, then rendered or failed, each for its own reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from pipeline.db import CHUNK, insert_new
from pipeline.models import Channel, DeliveryStatus, Document, DocumentStatus, Step, StepStatus, Suppression, new_id

# What stands for the rows whose key is NULL: they make no document, but they are counted and shown.
NULL_KEY = "(no key)"
# A batch is one Celery message: many enough to keep every worker busy, never more than hundreds of messages.
RENDER_BATCHES, LARGEST_RENDER_BATCH = 50, 250
DELIVER_BATCHES, LARGEST_DELIVER_BATCH = 40, 500


@dataclass(frozen=True)
class Addressee:
    """Somebody who gets the document of `key`; `problem` says why nothing can be sent to the address."""

    address: str
    key: str
    name: str | None = None
    locale: str | None = None
    zone: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Freeze:
    """What planning decided, before any of it is a row."""

    rows_by_key: Mapping[str | None, int]
    addressees: Sequence[Addressee] = ()
    # Whether a document is wanted even when nobody is to be mailed (deliver_to, or no recipients at all).
    unaddressed_wanted: bool = False
    file_patterns: Sequence[str] = ()
    domain: str = "localhost"
    suppressed: Mapping[str, str] = field(default_factory=dict)


def batch_size(count: int, batches: int, largest: int) -> int:
    """How many of `count` one message carries: 1,000 make 50 messages, 100,000 make 400."""
    return min(max(1, -(-count // batches)), largest)


def planned_documents(freeze: Freeze, known: Mapping[str, UUID]) -> Iterator[dict[str, Any]]:
    """A row for every key: to be rendered, in batches in the order of the keys, or skipped with the reason."""
    addressed = {addressee.key for addressee in freeze.addressees}
    keys = sorted(key for key in freeze.rows_by_key if key is not None)
    wanted = [key for key in keys if freeze.unaddressed_wanted or key in addressed]
    size = batch_size(len(wanted), RENDER_BATCHES, LARGEST_RENDER_BATCH)
    batches = {key: number // size for number, key in enumerate(wanted)}
    for key in keys:
        missing = None if key in batches else f'no recipient has the key "{key}"'
        yield _document(known.get(key), key, freeze.rows_by_key[key], batches.get(key), missing)
    if freeze.rows_by_key.get(None):
        count = freeze.rows_by_key[None]
        yield _document(known.get(NULL_KEY), NULL_KEY, count, None, f"{count:,} rows have no key (NULL)")


def _document(known: UUID | None, key: str, rows: int, batch: int | None, missing: str | None) -> dict[str, Any]:
    status = DocumentStatus.SKIPPED if missing else DocumentStatus.PLANNED
    return {"id": known or new_id(), "key": key, "rows": rows, "batch": batch, "status": status, "error": missing}


def planned_deliveries(freeze: Freeze, documents: Mapping[str, UUID]) -> Iterator[dict[str, Any]]:
    """A row for every document and address, and for every recipient who gets nothing, with the reason."""
    merged = {(one.key, one.address): one for one in reversed(freeze.addressees)}
    mails = sorted(merged.values(), key=lambda one: (one.key, one.address))
    sendable = [one for one in mails if one.key in documents]
    size = batch_size(
        len(sendable) + len(documents) * len(freeze.file_patterns), DELIVER_BATCHES, LARGEST_DELIVER_BATCH
    )
    number = 0
    for one in mails:
        status, reason = _verdict(one, documents, freeze.suppressed)
        row = _delivery(Channel.EMAIL, one.address, one.key, documents.get(one.key), number // size)
        delivery_id = row["id"]
        yield {
            **row,
            "status": status,
            "reason": reason,
            "batch": row["batch"] if status == DeliveryStatus.PLANNED else None,
            "context": {"name": one.name, "locale": one.locale, "zone": one.zone},
            # Fixed here, the same on every attempt: a relay can tell a repeat (delivery.md).
            "message_id": f"<{delivery_id}@{freeze.domain}>",
        }
        number += one.key in documents
    for key, document_id in documents.items():
        for pattern in freeze.file_patterns:
            yield _delivery(Channel.FILE, pattern, key, document_id, number // size)
            number += 1


def _verdict(
    one: Addressee, documents: Mapping[str, UUID], suppressed: Mapping[str, str]
) -> tuple[DeliveryStatus, str | None]:
    if one.problem:
        return DeliveryStatus.FAILED, one.problem
    if one.key not in documents:
        return DeliveryStatus.SKIPPED, f'no rows for the key "{one.key}" in this period'
    if one.address in suppressed:
        return DeliveryStatus.SUPPRESSED, suppressed[one.address]
    return DeliveryStatus.PLANNED, None


def _delivery(channel: Channel, address: str, key: str, document_id: UUID | None, batch: int) -> dict[str, Any]:
    return {
        "id": new_id(),
        "channel": channel,
        "address": address,
        "key": key,
        "document_id": document_id,
        "status": DeliveryStatus.PLANNED,
        "reason": None,
        "batch": batch,
        "generation": 1,
        "deferrals": 0,
        "context": {},
        "message_id": None,
    }


def insert(session: Session, table: Any, run_id: UUID, rows: Iterable[Mapping[str, Any]]) -> int:
    """Freeze planned rows; those that an earlier attempt froze stay as they are."""
    return insert_new(session, table, [{"run_id": run_id, **row} for row in rows])


def ids(session: Session, run_id: UUID) -> dict[str, UUID]:
    """The run's documents by key."""
    return dict(session.execute(select(Document.key, Document.id).where(Document.run_id == run_id)).all())


def wanted_ids(session: Session, run_id: UUID) -> dict[str, UUID]:
    """The documents that are to be rendered, by key."""
    mine = (Document.run_id == run_id, Document.batch.is_not(None))
    return dict(session.execute(select(Document.key, Document.id).where(*mine)).all())


def batch_of_keys(session: Session, run_id: UUID) -> dict[str, int]:
    """The render batch of every key that has one."""
    mine = (Document.run_id == run_id, Document.batch.is_not(None))
    return {
        key: batch
        for key, batch in session.execute(select(Document.key, Document.batch).where(*mine))
        if batch is not None
    }


def suppressions(session: Session, addresses: Sequence[str]) -> dict[str, str]:
    """Why nothing is sent to these addresses: those that are suppressed, with the reason."""
    found: dict[str, str] = {}
    for at in range(0, len(addresses), CHUNK):
        chunk = addresses[at : at + CHUNK]
        rows = session.execute(select(Suppression.address, Suppression.reason).where(Suppression.address.in_(chunk)))
        found |= {address: f"suppressed: {reason}" for address, reason in rows}
    return found


def by_id(session: Session, wanted: Sequence[UUID]) -> dict[UUID, Document]:
    return {one.id: one for one in session.scalars(select(Document).where(Document.id.in_(wanted)))}


def to_render(session: Session, run_id: UUID, batch: int) -> Sequence[Document]:
    """The documents of a batch that are not rendered yet, in the order of their keys."""
    mine = (Document.run_id == run_id, Document.batch == batch, Document.status == DocumentStatus.PLANNED)
    return session.scalars(select(Document).where(*mine).order_by(Document.key)).all()


def mark(session: Session, document_id: UUID, **values: Any) -> None:
    session.execute(
        update(Document).where(Document.id == document_id).values(**values).execution_options(synchronize_session=False)
    )


def fail_unrendered(session: Session, run_id: UUID) -> None:
    """What a failed render step left unrendered is failed, for that step's reason."""
    failed = select(Step).where(Step.run_id == run_id, Step.status == StepStatus.FAILED, Step.queue == "render")
    for step in session.scalars(failed):
        left = (Document.run_id == run_id, Document.status == DocumentStatus.PLANNED, Document.batch == step.args[0])
        _end(session, left, DocumentStatus.FAILED, step.error or "its batch could not be rendered")


def close_planned(session: Session, run_id: UUID, reason: str) -> None:
    """A run that ends leaves no document planned."""
    left = (Document.run_id == run_id, Document.status == DocumentStatus.PLANNED)
    _end(session, left, DocumentStatus.SKIPPED, reason)


def _end(session: Session, where: Sequence[Any], status: DocumentStatus, error: str) -> None:
    statement = update(Document).where(*where).values(status=status, error=error)
    session.execute(statement.execution_options(synchronize_session=False))


def counts(session: Session, run_id: UUID) -> dict[str, int]:
    """How many documents stand where, by status."""
    statement = select(Document.status, func.count()).where(Document.run_id == run_id).group_by(Document.status)
    return dict(session.execute(statement).all())


def first_error(session: Session, run_id: UUID) -> str | None:
    """The first failed document by key and why, as a phrase."""
    failed = select(Document).where(Document.run_id == run_id, Document.status == DocumentStatus.FAILED)
    document = session.scalar(failed.order_by(Document.key).limit(1))
    return f"{document.key}: {document.error}" if document else None
