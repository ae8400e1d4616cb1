"""Subscriptions as rows: who gets a schedule's report by a wish that outlives its file, and who has ended it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from pipeline.bulk import CHUNK, among
from pipeline.db import clock
from pipeline.models import Subscription, SubscriptionStatus

# What a run is planned by: the columns of the dataset that subscriptions are frozen in.
FROZEN = ("email", "key", "name", "locale", "zone")


def frozen(session: Session, schedule: str) -> Iterator[list[Sequence[Any]]]:
    """The active subscriptions of a schedule in chunks of rows with the columns FROZEN, by address and key."""
    mine = (Subscription.schedule_key == schedule, Subscription.status == SubscriptionStatus.ACTIVE)
    columns = (Subscription.address, Subscription.key, Subscription.name, Subscription.locale, Subscription.zone)
    rows = select(*columns).where(*mine).order_by(Subscription.address, Subscription.key)
    found = session.execute(rows.execution_options(yield_per=10 * CHUNK))
    for chunk in found.partitions():
        yield [tuple(row) for row in chunk]


def end(session: Session, schedule: str, address: str, by: str, key: str | None = None) -> int:
    """End the address's subscriptions to the schedule, or the one for `key`; the rows stay, with when and by what.

    Returns how many were active.
    """
    mine = [Subscription.schedule_key == schedule, Subscription.address == address]
    mine += [Subscription.status == SubscriptionStatus.ACTIVE, *([Subscription.key == key] if key else [])]
    values = {"status": SubscriptionStatus.UNSUBSCRIBED, "ended_at": clock(session), "ended_by": by}
    ended = session.execute(update(Subscription).where(*mine).values(**values))
    return int(ended.rowcount)  # type: ignore[attr-defined]  # a cursor result: it has one


def ended(session: Session, addresses: Sequence[str], schedule: str) -> dict[tuple[str, str], str]:
    """Why nothing of one key is sent to an address: by address and key, those subscriptions that were ended."""
    columns = select(Subscription.address, Subscription.key, Subscription.ended_at, Subscription.ended_by)
    over = (Subscription.schedule_key == schedule, Subscription.status == SubscriptionStatus.UNSUBSCRIBED)
    rows = among(session, columns.where(*over), addresses)
    return {(address, key): f"unsubscribed on {when:%Y-%m-%d} by {by}" for address, key, when, by in rows}
