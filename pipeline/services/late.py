"""Deliveries that were turned away for now: when they are tried again, and the steps that do it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline.models import FINAL_STEP, Delivery, DeliveryStatus, Run, RunStatus, Step, WaitingFor
from pipeline.retry import Retry
from pipeline.services import runs, steps

# Deliveries that one pass of the sweep gives a new step.
SWEEP = 5000


def sweep(session: Session, now: datetime) -> set[UUID]:
    """Give deferred deliveries that are due a new step, and their run a new `finish`; the runs that got one."""
    due = (Delivery.status == DeliveryStatus.DEFERRED, Delivery.not_before <= now)
    waiting = (Run.status == RunStatus.WAITING, Run.waiting_for == WaitingFor.DEFERRED)
    pairs = (
        select(Delivery.run_id, Delivery.batch).join(Run, Run.id == Delivery.run_id).where(*due, *waiting).distinct()
    )
    batches_of: dict[UUID, list[int]] = {}
    for run_id, batch in session.execute(pairs.limit(SWEEP)):
        if batch is not None:
            batches_of.setdefault(run_id, []).append(batch)
    return {run_id for run_id, numbers in batches_of.items() if _add_steps(session, run_id, sorted(numbers), now)}


def _add_steps(session: Session, run_id: UUID, numbers: Sequence[int], now: datetime) -> bool:
    run = runs.lock(session, run_id)
    rows = session.scalars(select(Step).where(Step.run_id == run_id).order_by(Step.stage, Step.ordinal)).all()
    if run.status != RunStatus.WAITING or any(row.status not in FINAL_STEP for row in rows):
        return False
    again = max(row.canvas for row in rows)
    patterns = {row.args[0]: row for row in rows if row.task == "report.deliver"}
    finish = next(row for row in reversed(rows) if row.task == "report.finish")
    late = [_copy(patterns[number], f"deliver:{number}/{again}") for number in numbers]
    steps.add_canvas(session, run, [late, [_copy(finish, f"finish/{again}")]], now)
    run.status, run.waiting_for = RunStatus.RUNNING, None
    return True


def _copy(step: Step, name: str) -> steps.Planned:
    return steps.Planned(
        name=name,
        task=step.task,
        args=step.args,
        kwargs=step.kwargs,
        tolerated=step.tolerated,
        queue=step.queue,
        retry=Retry.from_json(step.retry),
    )


def next_due(
    now: datetime, deferrals: int, retry: Retry, *, first_at: datetime, seed: str, retry_after: float | None
) -> datetime | None:
    """When a delivery that was turned away for now is tried again, or None when it has waited long enough."""
    wait = retry.delay(deferrals + 1, seed, retry_after)
    spent = (now - first_at).total_seconds()
    if retry.give_up_after is not None and spent + wait > retry.give_up_after:
        return None
    return now + timedelta(seconds=wait)
