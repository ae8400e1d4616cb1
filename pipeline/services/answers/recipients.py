"""People by a part of their address or name: whether anything is sent to them, and what was sent last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from pipeline.models import Delivery, Recipient, Run, Subscription, SubscriptionStatus, Suppression
from pipeline.services.answers import marks


@dataclass(frozen=True)
class LastDelivery:
    """What was last to be sent to somebody, and how that stands."""

    run_id: UUID
    schedule: str
    key: str
    status: str
    reason: str | None
    sent_at: datetime | None
    opened_at: datetime


@dataclass(frozen=True)
class RecipientSummary:
    """Somebody who was to get something once; `suppressed` says why nothing is sent to them any more."""

    address: str
    name: str | None
    locale: str | None
    zone: str | None
    seen_at: datetime
    suppressed: str | None
    subscriptions: int
    last: LastDelivery | None


@dataclass(frozen=True)
class RecipientPage:
    """Some people, by their address; `next` is the mark of the page behind them."""

    recipients: list[RecipientSummary]
    next: str | None


def recipient_page(
    session: Session, text: str | None = None, *, limit: int = 50, after: str | None = None
) -> RecipientPage:
    """Those whose address or name holds `text`, from the mark `after` on. Raises Refused for a mark that is none."""
    rows = select(Recipient, Suppression.reason).outerjoin(Suppression, Suppression.address == Recipient.address)
    if text and text.strip():
        columns = (Recipient.address, Recipient.name)
        rows = rows.where(or_(*(column.icontains(text.strip(), autoescape=True) for column in columns)))
    if after is not None:
        rows = rows.where(Recipient.address > marks.place(after, str)[0])
    found = session.execute(rows.order_by(Recipient.address).limit(limit + 1)).all()
    shown = found[:limit]
    subscribed = _subscribed(session, [row.address for row, _ in shown])
    people = [_summary(session, row, why, subscribed) for row, why in shown]
    return RecipientPage(people, marks.mark(people[-1].address) if len(found) > limit else None)


def _summary(
    session: Session, row: Recipient, suppressed: str | None, subscribed: Mapping[str, int]
) -> RecipientSummary:
    return RecipientSummary(
        address=row.address,
        name=row.name,
        locale=row.locale,
        zone=row.zone,
        seen_at=row.seen_at,
        suppressed=suppressed,
        subscriptions=subscribed.get(row.address, 0),
        last=_last(session, row.address),
    )


def _subscribed(session: Session, addresses: Sequence[str]) -> dict[str, int]:
    active = (Subscription.address.in_(addresses), Subscription.status == SubscriptionStatus.ACTIVE)
    counts = select(Subscription.address, func.count()).where(*active).group_by(Subscription.address)
    return dict(session.execute(counts).all())


def _last(session: Session, address: str) -> LastDelivery | None:
    """By the delivery's id, which is the time it was planned at: one look into the index of addresses."""
    newest = select(Delivery.id).where(Delivery.address == address).order_by(Delivery.id.desc()).limit(1)
    joined = select(Delivery, Run).join(Run, Run.id == Delivery.run_id).where(Delivery.id == newest.scalar_subquery())
    row = session.execute(joined).one_or_none()
    if row is None:
        return None
    delivery, run = row
    return LastDelivery(
        run.id, run.schedule_key, delivery.key, delivery.status, delivery.reason, delivery.sent_at, run.created_at
    )
