"""How much may be at work at once: steps of a pool, runs of a schedule or of a report; and whose turn it is.

A place is no row of its own, so that nothing can leak: a step has one of its pool's while its claim's lease lives, a
run has one of its schedule's and report's from its step `start` on, until it ends or waits for somebody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, exists, func, select, tuple_, update
from sqlalchemy.orm import Session, aliased

from pipeline.db import one_at_a_time
from pipeline.models import ACTIVE_STEP, WANTS_A_PLACE, Run, RunStatus, Step, StepStatus
from pipeline.settings import settings

START = "run.expand"
POOL, SCHEDULE, REPORT = "pool", "schedule", "report"
# Who was called has so long to come; then the next ones are called, too.
CALLED = timedelta(seconds=10)
# Nobody who waits for a place looks by itself, it is called.
UNCALLED = timedelta(hours=1)
# The places of a pool that this process knows none of.
UNKNOWN = 20
# Steps that one pass calls of each pool or schedule.
LIMIT = 500


@dataclass(frozen=True)
class Limit:
    """At most `size` steps of a pool, or runs of a schedule or report, at once."""

    kind: str
    name: str
    size: int

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def holders(self, now: datetime) -> Select[UUID]:
        """Ids of the steps, or for a schedule or report of the runs, that have a place."""
        if self.kind == POOL:
            at_work = (ACTIVE_STEP, Step.status == StepStatus.RUNNING, Step.lease_until > now)
            return select(Step.id).where(*at_work, Step.pool == self.name)
        begun = aliased(Step)
        started = (begun.run_id == Run.id, begun.task == START)
        begins = exists().where(*started, begun.status.in_((StepStatus.RUNNING, StepStatus.SUCCEEDED)))
        active = (Run.finished_at.is_(None), Run.status.in_((RunStatus.RUNNING, RunStatus.CANCELLING)))
        return select(Run.id).where(*active, self._of_run(), begins)

    def waiting(self) -> tuple[ColumnElement[bool] | Any, ...]:
        """What is true of the steps that wait for such a place."""
        if self.kind == POOL:
            return (WANTS_A_PLACE, Step.pool == self.name)
        # Correlated by name: who asks may read runs beside.
        mine = select(Run.id).where(Run.id == Step.run_id, self._of_run()).correlate(Step).exists()
        return (WANTS_A_PLACE, Step.pool.is_(None), Step.task == START, mine)

    def _of_run(self) -> ColumnElement[bool]:
        if self.kind == SCHEDULE:
            return Run.schedule_key == self.name
        name: ColumnElement[bool] = Run.definition["report"]["name"].as_string() == self.name
        return name


def of(step: Step, run: Run | None) -> list[Limit]:
    """The limits that the step has to keep; only `start` is asked for those of its run, which it begins."""
    if step.pool is not None:
        size = settings().places.get(step.pool)
        return [Limit(POOL, step.pool, size)] if size else []
    return of_run(run) if run is not None and step.task == START else []


def of_run(run: Run) -> list[Limit]:
    """How many runs there may be of its schedule and of its report, as its definition says."""
    report = run.definition.get("report")
    report = report if isinstance(report, dict) else {}
    said = (
        (SCHEDULE, run.schedule_key, run.definition.get("concurrency")),
        (REPORT, report.get("name"), report.get("concurrency")),
    )
    return [Limit(kind, name, size) for kind, name, size in said if name and size]


def taken(session: Session, limit: Limit, now: datetime) -> int:
    return session.scalar(select(func.count()).select_from(limit.holders(now).subquery())) or 0


def has_to_wait(session: Session, step: Step, run: Run | None, now: datetime) -> bool:
    """Whether there is no place for the step, which is due: then it waits until it is called, and no worker with it.

    In the transaction of its claim, in which a place is taken. The more urgent and the older come first.
    """
    for limit in of(step, run):
        one_at_a_time(session, f"limit {limit}")  # else two claims would both see the last place
        since = step.place_wanted_at or now
        before = tuple_(Step.priority, Step.place_wanted_at) < (step.priority, since)
        coming = Step.not_before >= now - CALLED
        ahead = select(func.count()).select_from(Step).where(*limit.waiting(), coming, before, Step.id != step.id)
        if taken(session, limit, now) + (session.scalar(ahead) or 0) >= limit.size:
            _park(session, step, since, now)
            return True
    return False


def _park(session: Session, step: Step, since: datetime, now: datetime) -> None:
    # Another message may have had it claimed, cancelled or parked meanwhile.
    still = (Step.id == step.id, Step.status == StepStatus.QUEUED, Step.fence == step.fence)
    parked = {"place_wanted_at": since, "not_before": now + UNCALLED, "published_at": None, "published": 0}
    session.execute(update(Step).where(*still).values(parked).execution_options(synchronize_session=False))


def is_awaited(session: Session, pool: str) -> bool:
    """Whether a step waits for a place in this pool, and has not been called."""
    return session.scalar(select(Step.id).where(WANTS_A_PLACE, Step.pool == pool).limit(1)) is not None


def call(session: Session, now: datetime) -> set[UUID]:
    """Call as many of those who wait as there are places; their runs, which want to be published."""
    called: set[UUID] = set()
    for limits in _awaited(session):
        called |= call_for(session, limits, now)
    return called


def call_for(session: Session, limits: Sequence[Limit], now: datetime) -> set[UUID]:
    """Call those who wait for a place under the first of these limits, as far as all of them leave room."""
    mine = limits[0].waiting()
    free = min(_free(session, limit, now) for limit in limits)
    waiting = select(Step).where(*mine, Step.not_before > now).order_by(Step.priority, Step.place_wanted_at, Step.id)
    # Who is being cancelled or claimed just now is passed over: nobody waits here for another run's row.
    chosen = session.scalars(waiting.limit(max(0, min(free, LIMIT))).with_for_update(skip_locked=True)).all()
    for step in chosen:
        step.not_before, step.published_at = now, None
    return {step.run_id for step in chosen}


def _free(session: Session, limit: Limit, now: datetime) -> int:
    """The places that nobody has, and nobody who was called is on the way to."""
    on_the_way = (*limit.waiting(), Step.not_before <= now, Step.not_before >= now - CALLED)
    coming = session.scalar(select(func.count()).select_from(Step).where(*on_the_way)) or 0
    return limit.size - taken(session, limit, now) - coming


def _awaited(session: Session) -> Iterator[list[Limit]]:
    """The limits that steps wait for: of each pool, and of each schedule with that of its report."""
    places = settings().places
    for pool in session.scalars(select(Step.pool).where(WANTS_A_PLACE, Step.pool.is_not(None)).distinct()):
        # One that is none any more holds nobody back; should it be this process that lacks the setting, workers do.
        yield [Limit(POOL, str(pool), places.get(str(pool), UNKNOWN))]
    of_runs = (WANTS_A_PLACE, Step.pool.is_(None))
    for key in session.scalars(select(Run.schedule_key).join(Step, Step.run_id == Run.id).where(*of_runs).distinct()):
        first = select(Run).join(Step, Step.run_id == Run.id).where(*of_runs, Run.schedule_key == key)
        run = session.scalars(first.order_by(Step.priority, Step.place_wanted_at).limit(1)).one()
        # The schedule's own comes first: it says who of it waits, however many there may be.
        own = [one for one in of_run(run) if one.kind == SCHEDULE] or [Limit(SCHEDULE, key, LIMIT)]
        yield [*own, *(one for one in of_run(run) if one.kind == REPORT)]
