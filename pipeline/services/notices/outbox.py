"""Which notices are to be sent now, by whom, and what became of them: one letter to one target at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, exists, or_, select, update
from sqlalchemy.orm import Session, aliased

from pipeline.adapters import owners
from pipeline.db import clock, one_at_a_time
from pipeline.models import Notice, NoticeDelivery, NoticeStatus, new_id
from pipeline.notice import Kind
from pipeline.retry import Retry

# Longer than a letter can be on its way (adapters/notices): whoever holds it beyond that is gone.
LEASE = timedelta(minutes=4)
# A target hears at most once in so long; what comes in between is gathered in one letter.
GATHER = timedelta(minutes=1)
# Notices that one letter holds at most.
MOST = 500
RETRY = Retry(attempts=1_000_000, first=30, factor=2, ceiling=900, give_up_after=3 * 86_400)


@dataclass(frozen=True)
class Taken:
    """The right to send one letter: its notices, oldest first, until the lease lapses."""

    letter_id: UUID
    target: str
    owner: str
    notices: Sequence[Notice]
    deliveries: Sequence[UUID]
    attempts: int


def waiting(session: Session) -> Sequence[bool]:
    """Whether mail (true) and webhooks (false) wait to be sent now; nothing where there is nothing to do."""
    due = (*_waiting(), NoticeDelivery.not_before <= clock(session))
    return session.scalars(select(~_of_web()).where(*due).distinct()).all()


def take(session: Session, *, mail: bool) -> Taken | None:
    """Claim the next letter that is due, by mail or by webhook; None when there is nothing to do.

    Whoever dies between sending and recording may cause one repeat, under the same letter id.
    """
    one_at_a_time(session, "notices")
    now = clock(session)
    _free(session, now)
    found = session.execute(_due(now, mail=mail).limit(1)).first()
    if found is None:
        return None
    first, notice = found
    rows = session.execute(_together(first, notice, now)).all()
    letter_id = first.letter_id or new_id()
    mine = [delivery.id for delivery, _ in rows]
    session.execute(
        update(NoticeDelivery)
        .where(NoticeDelivery.id.in_(mine))
        .values(
            letter_id=letter_id,
            lease_owner=owners.owner(),
            lease_until=now + LEASE,
            attempts=NoticeDelivery.attempts + 1,
        )
        .execution_options(synchronize_session=False)
    )
    attempts = max(delivery.attempts for delivery, _ in rows) + 1
    notices = sorted((notice for _, notice in rows), key=lambda notice: notice.id)
    return Taken(letter_id, first.target, owners.owner(), notices, mine, attempts)


def _free(session: Session, now: datetime) -> None:
    """Give back what a process that died on this host had taken; elsewhere the lease tells."""
    held = select(NoticeDelivery).where(*_waiting(), NoticeDelivery.lease_until > now)
    for row in session.scalars(held):
        if row.lease_owner and owners.is_dead(row.lease_owner):
            row.lease_until = None
    session.flush()


def _due(now: datetime, *, mail: bool) -> Any:
    """Deliveries to be sent now, to targets that nobody is writing to and that have not just heard something."""
    other = aliased(NoticeDelivery)
    busy = exists().where(
        other.target == NoticeDelivery.target,
        or_((other.status == NoticeStatus.WAITING) & (other.lease_until > now), other.sent_at > now - GATHER),
    )
    return (
        select(NoticeDelivery, Notice)
        .join(Notice, Notice.id == NoticeDelivery.notice_id)
        .where(*_waiting(), *_free_now(now), ~_of_web() if mail else _of_web(), ~busy)
        .order_by(NoticeDelivery.not_before, NoticeDelivery.id)
    )


def _together(first: NoticeDelivery, notice: Notice, now: datetime) -> Any:
    """What goes into one letter with `first`: the same as last time, or all that waits; a digest has its own."""
    chosen = (
        select(NoticeDelivery, Notice)
        .join(Notice, Notice.id == NoticeDelivery.notice_id)
        .where(*_waiting(), NoticeDelivery.target == first.target)
    )
    if first.letter_id:
        return chosen.where(NoticeDelivery.letter_id == first.letter_id)
    if notice.kind == Kind.DIGEST:
        return chosen.where(NoticeDelivery.id == first.id)
    fresh = (NoticeDelivery.letter_id.is_(None), *_free_now(now), Notice.kind != Kind.DIGEST)
    return chosen.where(*fresh).order_by(NoticeDelivery.not_before, NoticeDelivery.id).limit(MOST)


def _of_web() -> ColumnElement[bool]:
    """Of https://… and hook:ops; no address has a colon."""
    return NoticeDelivery.target.contains(":")


def _waiting() -> tuple[Any, ...]:
    return (NoticeDelivery.status == NoticeStatus.WAITING,)


def _free_now(now: datetime) -> tuple[Any, ...]:
    free = or_(NoticeDelivery.lease_until.is_(None), NoticeDelivery.lease_until <= now)
    return (NoticeDelivery.not_before <= now, free)


def sent(session: Session, taken: Taken, answer: str) -> None:
    """The other side took it: evidence, also from a sender that has lost its lease."""
    now = clock(session)
    _settle(session, taken, status=NoticeStatus.SENT, answer=answer, sent_at=now)


def not_sent(session: Session, taken: Taken, error: Exception) -> datetime | None:
    """It is tried again later, or given up: the instant of the next try, None where there is none."""
    now = clock(session)
    wait = RETRY.decide(error, taken.attempts, str(taken.letter_id), taken.notices[0].created_at, now)
    if wait is None:
        _settle(
            session, taken, NoticeDelivery.lease_owner == taken.owner, status=NoticeStatus.FAILED, answer=str(error)
        )
        return None
    again = now + timedelta(seconds=wait)
    _settle(session, taken, NoticeDelivery.lease_owner == taken.owner, not_before=again, answer=str(error))
    return again


def _settle(session: Session, taken: Taken, *where: Any, **values: Any) -> None:
    session.execute(
        update(NoticeDelivery)
        .where(NoticeDelivery.id.in_(taken.deliveries), *_waiting(), *where)
        .values(lease_owner=None, lease_until=None, **values)
        .execution_options(synchronize_session=False)
    )
