"""Who is subscribed to what, and to whom nothing is sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, literal, or_, select, tuple_
from sqlalchemy.orm import Session

from pipeline import fingerprint
from pipeline.errors import NotFound
from pipeline.mistakes import did_you_mean
from pipeline.models import Schedule, Subscription, Suppression
from pipeline.models import SubscriptionStatus as Status
from pipeline.services.answers import marks


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


@dataclass(frozen=True)
class SuppressionPage:
    """Some of those that nothing is sent to, the newest first; `next` is the mark of the page behind them, or None."""

    suppressions: list[SuppressionDetail]
    next: str | None


def suppressions(session: Session, text: str | None = None, limit: int | None = None) -> list[SuppressionDetail]:
    """To whom nothing is sent, the newest first; `text` narrows it to addresses and reasons that hold it."""
    return [_suppression(row) for row in session.scalars(_suppressed(text).limit(limit))]


def suppression_page(session: Session, text: str | None, *, limit: int, after: str | None) -> SuppressionPage:
    """The same page by page, from the mark `after` on. Raises Refused for a mark that is none."""
    rows = _suppressed(text)
    if after is not None:
        at, address = marks.place(after, datetime, str)
        here = tuple_(literal(at, Suppression.created_at.type), literal(address, Suppression.address.type))
        rows = rows.where(tuple_(Suppression.created_at, Suppression.address) < here)
    found = session.scalars(rows.limit(limit + 1)).all()
    more = marks.mark(found[limit - 1].created_at, found[limit - 1].address) if len(found) > limit else None
    return SuppressionPage([_suppression(row) for row in found[:limit]], more)


def _suppressed(text: str | None) -> Select[Suppression]:
    rows = select(Suppression).order_by(Suppression.created_at.desc(), Suppression.address.desc())
    if not text:
        return rows
    fits = [column.icontains(text, autoescape=True) for column in (Suppression.address, Suppression.reason)]
    return rows.where(or_(*fits))


def _suppression(row: Suppression) -> SuppressionDetail:
    address = None if row.address.startswith(fingerprint.PREFIX) else row.address
    return SuppressionDetail(address, row.reason, row.source, row.created_at)
