"""Who is subscribed to what, and to whom nothing is sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from pipeline import fingerprint
from pipeline.errors import NotFound
from pipeline.mistakes import did_you_mean
from pipeline.models import Schedule, Subscription, Suppression
from pipeline.models import SubscriptionStatus as Status


@dataclass(frozen=True)
class SubscriptionDetail:
    """One subscription; `suppressed` says why nothing reaches it all the same."""

    id: UUID
    schedule: str
    address: str
    key: str
    name: str | None
    locale: str | None
    zone: str | None
    status: str
    source: str
    since: datetime
    ended_at: datetime | None
    ended_by: str | None
    suppressed: str | None


@dataclass(frozen=True)
class Subscriptions:
    """Subscriptions by schedule, address and key; `counts` by status are of all that fit, `more` were left out."""

    counts: dict[str, int]
    subscriptions: list[SubscriptionDetail]
    more: int


@dataclass(frozen=True)
class SuppressionDetail:
    """An address that nothing is sent to; None for somebody who was forgotten, of whom a keyed hash is kept."""

    address: str | None
    reason: str
    source: str
    since: datetime


def subscriptions(
    session: Session, text: str | None = None, status: str | None = None, limit: int | None = None
) -> Subscriptions:
    """The subscriptions of a schedule, or of an address or a domain (`text` has an @ in it). Raises NotFound."""
    if status is not None and status not in list(Status):
        raise NotFound(f'no subscription has the status "{status}": there are {" and ".join(Status)}')
    mine = [*_named(session, text), *([Subscription.status == status] if status else [])]
    found = select(Subscription.status, func.count()).where(*mine).group_by(Subscription.status)
    counts = dict(session.execute(found).all())
    rows = select(Subscription, Suppression.reason).outerjoin(Suppression, Suppression.address == Subscription.address)
    ordered = rows.where(*mine).order_by(Subscription.schedule_key, Subscription.address, Subscription.key)
    listed = [_detail(row, why) for row, why in session.execute(ordered.limit(limit))]
    return Subscriptions(counts, listed, sum(counts.values()) - len(listed))


def _named(session: Session, text: str | None) -> list[ColumnElement[bool]]:
    if text is None:
        return []
    if "@" in text:
        exactly = func.lower(Subscription.address) == text.lower()
        of_domain = Subscription.address.iendswith(text, autoescape=True)
        return [of_domain if text.startswith("@") else exactly]
    if session.get(Schedule, text) is None:
        known = session.scalars(select(Schedule.key).order_by(Schedule.key)).all()
        hint = did_you_mean(text, known, "name a schedule, an address or an @domain")
        raise NotFound(f'there is no schedule "{text}": {hint}')
    return [Subscription.schedule_key == text]


def _detail(row: Subscription, why: str | None) -> SubscriptionDetail:
    same = ("id", "address", "key", "name", "locale", "zone", "status", "source", "ended_at", "ended_by")
    said = {name: getattr(row, name) for name in same}
    return SubscriptionDetail(schedule=row.schedule_key, since=row.created_at, suppressed=why, **said)


def suppressions(session: Session, text: str | None = None) -> list[SuppressionDetail]:
    """To whom nothing is sent, the newest first; `text` narrows it to addresses and reasons that hold it."""
    rows = select(Suppression).order_by(Suppression.created_at.desc(), Suppression.address)
    if text:
        fits = [column.icontains(text, autoescape=True) for column in (Suppression.address, Suppression.reason)]
        rows = rows.where(or_(*fits))
    return [
        SuppressionDetail(
            None if row.address.startswith(fingerprint.PREFIX) else row.address, row.reason, row.source, row.created_at
        )
        for row in session.scalars(rows)
    ]
