"""How the mail relays are doing, for all workers: the emergency brake, blocks, and a circuit breaker for each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from pipeline.bulk import insert_new
from pipeline.models import Relay
from pipeline.rates import Rate
from pipeline.settings import settings

# The row of the brake over all relays.
ALL = "*"
# Seconds for which the breaker stays open at most; at first PIPELINE_RELAY_RETRY, and so long has one process to try.
CEILING = 900.0
# A relay that has answered somebody so lately is not down because one connection failed; so many in a row are enough.
LATELY, IN_A_ROW = timedelta(seconds=10), 3
# Told to slow down, a relay gets half as much; no more than once in this time, and half more again after that.
SLOWING, RECOVERING = timedelta(seconds=10), timedelta(seconds=60)
SLOWEST = 1 / 60


@dataclass(frozen=True)
class Choice:
    """The relay to use now, or None and `why`; `wait` is seconds, None where somebody has to act first."""

    name: str | None
    why: str = ""
    wait: float | None = None
    # One process tries whether a relay that was down is back: with one message.
    probe: bool = False
    # Since when all that can be used have been down.
    down_since: datetime | None = None
    # A person has stopped it, and knows.
    stopped: bool = False
    # Seconds after which one may be tried that comes before it, and is down.
    better_in: float = math.inf


def choose(session: Session, known: Mapping[str, str], now: datetime, run_id: UUID) -> Choice:
    """The first of the relays in `known` (names in order of preference, with fingerprints) that the run can use now."""
    wanted = select(Relay).where(Relay.name.in_([*known, ALL, of_run(run_id)]))
    rows = {row.name: row for row in session.scalars(wanted.execution_options(populate_existing=True))}
    for name in (ALL, of_run(run_id)):
        if name in rows and (found := _halt(rows[name])):
            return found
    refusals, better_in = [], math.inf
    for name, fingerprint in known.items():
        found = _usable(session, rows.get(name), name, fingerprint, now)
        if found.name is not None:
            return replace(found, better_in=better_in)
        refusals.append(found)
        better_in = min(better_in, math.inf if found.wait is None else found.wait)
    waits = [one for one in refusals if one.wait is not None]
    if waits:
        return min(waits, key=lambda one: one.wait or 0)
    return Choice(None, "; ".join(one.why for one in refusals), stopped=all(one.stopped for one in refusals))


def _usable(session: Session, row: Relay | None, name: str, fingerprint: str, now: datetime) -> Choice:
    if row is None:
        return Choice(name)
    if row.blocked_at and row.fingerprint != fingerprint:
        _unblock(row)
    if halt := _halt(row):
        return halt
    if row.open_until is None:
        return Choice(name)
    if row.open_until > now or not _takes_probe(session, row, now):
        wait = max(1.0, (row.open_until - now).total_seconds())
        why = f"{called(name)} is down: {said(name, row.last_error)}"
        return Choice(None, why, wait, down_since=row.down_since)
    return Choice(name, probe=True)


def called(name: str) -> str:
    """What people call it: `relay smtp.example:25`, and `webhook https://api.example`."""
    return f"webhook {name}" if "://" in name else f"relay {name}"


def said(name: str, error: str | None) -> str:
    """What was wrong with it, without its name, which is said already."""
    return (error or "").removeprefix(f"{called(name)} ").removeprefix(f"{called(name)}: ")


def _takes_probe(session: Session, row: Relay, now: datetime) -> bool:
    """Whether this process is the one that tries; the others wait until it has."""
    session.flush()
    mine = update(Relay).where(Relay.name == row.name, Relay.open_until == row.open_until)
    mine = mine.values(open_until=now + timedelta(seconds=settings().relay_retry))
    taken = session.execute(mine.execution_options(synchronize_session="fetch"))
    return bool(taken.rowcount)  # type: ignore[attr-defined]  # a cursor result: it has one


def _halt(row: Relay) -> Choice | None:
    if row.stopped_at:
        what = "mail" if row.name == ALL else called(row.name)
        because = f": {row.stop_reason}" if row.stop_reason else ""
        return Choice(None, f"{what} was stopped by {row.stopped_by}{because}", stopped=True)
    if row.blocked_at:
        words = said(row.name, row.block_reason)  # of a run alone, it says all of it
        return Choice(None, words if row.name.startswith("run ") else f"{called(row.name)} is blocked: {words}")
    return None


def halted(session: Session, name: str, run_id: UUID) -> bool:
    """Whether nothing more of the run may go to this relay: looked at between two messages."""
    halt = (Relay.stopped_at.is_not(None) | Relay.blocked_at.is_not(None), Relay.name.in_((name, ALL, of_run(run_id))))
    return session.scalar(select(Relay.name).where(*halt).limit(1)) is not None


def of_run(run_id: UUID) -> str:
    """The row by which one run alone is blocked, whatever the relay."""
    return f"run {run_id}"


def find(session: Session, name: str) -> Relay:
    """The relay's row, locked until the transaction ends; made on first use."""
    insert_new(session, Relay, [{"name": name, "failures": 0}])
    return session.scalars(
        select(Relay).where(Relay.name == name).with_for_update().execution_options(populate_existing=True)
    ).one()


