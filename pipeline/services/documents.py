"""Documents as rows: frozen when the run is planned, then rendered or failed, each for its own reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from pipeline import fingerprint
from pipeline.adapters import copies, drafts
from pipeline.adapters.secret_keys import secret_keys
from pipeline.bulk import PORTION, among, in_the_row, insert_new, is_one_of
from pipeline.models import (
    Delivery,
    DeliveryDocument,
    Document,
    DocumentStatus,
    Run,
    Step,
    StepStatus,
    Suppression,
)
from pipeline.services import freezing, thawing
from pipeline.settings import settings
from pipeline.timing import Period


def insert(session: Session, table: Any, run_id: UUID, rows: Iterable[Mapping[str, Any]]) -> int:
    """Freeze planned rows; those that an earlier attempt froze stay as they are.

    Those that a rerun has opened again are written anew, and keep their ids.
    """
    planned = [{"run_id": run_id, **row} for row in rows]
    run = session.get_one(Run, run_id)
    if run.generation > 1:
        thawing.take_up(session, table, run, planned)
    return insert_new(session, table, planned)


def insert_carried(session: Session, run_id: UUID, carried: Sequence[tuple[str, UUID]]) -> None:
    """Freeze which documents the combined messages to these addresses carry; a resume makes no new messages."""
    of_run = (Delivery.run_id == run_id, Delivery.key == freezing.COMBINED, Delivery.repeat == 0)
    addresses = list({address for address, _ in carried})
    # What went out before a rerun carries what it carried.
    mine = (*of_run, is_one_of(session, Delivery.address, addresses), Delivery.status.not_in(thawing.WENT_OUT))
    ids = dict(session.execute(select(Delivery.address, Delivery.id).where(*mine)).all())
    rows = [{"delivery_id": ids[address], "document_id": id_} for address, id_ in carried if address in ids]
    insert_new(session, DeliveryDocument, rows)


def wanted(session: Session, run_id: UUID) -> Iterator[drafts.Made]:
    """The documents that are to be rendered."""
    mine = (Document.run_id == run_id, Document.batch.is_not(None))
    rows = select(Document.key, Document.id, Document.batch).where(*mine)
    return (drafts.Made._make(row) for row in session.execute(rows.execution_options(yield_per=PORTION)))


def wanted_count(session: Session, run_id: UUID) -> int:
    """How many documents the run makes."""
    mine = (Document.run_id == run_id, Document.batch.is_not(None))
    return session.scalar(select(func.count()).select_from(Document).where(*mine)) or 0


def suppressions(session: Session, addresses: Sequence[str]) -> dict[str, str]:
    """Why nothing is sent to these addresses: those that are suppressed, with the reason."""
    rows = among(session, select(Suppression.address, Suppression.reason), addresses)
    return {address: f"suppressed: {reason}" for address, reason in rows} | _forgotten(session, addresses)


def _forgotten(session: Session, addresses: Sequence[str]) -> dict[str, str]:
    """Those who were forgotten: only fingerprints are left of them."""
    rows = select(Suppression.address, Suppression.reason).where(Suppression.address.startswith(fingerprint.PREFIX))
    marks = dict(session.execute(rows).all())
    keys = secret_keys(settings()) if marks else []
    mine = ((one, mark) for one in addresses if marks for mark in fingerprint.every(keys, one) if mark in marks)
    return {address: f"suppressed: {marks[mark]}" for address, mark in mine}


def combined_keys(session: Session, deliveries: Sequence[Delivery]) -> dict[UUID, str]:
    """The keys that combined deliveries carry, as people read them: `ACME, Globex`."""
    several = [one.id for one in deliveries if one.key == freezing.COMBINED]
    rows = select(DeliveryDocument.delivery_id, Document.key).join(
        Document, Document.id == DeliveryDocument.document_id
    )
    found: dict[UUID, list[str]] = {}
    for delivery_id, key in session.execute(
        rows.where(DeliveryDocument.delivery_id.in_(several)).order_by(Document.key)
    ):
        found.setdefault(delivery_id, []).append(key)
    return {delivery_id: ", ".join(keys) for delivery_id, keys in found.items()}


def file_name(run: Run, key: str, kind: str) -> str:
    """`customer_shipments-ACME-2026-W46.pdf`; the key is left out where there is one document for all."""
    split = isinstance(report := run.definition.get("report"), dict) and report.get("split_by")
    stem = [run.schedule_key, *([key] if split else []), Period.from_json(run.period).label]
    return f"{copies.safe_name('-'.join(stem))}.{kind}"


def artifact_name(run: Run, name: str, uri: str, key: str | None) -> str:
    """What a stored file of a run is saved as: a document as `file_name` says, another by the run and its own name."""
    suffix = uri.rpartition("/")[2].partition(".")[2]
    if key is not None:
        return file_name(run, key, suffix)
    stem = f"{run.schedule_key}-{name}-{Period.from_json(run.period).label}"
    return f"{copies.safe_name(stem)}.{suffix}"


def carried(session: Session, deliveries: Sequence[Delivery]) -> dict[UUID, list[UUID]]:
    """The documents that each delivery carries: its own, or the several of a combined one."""
    found = {one.id: [one.document_id] for one in deliveries if one.document_id}
    several = [one.id for one in deliveries if one.key == freezing.COMBINED]
    rows = select(DeliveryDocument.delivery_id, DeliveryDocument.document_id)
    for delivery_id, document_id in among(session, rows, several):
        found.setdefault(delivery_id, []).append(document_id)
    return found


def by_id(session: Session, wanted: Sequence[UUID]) -> dict[UUID, Document]:
    return {row[0]: row[1] for row in among(session, select(Document.id, Document), wanted)}


def to_render(session: Session, run_id: UUID, batch: int) -> Sequence[Document]:
    """The documents of a batch that are not rendered yet, in the order of their keys."""
    planned = in_the_row(Document.status) == DocumentStatus.PLANNED
    mine = (Document.run_id == run_id, Document.batch == batch, planned)
    return session.scalars(select(Document).where(*mine).order_by(in_the_row(Document.key))).all()


def mark(session: Session, document_id: UUID, **values: Any) -> None:
    session.execute(
        update(Document).where(Document.id == document_id).values(**values).execution_options(synchronize_session=False)
    )


def fail_unrendered(session: Session, run_id: UUID) -> None:
    """What a failed render step left unrendered is failed, for that step's reason."""
    failed = select(Step).where(Step.run_id == run_id, Step.status == StepStatus.FAILED, Step.queue == "render")
    for step in session.scalars(failed):
        planned = in_the_row(Document.status) == DocumentStatus.PLANNED
        left = (Document.run_id == run_id, planned, Document.batch == step.args[0])
        _end(session, left, DocumentStatus.FAILED, step.error or "its batch could not be rendered")


