"""Deliveries that come later than the others of their run: the steps that make them, and the `finish` that counts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from pipeline import pools, schedule
from pipeline.models import (
    DEFERRED_DELIVERY,
    FINAL_STEP,
    Delivery,
    DeliveryStatus,
    Run,
    RunStatus,
    Step,
    StepStatus,
    WaitingFor,
)
from pipeline.services import canvases, runs

# Batches that one pass of the sweep gives a new step, and deliveries that it looks through for them.
SWEEP, DUE = 5000, 500_000
DELIVER, FINISH = "report.deliver", "report.finish"


def sweep(session: Session, now: datetime) -> set[UUID]:
    """Give deferred deliveries that are due a new step, and their run a new `finish`; the runs that got one.

    While the run's other deliveries are on their way, the new step joins them; else its run is taken up again.
    """
    due = (
        DEFERRED_DELIVERY,
        Delivery.status == DeliveryStatus.DEFERRED,
        Delivery.not_before <= now,
        Delivery.batch.is_not(None),
    )
    # Ordered and bounded first: else SQLite reads every delivery there is, in an order that suits DISTINCT.
    first = select(Delivery.run_id, Delivery.batch).where(*due).order_by(Delivery.not_before).limit(DUE).subquery()
    open_ = or_(Run.status == RunStatus.RUNNING, Run.waiting_for == WaitingFor.DEFERRED)
    pairs = select(first.c.run_id, first.c.batch).join(Run, Run.id == first.c.run_id).where(open_).distinct()
    batches_of: dict[UUID, list[int]] = {}
    for run_id, batch in session.execute(pairs.limit(SWEEP)):
        batches_of.setdefault(run_id, []).append(batch or 0)
    return {run_id for run_id, numbers in batches_of.items() if _add_steps(session, run_id, sorted(numbers), now)}


def _add_steps(session: Session, run_id: UUID, numbers: Sequence[int], now: datetime) -> bool:
    run = runs.lock(session, run_id)
    if run.status != RunStatus.RUNNING and run.waiting_for != WaitingFor.DEFERRED:
        return False
    mine = select(Step).where(Step.run_id == run_id, Step.task.in_((DELIVER, FINISH)))
    rows = session.scalars(mine.order_by(Step.stage, Step.ordinal)).all()
    delivering = [row for row in rows if row.task == DELIVER]
    busy = {row.args[0] for row in delivering if row.status not in FINAL_STEP}
    late = [_deliver(run, number, delivering) for number in numbers if number not in busy]
    finish = next((row for row in reversed(rows) if row.task == FINISH), None)
    if not late:
        return False
    if finish is not None and finish.status == StepStatus.PENDING:
        canvases.join_stage(session, run, delivering[-1], late, now)
        return True
    if _is_at_work(session, run_id):
        return False
    canvases.add_canvas(session, run, [late, [_finish(run, [row for row in rows if row.task == FINISH])]], now)
    if not runs.is_final(run):
        runs.go_on(run, now)
    return True


def _is_at_work(session: Session, run_id: UUID) -> bool:
    open_ones = (Step.run_id == run_id, Step.status.not_in(FINAL_STEP))
    return session.scalar(select(Step.id).where(*open_ones).limit(1)) is not None


def _deliver(run: Run, number: int, before: Sequence[Step]) -> canvases.Planned:
    again = 1 + sum(row.args[0] == number for row in before)
    retry = schedule.parse(run.definition, f"schedule {run.schedule_key}").retry_for("deliver")
    pool = pools.of_kind(run.definition, "deliver")
    name = f"deliver:{number}/{again}" if again > 1 else f"deliver:{number}"
    return canvases.Planned(name, DELIVER, args=[number], tolerated=True, queue="deliver", pool=pool, retry=retry)


def _finish(run: Run, before: Sequence[Step]) -> canvases.Planned:
    retry = schedule.parse(run.definition, f"schedule {run.schedule_key}").retry_for("plan")
    return canvases.Planned(f"finish/{1 + len(before)}" if before else "finish", FINISH, retry=retry)
