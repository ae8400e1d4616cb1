"""A run's deliveries one by one: to whom, how each stands, what the server said last, and all that happened to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, case, exists, func, or_, select
from sqlalchemy.orm import Session

from pipeline.bulk import CHUNK
from pipeline.errors import Refused
from pipeline.mistakes import did_you_mean
from pipeline.models import Delivery, DeliveryAttempt, DeliveryDocument, DeliveryStatus, Document, Run
from pipeline.services.answers.detail import WORST_FIRST


@dataclass(frozen=True)
class DeliveryEvent:
    """One thing that happened to a delivery; `attempt_id` is the try of the step that did it."""

    at: datetime
    event: str
    attempt_id: UUID
    relay: str | None
    code: int | None
    text: str | None


@dataclass(frozen=True)
class DeliveryDetail:
    """One delivery; `cause` is the class of the last answer, `repeat` 0 what was planned, more what was asked for."""

    id: UUID
    key: str
    address: str
    channel: str
    status: str
    relay: str | None
    reply: str | None
    reason: str | None
    cause: str | None
    deferrals: int
    not_before: datetime | None
    sent_at: datetime | None
    message_id: str | None
    repeat: int
    repeat_of: UUID | None
    history: list[DeliveryEvent] | None


@dataclass(frozen=True)
class Deliveries:
    """The deliveries asked for, what somebody has to look at first; `more` were left out."""

    run_id: UUID
    schedule: str
    zone: str
    counts: dict[str, int]
    deliveries: list[DeliveryDetail]
    more: int


def deliveries(
    session: Session,
    run: Run,
    statuses: Sequence[str] = (),
    keys: Sequence[str] = (),
    *,
    only: Collection[UUID] | None = None,
    limit: int | None = None,
    history: bool = False,
) -> Deliveries:
    """The run's deliveries, or `only` some. Raises Refused for a status that there is none of."""
    counted, rows = each_delivery(session, run, statuses, keys, only=only, limit=limit, history=history)
    found = list(rows)
    return replace(counted, deliveries=found, more=sum(counted.counts.values()) - len(found))


def each_delivery(
    session: Session,
    run: Run,
    statuses: Sequence[str] = (),
    keys: Sequence[str] = (),
    *,
    only: Collection[UUID] | None = None,
    limit: int | None = None,
    history: bool = False,
) -> tuple[Deliveries, Iterator[DeliveryDetail]]:
    """The same with the deliveries apart, read as they are asked for: there may be a million."""
    wanted = [Delivery.run_id == run.id]
    if only is not None:
        wanted.append(Delivery.id.in_(only))
    if statuses:
        wanted.append(Delivery.status.in_([checked_status(one) for one in statuses]))
    if keys:
        wanted.append(carrying(keys))
    counts = select(Delivery.status, func.count()).where(*wanted).group_by(Delivery.status)
    counted: dict[str, int] = dict(session.execute(counts).all())
    worst = case({status: number for number, status in enumerate(WORST_FIRST)}, value=Delivery.status, else_=99)
    order = (worst, Delivery.key, Delivery.address, Delivery.repeat)
    rows = select(Delivery).where(*wanted).order_by(*order).limit(limit)
    return Deliveries(run.id, run.schedule_key, run.zone, counted, [], 0), _details(session, rows, history=history)


def _details(session: Session, rows: Select[Delivery], *, history: bool) -> Iterator[DeliveryDetail]:
    for some in session.scalars(rows.execution_options(yield_per=CHUNK)).partitions():
        known = histories(session, [row.id for row in some]) if history else {}
        yield from (detail(row, known.get(row.id, []) if history else None) for row in some)


def carrying(keys: Sequence[str]) -> ColumnElement[bool]:
    """Whether a delivery is of one of the keys, or of several documents with one of them among these."""
    carried = exists().where(
        DeliveryDocument.delivery_id == Delivery.id, Document.id == DeliveryDocument.document_id, Document.key.in_(keys)
    )
    return or_(Delivery.key.in_(keys), carried)


def checked_status(text: str) -> str:
    """The text, if deliveries have such a status. Raises Refused."""
    if text not in set(DeliveryStatus):
        hint = did_you_mean(text, list(DeliveryStatus), f"it is one of {', '.join(DeliveryStatus)}")
        raise Refused(f'no delivery has the status "{text}": {hint}', field="status")
    return text


def histories(session: Session, ids: Sequence[UUID]) -> dict[UUID, list[DeliveryEvent]]:
    """All that happened to each of the deliveries, in order."""
    found: dict[UUID, list[DeliveryEvent]] = defaultdict(list)
    for at in range(0, len(ids), CHUNK):
        mine = select(DeliveryAttempt).where(DeliveryAttempt.delivery_id.in_(ids[at : at + CHUNK]))
        for row in session.scalars(mine.order_by(DeliveryAttempt.id)):
            event = DeliveryEvent(row.at, row.event, row.attempt_id, row.relay, row.code, row.text)
            found[row.delivery_id].append(event)
    return found


def detail(row: Delivery, history: list[DeliveryEvent] | None) -> DeliveryDetail:
    """The row as answers have it."""
    return DeliveryDetail(
        id=row.id,
        key=row.key,
        address=row.address,
        channel=row.channel,
        status=row.status,
        relay=row.relay,
        reply=row.reply,
        reason=row.reason,
        cause=row.cause,
        deferrals=row.deferrals,
        not_before=row.not_before,
        sent_at=row.sent_at,
        message_id=row.message_id,
        repeat=row.repeat,
        repeat_of=row.repeat_of,
        history=history,
    )
