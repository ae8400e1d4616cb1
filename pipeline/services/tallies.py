"""Counters and histograms that many processes share: beats add up, a minute at a time, what has happened in the rows.

A row counts once, whichever beat counts it, and stays counted when it is purged: that is what Prometheus expects of a
counter, and no single process could keep it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Numeric, case, cast, func, select
from sqlalchemy.orm import Session

from pipeline.bulk import insert_new
from pipeline.models import Delivery, Run, Tally, Trigger

# Seconds, as upper bounds; slower than the last is counted as more.
BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
# What is counted lies so far back that every transaction which wrote it has ended; and it is counted in such steps.
LAG, STEP, LONGEST = timedelta(seconds=15), timedelta(seconds=15), timedelta(hours=1)
DUE_TO_FIRED, FIRED_TO_STARTED, RUNS, DELIVERIES = "due_to_fired", "fired_to_started", "runs", "deliveries"

Counts = dict[str, float]


def advance(session: Session, now: datetime) -> None:
    """Count what has happened since the last time, in this transaction; another beat that counts is not waited for."""
    rows = {row.name: row for row in session.scalars(select(Tally).with_for_update(skip_locked=True))}
    missing = [name for name in _COUNTED if name not in rows]
    if missing:
        insert_new(session, Tally, [{"name": name, "until": now - LAG, "values": {}} for name in missing])
    for name, count in _COUNTED.items():
        row = rows.get(name)
        if row is None or now - LAG - row.until < STEP:
            continue
        until = min(now - LAG, row.until + LONGEST)
        more = count(session, row.until, until)
        row.values = {label: row.values.get(label, 0) + more.get(label, 0) for label in {*row.values, *more}}
        row.until = until


def read(session: Session) -> dict[str, Counts]:
    """All that has been counted, by the tally's name; histograms have a count for each bound, `count` and `sum`."""
    return {row.name: row.values for row in session.scalars(select(Tally))}


def _due_to_fired(session: Session, since: datetime, until: datetime) -> Counts:
    fired = (Run.trigger == Trigger.SCHEDULE, Run.created_at > since, Run.created_at <= until)
    return _histogram(session, _seconds(session, Run.due_at, Run.created_at), *fired)


def _fired_to_started(session: Session, since: datetime, until: datetime) -> Counts:
    ready = case((Run.not_before > Run.created_at, Run.not_before), else_=Run.created_at)
    started = (Run.trigger == Trigger.SCHEDULE, Run.started_at > since, Run.started_at <= until)
    return _histogram(session, _seconds(session, ready, Run.started_at), *started)


def _histogram(session: Session, seconds: ColumnElement[Any], *where: ColumnElement[bool]) -> Counts:
    """How many lie at or below each bound: one pass over the rows."""
    bounds = [func.count().filter(seconds <= bound) for bound in BOUNDS]
    *counts, count, total = session.execute(select(*bounds, func.count(), func.sum(seconds)).where(*where)).one()
    if not count:
        return {}
    return {**{str(bound): n for bound, n in zip(BOUNDS, counts, strict=True)}, "count": count, "sum": float(total)}


def _seconds(session: Session, since: Any, until: Any) -> ColumnElement[Any]:
    """The seconds between two instants, in SQL; a clock that was set back makes no negative ones."""
    passed: ColumnElement[Any]
    if session.get_bind().dialect.name == "postgresql":
        passed = func.extract("epoch", until - since)
    else:
        passed = (func.julianday(until) - func.julianday(since)) * 86_400
    return case((passed > 0, cast(passed, Numeric(asdecimal=False))), else_=0.0)


def _runs(session: Session, since: datetime, until: datetime) -> Counts:
    ended = (Run.finished_at > since, Run.finished_at <= until)
    return dict(session.execute(select(Run.status, func.count()).where(*ended).group_by(Run.status)).all())


def _deliveries(session: Session, since: datetime, until: datetime) -> Counts:
    """Deliveries as their run ends; of a rerun, those that it made anew."""
    ended = (Run.finished_at > since, Run.finished_at <= until, Delivery.generation == Run.generation)
    counted = select(Delivery.status, func.count()).join(Run, Run.id == Delivery.run_id).where(*ended)
    return dict(session.execute(counted.group_by(Delivery.status)).all())


_COUNTED: dict[str, Callable[[Session, datetime, datetime], Counts]] = {
    DUE_TO_FIRED: _due_to_fired,
    FIRED_TO_STARTED: _fired_to_started,
    RUNS: _runs,
    DELIVERIES: _deliveries,
}
