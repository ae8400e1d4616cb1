"""Subscribing people to a schedule's report and ending it, each on record; what somebody has ended stays ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from pipeline import schedule as definitions
from pipeline.bulk import CHUNK, insert_new
from pipeline.db import clock
from pipeline.errors import NotFound, Refused
from pipeline.mistakes import did_you_mean
from pipeline.models import OptOut, Subscription, SubscriptionStatus, new_id
from pipeline.report import Report
from pipeline.schedule import Person
from pipeline.services import audit, documents, optouts, schedules, subscriptions
from pipeline.services.audit import Actor


@dataclass(frozen=True)
class Plan:
    """What a schedule's recipients are like: the column it is split by, and whether it sends to subscribers at all."""

    schedule: str
    split_by: str | None
    sends: bool


@dataclass
class Done:
    """What became of people: how many were new, changed, back again or just as before, and who ended it before.

    `kept_out`: address and key of those that wanted no more of it, with the reason; they stay as they are.
    `suppressed`: addresses that nothing is sent to, subscribed or not.
    """

    schedule: str
    sends: bool = True
    new: int = 0
    changed: int = 0
    again: int = 0
    unchanged: int = 0
    unsubscribed: int = 0
    kept_out: list[dict[str, str]] = field(default_factory=list)
    suppressed: dict[str, str] = field(default_factory=dict)


def plan_of(session: Session, schedule: str) -> Plan:
    """Raises NotFound for a schedule that there is not, Refused for one that is of no report."""
    _, stored = schedules.current(session, schedule)
    definition = definitions.parse(stored, f"schedule {schedule}")
    if not isinstance(definition.report, Report):
        raise Refused(f'nobody can subscribe to "{schedule}": it is of a {definition.kind}, not of a report')
    return Plan(schedule, definition.report.split_by, definition.recipients.subscriptions)


def subscribe(
    session: Session, actor: Actor, plan: Plan, people: Sequence[Person], source: str, *, again: bool = False
) -> Done:
    """Subscribe checked people; who is subscribed already gets the name, locale and zone given.

    Who has unsubscribed stays so, unless `again` says that they ask for it now. Each act is one line of the record.
    """
    done = Done(plan.schedule, plan.sends)
    for at in range(0, len(people), CHUNK):
        _subscribe(session, people[at : at + CHUNK], source, done, again=again)
    _record(session, actor, done, people, new=done.new, changed=done.changed, again=done.again)
    return done


def keep_out(session: Session, actor: Actor, done: Done, people: Sequence[Person], source: str) -> None:
    """Keep rows of people whom another system lists as unsubscribed; those that are subscribed here are no longer."""
    now = clock(session)
    over = {"status": SubscriptionStatus.UNSUBSCRIBED, "ended_at": now, "ended_by": source}
    done.unsubscribed = insert_new(session, Subscription, [{**_row(done, one, source, now), **over} for one in people])
    for one in people:
        done.unsubscribed += subscriptions.end(session, done.schedule, one.email, source, one.key)
    _record(session, actor, done, people, unsubscribed=done.unsubscribed)


def _record(session: Session, actor: Actor, done: Done, people: Sequence[Person], **counts: Any) -> None:
    counts = {name: count for name, count in counts.items() if count}
    if not counts:
        return
    rows = _known(session, done.schedule, people) if len(people) <= CHUNK else {}
    ids = [str(rows[one].id) for one in dict.fromkeys(map(_at, people)) if one in rows]
    audit.record(
        session, actor, "subscribe", "schedule", done.schedule, schedule=done.schedule, subscriptions=ids, **counts
    )


def _at(one: Person) -> tuple[str, str]:
    return one.email, str(one.key)


def _known(session: Session, schedule: str, people: Sequence[Person]) -> dict[tuple[str, str], Subscription]:
    addresses = {one.email for one in people}
    mine = select(Subscription).where(Subscription.schedule_key == schedule, Subscription.address.in_(addresses))
    return {(row.address, row.key): row for row in session.scalars(mine)}


def _subscribe(session: Session, people: Sequence[Person], source: str, done: Done, *, again: bool) -> None:
    now, schedule, addresses = clock(session), done.schedule, list({one.email for one in people})
    out = optouts.opted_out(session, addresses, schedule)
    over = subscriptions.ended(session, addresses, schedule)
    wanted = []
    for one in people:
        why = over.get(_at(one)) or out.get(one.email)
        if why and not again:
            done.kept_out.append({"address": one.email, "key": str(one.key), "reason": why})
        else:
            wanted.append(one)
    known = _known(session, schedule, wanted)
    done.new += insert_new(session, Subscription, [_row(done, one, source, now) for one in wanted])
    for one in wanted:
        if row := known.get(_at(one)):
            _renew(row, one, source, done)
    session.flush()
    back = {one.email for one in wanted} & out.keys()
    session.execute(delete(OptOut).where(OptOut.schedule_key == schedule, OptOut.address.in_(back)))
    done.suppressed |= documents.suppressions(session, list({one.email for one in wanted}))


def _renew(row: Subscription, one: Person, source: str, done: Done) -> None:
    said = {name: value for name in ("name", "locale", "zone") if (value := getattr(one, name))}
    differs = {name: value for name, value in said.items() if getattr(row, name) != value}
    for name, value in differs.items():
        setattr(row, name, value)
    if row.status == SubscriptionStatus.UNSUBSCRIBED:
        row.status, row.source, row.ended_at, row.ended_by = SubscriptionStatus.ACTIVE, source, None, None
        done.again += 1
    elif differs:
        done.changed += 1
    else:
        done.unchanged += 1


def _row(done: Done, one: Person, source: str, now: datetime) -> dict[str, Any]:
    return {
        "id": new_id(),
        "schedule_key": done.schedule,
        "address": one.email,
        "key": one.key,
        "name": one.name,
        "locale": one.locale,
        "zone": one.zone,
        "status": SubscriptionStatus.ACTIVE,
        "source": source,
        "created_at": now,
        "ended_at": None,
        "ended_by": None,
    }


def unsubscribe(
    session: Session, actor: Actor, schedule: str, address: str, *, key: str | None = None, reason: str | None = None
) -> int:
    """End the address's subscriptions: all, and whatever else it gets of the schedule, or the one for `key`.

    Returns how many were active; asked again, nothing changes. Raises NotFound for a key it is not subscribed to.
    """
    because = f"{actor}: {reason}" if reason else str(actor)
    mine = (Subscription.schedule_key == schedule, Subscription.address == address)
    keys = dict(session.execute(select(Subscription.key, Subscription.id).where(*mine)).all())
    if key is None:
        count = subscriptions.end(session, schedule, address, because)
        changed = optouts.opt_out(session, address, schedule, because) or count > 0
    elif key in keys:
        count = subscriptions.end(session, schedule, address, because, key)
        changed = count > 0
    else:
        hint = did_you_mean(key, keys, f"it has {', '.join(sorted(keys)) or 'no subscription'}")
        raise NotFound(f'{address} is not subscribed to {schedule} for the key "{key}": {hint}')
    if changed:
        audit.record(
            session, actor, "unsubscribe", "schedule", schedule, schedule=schedule, reason=reason,
            subscriptions=[str(one) for known, one in keys.items() if key in {None, known}],
        )  # fmt: skip
    return count