def answered(session: Session, name: str, now: datetime) -> bool:
    """It has answered: the breaker closes. Returns whether it was open, so that whoever waits can be woken."""
    row = find(session, name)
    was_down = row.open_until is not None
    row.last_answer_at, row.failures, row.open_until, row.down_since, row.last_error = now, 0, None, None, None
    return was_down


def failed(
    session: Session,
    name: str,
    error: str,
    now: datetime,
    *,
    wait: float | None = None,
    at_once: bool = True,
    probe: bool = False,
) -> None:
    """It could not be reached, or sent us away: nobody tries it for a while, longer each time, at least `wait` seconds.

    One that has just answered somebody, or fails not `at_once`, is given a few failures in a row. Once it is down only
    the one that tries whether it is back (`probe`) makes it longer: the others had begun before, and lost it together.
    """
    row = find(session, name)
    row.last_error, row.down_since = error, row.down_since or now
    if row.open_until is not None and row.open_until > now and not probe:
        row.open_until = max(row.open_until, now + timedelta(seconds=wait or 0))
        return
    row.failures += 1
    if row.open_until is None:
        lately = row.last_answer_at is not None and row.last_answer_at > now - LATELY
        if (lately or not at_once) and row.failures < IN_A_ROW:
            return
        row.failures = 1
    seconds = min(settings().relay_retry * 2.0 ** min(row.failures - 1, 10), CEILING)
    row.open_until = now + timedelta(seconds=max(seconds, wait or 0))


def block(session: Session, name: str, reason: str, now: datetime, *, fingerprint: str = "", count: int = 0) -> None:
    """It refuses us, and would whoever the recipient is: nothing goes to it before somebody has mended that.

    So is a run blocked (`of_run`) of which alone this is true; `count` is how many of its messages were refused.
    """
    row = find(session, name)
    row.failures = count or row.failures
    row.blocked_at, row.block_reason, row.fingerprint = now, reason, fingerprint


def _unblock(row: Relay) -> None:
    row.blocked_at = row.block_reason = row.fingerprint = None


def throttled(session: Session, name: str, speed: float, now: datetime) -> None:
    """It says that it gets too much: from now on half of `speed` (messages a second, over all workers), or less."""
    row = find(session, name)
    if row.paced_at is not None and now - row.paced_at < SLOWING:
        return  # several workers were told in the same moment
    left = pace_left(row, now)
    if left is None:
        row.full_pace = max(speed, SLOWEST)
    row.pace, row.paced_at = max((left or speed) / 2, SLOWEST), now


def pace_left(row: Relay, now: datetime) -> float | None:
    """Messages a second that throttling leaves it: half more for every minute since; None once it is as it was."""
    if row.pace is None or row.paced_at is None:
        return None
    minutes = max(0, min((now - row.paced_at) // RECOVERING, 100))
    found = float(row.pace * 1.5**minutes)
    return found if not minutes or found < (row.full_pace or 0) else None


def pace(session: Session, name: str, now: datetime) -> Rate | None:
    """The same as a rate."""
    row = session.get(Relay, name)
    left = pace_left(row, now) if row else None
    if left is None:
        return None
    return Rate(name, round(left), 1) if left >= 1 else Rate(name, 1, 1 / left)
