"""Whose turn it is among the runs of one schedule: which are in the way of the next one, and which one follows.

Lock the schedule's row first: whoever opens or ends one of its runs does (lock order: schedule, run, step, delivery).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from pipeline.db import clock
from pipeline.models import Run, RunStatus, Schedule, Step, StepStatus, Trigger, WaitingFor

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


def lock(session: Session, key: str) -> None:
    """Lock the schedule's row until the transaction ends."""
    # NO KEY UPDATE: a plain FOR UPDATE would wait for, and block, whoever writes a row that refers to the schedule.
    session.execute(select(Schedule.key).where(Schedule.key == key).with_for_update(key_share=True))


def in_the_way(session: Session, keys: Iterable[str]) -> dict[str, list[InTheWay]]:
    """By schedule key, oldest first: the runs that are queued, running, cancelling, or wait for data or their turn.

    One that waits for an approval or for late mailboxes is in nobody's way; backfills have a concurrency of their own.
    """
    columns = select(Run.schedule_key, Run.id, Run.status, Run.waiting_for)
    mine = columns.where(Run.schedule_key.in_(list(keys)), or_(_is_active(Run), _waits_for_its_turn(Run)))
    found: dict[str, list[InTheWay]] = {}
    for key, run_id, status, waiting_for in session.execute(mine.order_by(Run.id)):
        found.setdefault(key, []).append(InTheWay(run_id, status, waiting_for))
    return found


def begin_next(session: Session, key: str) -> None:
    """Queue the run of the schedule that waits for its turn, if nothing is in its way any more."""
    runs = in_the_way(session, [key]).get(key, [])
    if runs and all(run.waits_for_its_turn for run in runs):
        begin(session, runs[0].run_id)


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
    behind = exists().where(other.schedule_key == Run.schedule_key, _is_active(other))
    return session.scalars(
        select(Run.schedule_key).where(_waits_for_its_turn(Run), ~behind).distinct().limit(limit)
    ).all()


def _is_active(run: Any) -> ColumnElement[bool]:
    for_data = and_(run.status == RunStatus.WAITING, run.waiting_for == WaitingFor.DATA)
    return and_(run.finished_at.is_(None), run.trigger != Trigger.BACKFILL, or_(run.status.in_(_ACTIVE), for_data))


def _waits_for_its_turn(run: Any) -> ColumnElement[bool]:
    return and_(
        run.finished_at.is_(None), run.trigger != Trigger.BACKFILL, run.status == RunStatus.WAITING,
        run.waiting_for == WaitingFor.SLOT,
    )  # fmt: skip
