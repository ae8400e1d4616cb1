"""Compares rows with leases and messages, and heals what was lost; harmless at any time, by any number at once.

`pipeline.healing` gives each run that ails a short transaction of its own: one that hangs or fails keeps no other
waiting.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import and_, exists, func, or_, select, update
from sqlalchemy.orm import Session, load_only

from pipeline.adapters import owners
from pipeline.bulk import CHUNK, is_one_of
from pipeline.db import clock
from pipeline.models import ACTIVE_STEP, Broker, Run, RunStatus, Step, StepStatus
from pipeline.services import approvals, backfills, late, limits, pausing, publishing, runs, steps, turns, waiting
from pipeline.settings import settings

# Rows that one pass looks at: the rest comes two seconds later.
LIMIT = 500
# An unpublished step younger than this is being published by whoever just committed it.
PUBLISHING = timedelta(seconds=5)


def ailing(session: Session, *, lenient: bool = False) -> list[UUID]:
    """Runs with a step whose process died, a message that nobody took, a join that was lost, or no time left; by id.

    `lenient`: a lease that has lapsed means nothing yet, since nobody could renew one.
    """
    now = clock(session)
    found = {run_id for run_id, owner, until in _at_work(session) if _why_dead(owner, until, now, lenient=lenient)}
    found |= {step.run_id for step in untaken(session, now)}
    found |= {*_stalled(session), *runs.out_of_time(session, now)}
    return sorted(found)


def mend(session: Session, run_id: UUID, *, lenient: bool = False) -> bool:
    """Heal one run, with a line in its history for each thing; what is well by now is left as it is.

    Whether it is to be done once more, in a transaction of its own: there is more to end of a run that was stopped.
    """
    now = clock(session)
    run = runs.lock_to_close(session, run_id)
    working = select(Step).where(Step.run_id == run_id, Step.status == StepStatus.RUNNING).order_by(Step.lease_until)
    for step in session.scalars(working.limit(LIMIT)).all():
        why = _why_dead(step.lease_owner, step.lease_until, now, lenient=lenient)
        if why:
            steps.release(session, step, now, why)
    session.flush()
    runs.stop_if_out_of_time(session, run, now)
    _send_again(session, run, untaken(session, now, run_id))
    if session.scalar(select(Run.id).where(Run.id == run_id, *_STALLED)) is None:
        return False
    if run.status == RunStatus.CANCELLING and runs.close_part(session, run):
        return True
    _go_on(session, run, now)
    return False


def tend(session: Session) -> set[UUID]:
    """End pauses, begin whose turn it is, go on with backfills, give due deliveries a step; the runs that changed."""
    pausing.end_those_over(session)
    for key in turns.stalled(session, LIMIT):  # the run before them ended while they were being opened
        turns.lock(session, key)
        turns.begin_next(session, key)
    now = clock(session)
    approvals.lapse(session, now)
    changed = backfills.tend(session) | late.sweep(session, now)
    waiting.call_waiting(session, now)
    return changed | limits.call(session, now)


def unpublished(session: Session) -> set[UUID]:
    """Runs with steps that are due and have no message; none while a beat publishes all that a broker had lost."""
    now = clock(session)
    # `between`: a clock that was set back stops nothing.
    if session.scalar(select(Broker.name).where(Broker.marked_at.between(now - PUBLISHING, now)).limit(1)) is not None:
        return set()
    due = or_(
        Step.not_before <= now,
        and_(Step.not_before.is_(None), Step.queued_at < now - PUBLISHING),
    )
    waiting = select(Step.run_id).where(ACTIVE_STEP, Step.status == StepStatus.QUEUED, Step.published_at.is_(None), due)
    return set(session.scalars(waiting.distinct().limit(LIMIT)))


# ---- leases


def _at_work(session: Session) -> Iterable[Any]:
    columns = select(Step.run_id, Step.lease_owner, Step.lease_until).where(
        ACTIVE_STEP, Step.status == StepStatus.RUNNING
    )
    return session.execute(columns.order_by(Step.lease_until).limit(LIMIT))


def _why_dead(owner: str | None, until: datetime | None, now: datetime, *, lenient: bool) -> str | None:
    if owner and owners.is_dead(owner):
        return f"process {owner} is gone"
    return f"{owner} let its lease lapse" if until and until < now and not lenient else None


# ---- messages


def untaken(
    session: Session, now: datetime, run_id: UUID | None = None, *, share: float = 1.0, limit: int = LIMIT
) -> list[Step]:
    """Queued steps whose message nobody took for long, or a `share` of that: the longer, the more often it was sent."""
    grace = timedelta(seconds=settings().republish_after * share)
    queued = select(Step).where(ACTIVE_STEP, Step.status == StepStatus.QUEUED, Step.published_at < now - grace)
    if run_id is not None:
        queued = queued.where(Step.run_id == run_id)
    # Thousands may wait, and the rest of a row is most of it.
    needed = load_only(Step.run_id, Step.name, Step.task_id, Step.queued_at, Step.published_at, Step.published)
    found = session.scalars(queued.options(needed).order_by(Step.published_at).limit(limit)).all()
    return [one for one in found if _since(one) + grace * 2 ** min(one.published - 1, 10) < now]


def unbrought(session: Session, now: datetime) -> Sequence[Step]:
    """Steps that a chord or chain was to bring a moment after those before them were done; in the order of runs."""
    carried = (ACTIVE_STEP, Step.status == StepStatus.QUEUED, Step.published_at < Step.queued_at)
    late = select(Step).where(*carried, Step.queued_at < now - PUBLISHING)
    return session.scalars(late.order_by(Step.run_id, Step.stage, Step.ordinal).limit(LIMIT)).all()


def seen(session: Session, steps: Sequence[Step], now: datetime) -> None:
    """Their messages lie in a queue still: they are not sent again, and looked for once more after their grace."""
    for at in range(0, len(steps), CHUNK):
        same = is_one_of(session, Step.id, [step.id for step in steps[at : at + CHUNK]])
        still = update(Step).where(same, Step.status == StepStatus.QUEUED, Step.published_at.is_not(None))
        session.execute(still.values(published_at=now).execution_options(synchronize_session=False))


def _since(step: Step) -> datetime:
    return max(filter(None, (step.published_at, step.queued_at)))


def _send_again(session: Session, run: Run, lost: Sequence[Step]) -> None:
    """Their run publishes them again, under the same task ids."""
    if not lost:
        return
    for step in lost:
        step.published_at = None
    runs.note(
        session,
        run.id,
        "healed",
        f"{publishing.listed([step.name for step in lost])}: nobody took the message; it is sent again",
    )


# ---- joins

_MOVES = exists().where(Step.run_id == Run.id, ACTIVE_STEP)
# Runs that are open, and have no step that could move them.
_STALLED = (
    Run.finished_at.is_(None),
    Run.status.in_((RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.CANCELLING)),
    ~_MOVES,
)


def _stalled(session: Session) -> Iterable[UUID]:
    return session.scalars(select(Run.id).where(*_STALLED).limit(LIMIT))


def _go_on(session: Session, run: Run, now: datetime) -> None:
    """Begin the stage that nobody began, or end the run: as failed, if it lacks what could have ended it well."""
    counts = dict(
        session.execute(
            select(Step.status, func.count()).where(Step.run_id == run.id).group_by(Step.status)
        ).all()
    )  # fmt: skip
    lost = select(Step.name).where(
        Step.run_id == run.id,
        or_(Step.status == StepStatus.CANCELLED, and_(Step.status == StepStatus.FAILED, Step.tolerated.is_(False))),
        Step.generation == run.generation,
    )
    broken = session.scalar(lost.order_by(Step.stage, Step.ordinal).limit(1))
    if run.status == RunStatus.CANCELLING or (counts and (counts.get(StepStatus.PENDING) or not broken)):
        pending = bool(counts.get(StepStatus.PENDING))
        said = "a stage was finished, and the next had not begun: it does" if pending else "all was done: it is closed"
        if run.status != RunStatus.CANCELLING:  # how one with very many deliveries is ended
            runs.note(session, run.id, "healed", said)
        steps.advance(session, run, 0, now)
        return
    why = f"{broken} had ended, and nothing was left to go on with" if broken else "it has no steps"
    runs.note(session, run.id, "healed", f"abandoned: {why}")
    runs.close(session, run, RunStatus.FAILED, f"abandoned: {why}")