def close_planned(session: Session, run_id: UUID, reason: str) -> None:
    """A run that ends leaves no document planned."""
    left = (Document.run_id == run_id, Document.status == DocumentStatus.PLANNED)
    _end(session, left, DocumentStatus.SKIPPED, reason)


def close_part(session: Session, run_id: UUID, reason: str) -> bool:
    """Some of what `close_planned` ends; whether there may be more: come again."""
    some = select(Document.id).where(Document.run_id == run_id, Document.status == DocumentStatus.PLANNED)
    return _end(session, (Document.id.in_(some.limit(PORTION)),), DocumentStatus.SKIPPED, reason) == PORTION


def _end(session: Session, where: Sequence[Any], status: DocumentStatus, error: str) -> int:
    statement = update(Document).where(*where).values(status=status, error=error)
    done = session.execute(statement.execution_options(synchronize_session=False))
    return int(done.rowcount)  # type: ignore[attr-defined]  # a cursor result: it has one


def samples(session: Session, run_id: UUID) -> list[Document]:
    """Three documents to judge the others by: those with the most and the fewest rows, and one in the middle."""
    mine = (Document.run_id == run_id, Document.status == DocumentStatus.RENDERED)
    count = session.scalar(select(func.count()).select_from(Document).where(*mine)) or 0
    ordered = select(Document).where(*mine).order_by(Document.rows.desc(), Document.key)
    places = sorted({0, count // 2, count - 1}) if count else []
    return [session.scalars(ordered.offset(place).limit(1)).one() for place in places]


def a_delivery_of(session: Session, document: Document) -> UUID | None:
    """A delivery of the document, by which a link to it is signed."""
    of_run = select(Delivery.id).where(Delivery.run_id == document.run_id)
    carrying = select(DeliveryDocument.delivery_id).where(DeliveryDocument.document_id == document.id)
    mine = of_run.where(or_(Delivery.document_id == document.id, Delivery.id.in_(carrying)))
    return session.scalar(mine.order_by(Delivery.id).limit(1))


def first_unwanted(session: Session, run_id: UUID) -> str | None:
    """Why the first of the documents that `send_if` did not want was not, as a phrase."""
    mine = (Document.run_id == run_id, Document.status == DocumentStatus.SKIPPED, Document.batch.is_not(None))
    return session.scalar(select(Document.error).where(*mine).order_by(Document.key).limit(1))


def counts(session: Session, run_id: UUID) -> dict[str, int]:
    """How many documents stand where, by status."""
    statement = select(Document.status, func.count()).where(Document.run_id == run_id).group_by(Document.status)
    return dict(session.execute(statement).all())


def first_error(session: Session, run_id: UUID) -> str | None:
    """The first failed document by key and why, as a phrase."""
    failed = select(Document).where(Document.run_id == run_id, Document.status == DocumentStatus.FAILED)
    document = session.scalar(failed.order_by(Document.key).limit(1))
    return f"{document.key}: {document.error}" if document else None
