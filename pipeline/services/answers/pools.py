"""Who has the places that there are: of pools, and of runs of a schedule or report; and who waits for one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipeline.db import clock
from pipeline.models import WANTS_A_PLACE, Run, Step
from pipeline.services import limits
from pipeline.services.answers import wording
from pipeline.services.limits import Limit
from pipeline.settings import settings

# Holders that a sentence names, and those that wait of which a list is told.
NAMED, LISTED = 3, 20


@dataclass(frozen=True)
class Holder:
    """Who has a place, or waits for one, since when: a step, or a run as a whole (`step` is None)."""

    run_id: UUID
    schedule: str
    step: str | None
    since: datetime | None


@dataclass(frozen=True)
class PoolStatus:
    """A limit with its `places`, whom they are taken by, and who waits; `waiting` of them, the next ones by name."""

    kind: str
    name: str
    places: int
    holders: list[Holder]
    waiting: int
    next: list[Holder]


def pools(session: Session) -> list[PoolStatus]:
    """Every pool that the settings name, then the schedules and reports that runs wait for just now."""
    named = [Limit(limits.POOL, name, size) for name, size in settings().places.items()]
    return [_status(session, limit, clock(session)) for limit in [*named, *_of_waiting_runs(session)]]


def _of_waiting_runs(session: Session) -> Iterator[Limit]:
    waiting = select(Run).join(Step, Step.run_id == Run.id).where(WANTS_A_PLACE, Step.task == limits.START)
    yield from dict.fromkeys(
        limit for run in session.scalars(waiting.limit(limits.LIMIT)) for limit in limits.of_run(run)
    )


def _status(session: Session, limit: Limit, now: datetime) -> PoolStatus:
    count = session.scalar(select(func.count()).select_from(Step).where(*limit.waiting())) or 0
    first = select(Step, Run).join(Run, Run.id == Step.run_id).where(*limit.waiting())
    rows = session.execute(first.order_by(Step.priority, Step.place_wanted_at, Step.id).limit(LISTED))
    of_runs = limit.kind != limits.POOL
    following = [
        Holder(run.id, run.schedule_key, None if of_runs else step.name, step.place_wanted_at) for step, run in rows
    ]
    return PoolStatus(limit.kind, limit.name, limit.size, _holders(session, limit, now), count, following)


def _holders(session: Session, limit: Limit, now: datetime) -> list[Holder]:
    ids = session.scalars(limit.holders(now)).all()
    if limit.kind != limits.POOL:
        runs = session.scalars(select(Run).where(Run.id.in_(ids)).order_by(Run.started_at))
        return [Holder(run.id, run.schedule_key, None, run.started_at) for run in runs]
    rows = session.execute(select(Step, Run).join(Run, Run.id == Step.run_id).where(Step.id.in_(ids)))
    found = [Holder(run.id, run.schedule_key, step.name, step.started_at) for step, run in rows]
    return sorted(found, key=lambda one: (str(one.since), one.run_id, one.step or ""))


def waits(session: Session, run: Run, steps: Sequence[Step]) -> dict[UUID, str]:
    """What each of the run's steps that waits for a place waits for, as a sentence."""
    now = clock(session)
    waiting = [step for step in steps if step.place_wanted_at and step.status == "queued"]
    said: dict[Limit, str] = {}
    found = {}
    for step in waiting:
        for limit in limits.of(step, run):
            said[limit] = said.get(limit) or _sentence(limit, _holders(session, limit, now))
        full = [said[limit] for limit in limits.of(step, run)]
        found[step.id] = "; ".join(full) or "it goes on in a moment: there is a place for it"
    return found


def _sentence(limit: Limit, holders: Sequence[Holder]) -> str:
    wanted = f"a place in {limit}" if limit.kind == limits.POOL else f"its turn among the runs of {limit}"
    names = [f"{one.step or 'run'} of {one.schedule} ({wording.short(one.run_id)})" for one in holders]
    more = len(names) - NAMED
    by = wording.listed(names if more <= 1 else [*names[:NAMED], f"{more} others"]) or "nobody just now"
    return f"waits for {wanted}: {len(holders)} of {limit.size} taken, by {by}"
