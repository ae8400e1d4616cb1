"""Whose turn it is among the runs of one schedule, or of one backfill: which are in the way, and which one follows.

Lock the schedule's row first: whoever opens or ends one of its runs does (lock order: schedule, run, step, delivery).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from pipeline.bulk import CHUNK
from pipeline.db import clock
from pipeline.models import Backfill, Order, Run, RunStatus, Schedule, Step, StepStatus, Trigger, WaitingFor

_ACTIVE = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.CANCELLING)
_DOING: dict[str, str] = {
    RunStatus.CANCELLING: "being cancelled",
    WaitingFor.DATA: "waiting for its data",
    WaitingFor.SLOT: "waiting for its turn",
}


@dataclass(frozen=True, slots=True)
class InTheWay:
    """An active run of a schedule, or the one that waits for its turn behind that."""

    run_id: UUID
    status: str
    waiting_for: str | None = None

    @property
    def waits_for_its_turn(self) -> bool:
        return self.waiting_for == WaitingFor.SLOT

    @property
    def doing(self) -> str:
        """What it is at, as in "run … is …"."""
        return _DOING.get(self.waiting_for or self.status, self.status)


def lock(session: Session, key: str, *, wait: bool = True) -> bool:
    """Lock the schedule's row until the transaction ends; False if another has it and this one is not to `wait`."""
    # NO KEY UPDATE: a plain FOR UPDATE would wait for, and block, whoever writes a row that refers to the schedule.
    mine = select(Schedule.key).where(Schedule.key == key)
    return session.scalar(mine.with_for_update(key_share=True, skip_locked=not wait)) is not None


def in_the_way(session: Session, keys: Iterable[str]) -> dict[str, list[InTheWay]]:
    """By schedule key, oldest first: the runs that are queued, running, cancelling, or wait for data or their turn.

    One that waits for an approval or for late mailboxes is in nobody's way; backfills have a concurrency of their own.
    """
    columns = select(Run.schedule_key, Run.id, Run.status, Run.waiting_for)
    mine = columns.where(Run.schedule_key.in_(list(keys)), _of_no_backfill(Run), or_(_active(Run), _waits(Run)))
    found: dict[str, list[InTheWay]] = {}
    for key, run_id, status, waiting_for in session.execute(mine.order_by(Run.id)):
        found.setdefault(key, []).append(InTheWay(run_id, status, waiting_for))
    return found


def begin_next(session: Session, key: str) -> None:
    """Queue the run of the schedule that waits for its turn, if nothing is in its way any more."""
    runs = in_the_way(session, [key]).get(key, [])
    if runs and all(run.waits_for_its_turn for run in runs):
        begin(session, runs[0].run_id)


def begin_next_of(session: Session, backfill: Backfill) -> list[UUID]:
    """Queue as many of the backfill's waiting runs as its concurrency leaves room for, in its order; which ones."""
    mine = Run.backfill_id == backfill.id
    active = session.scalar(select(func.count()).select_from(Run).where(mine, _active(Run))) or 0
    first = Run.due_at if backfill.first == Order.OLDEST else Run.due_at.desc()
    waiting = select(Run.id).where(mine, _waits(Run)).order_by(first)
    found = session.scalars(waiting.limit(max(0, backfill.concurrency - active))).all()
    for run_id in found:
        begin(session, run_id)
    return list(found)


def end_waiting(session: Session, backfill: Backfill, error: str) -> int:
    """Cancel the backfill's runs that have not begun, as they are: nothing of them is there yet. How many."""
    ended = {"status": RunStatus.CANCELLED, "waiting_for": None, "error": error, "finished_at": clock(session)}
    waiting = update(Run).where(Run.backfill_id == backfill.id, _waits(Run)).values(**ended).returning(Run.id)
    found = session.scalars(waiting).all()
    for at in range(0, len(found), CHUNK):
        pending = update(Step).where(Step.run_id.in_(found[at : at + CHUNK]), Step.status == StepStatus.PENDING)
        session.execute(pending.values(status=StepStatus.CANCELLED, finished_at=ended["finished_at"]))
    return len(found)


def begin(session: Session, run_id: UUID) -> None:
    """Queue a run that was opened to wait, and its first step; reconcile publishes it within two seconds."""
    now = clock(session)
    waiting = update(Run).where(Run.id == run_id, Run.status == RunStatus.WAITING, Run.finished_at.is_(None))
    not_before = session.scalars(
        waiting.values(status=RunStatus.QUEUED, waiting_for=None).returning(func.coalesce(Run.not_before, now))
    ).one_or_none()
    if not_before is not None:
        session.execute(
            update(Step)
            .where(Step.run_id == run_id, Step.status == StepStatus.PENDING, Step.stage == 1)
            .values(status=StepStatus.QUEUED, queued_at=now, not_before=max(now, not_before))
        )


def stalled(session: Session, limit: int) -> Sequence[str]:
    """Keys of schedules with a run that waits for its turn, and none that it could be waiting for."""
    other = aliased(Run)
    behind = exists().where(other.schedule_key == Run.schedule_key, _of_no_backfill(other), _active(other))
    waiting = select(Run.schedule_key).where(_of_no_backfill(Run), _waits(Run), ~behind)
    return session.scalars(waiting.distinct().limit(limit)).all()


def _active(run: Any) -> ColumnElement[bool]:
    for_data = and_(run.status == RunStatus.WAITING, run.waiting_for == WaitingFor.DATA)
    return and_(run.finished_at.is_(None), or_(run.status.in_(_ACTIVE), for_data))


def _waits(run: Any) -> ColumnElement[bool]:
    return and_(run.finished_at.is_(None), run.status == RunStatus.WAITING, run.waiting_for == WaitingFor.SLOT)


def _of_no_backfill(run: Any) -> ColumnElement[bool]:
    return run.trigger != Trigger.BACKFILL  # type: ignore[no-any-return]
