"""Where runs stand, in numbers that a machine can poll."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline.models import (
    WANTS_A_PLACE,
    Attempt,
    Delivery,
    DeliveryStatus,
    Document,
    DocumentStatus,
    Run,
    RunStatus,
    Step,
    StepStatus,
    WaitingFor,
)
from pipeline.services import runs
from pipeline.services.answers import plain, pools
from pipeline.services.answers.summary import Counts, counted


def progress(session: Session, run: Run) -> dict[str, Any]:
    """The run's status, its counts by status with their totals, and, where it failed, why; JSON-able, stable keys."""
    return {
        **_standings(session, [run])[run.id],
        "period": plain.period(run.period),
        "held_up": _held_up(session, run),
        "result": _result(session, run),
        "traceback": _traceback(session, run) if run.status == RunStatus.FAILED else None,
    }


def standings(session: Session, run_ids: Collection[UUID]) -> dict[UUID, dict[str, Any]]:
    """How each of the runs stands, for whoever watches many at once: what may change from one second to the next."""
    return _standings(session, session.scalars(select(Run).where(Run.id.in_(run_ids))).all())


def _standings(session: Session, found: Collection[Run]) -> dict[UUID, dict[str, Any]]:
    ids = [run.id for run in found]
    documents = counted(session, Document, DocumentStatus, ids)
    deliveries = counted(session, Delivery, DeliveryStatus, ids)
    steps = counted(session, Step, StepStatus, ids)
    return {
        run.id: {
            "id": str(run.id),
            "schedule": run.schedule_key,
            "status": run.status,
            "waiting_for": run.waiting_for,
            "over": runs.is_over(run),
            "generation": run.generation,
            "documents": _with_total(documents[run.id]),
            "deliveries": _with_total(deliveries[run.id]),
            "steps": _with_total(steps[run.id]),
            "error": run.error,
            "created_at": plain.instant(run.created_at),
            "started_at": plain.instant(run.started_at),
            "finished_at": plain.instant(run.finished_at),
        }
        for run in found
    }


def _held_up(session: Session, run: Run) -> dict[str, Any] | None:
    """The step that is tried again next, and what stands in its way; None when none waits so, or for a person.

    One that waits for a place in a pool goes on when there is one: `next_try_at` is None.
    """
    if run.waiting_for == WaitingFor.APPROVAL:
        return None
    if found := _without_a_place(session, run):
        return found
    waits = (
        Step.run_id == run.id,
        Step.status == StepStatus.QUEUED,
        Step.not_before.is_not(None),
        Step.error.is_not(None),
    )
    step = session.scalar(select(Step).where(*waits).order_by(Step.not_before).limit(1))
    if step is None:
        return None
    return {"step": step.name, "error": step.error, "next_try_at": plain.instant(step.not_before)}


def _without_a_place(session: Session, run: Run) -> dict[str, Any] | None:
    """The step that waits for a place, if none of the run is at work."""
    at_work = select(Step.id).where(Step.run_id == run.id, Step.status == StepStatus.RUNNING).limit(1)
    step = session.scalar(select(Step).where(WANTS_A_PLACE, Step.run_id == run.id).order_by(Step.ordinal).limit(1))
    if step is None or session.scalar(at_work) is not None:
        return None
    return {"step": step.name, "error": pools.waits(session, run, [step])[step.id], "next_try_at": None}


def _result(session: Session, run: Run) -> Any:
    """What the last step of a workflow, a task or a command returned; of a report there are documents instead."""
    if run.workflow == "report" or not runs.is_final(run):
        return None
    returned = (Step.run_id == run.id, Step.status == StepStatus.SUCCEEDED, Step.result.is_not(None))
    newest = select(Step.result).where(*returned).order_by(Step.stage.desc(), Step.ordinal.desc())
    return session.scalar(newest.limit(1))


def _with_total(counts: Counts) -> Counts:
    return {**counts, "total": sum(counts.values())}


def _traceback(session: Session, run: Run) -> str | None:
    """That of the attempt that failed last."""
    failed = (Attempt.run_id == run.id, Attempt.traceback.is_not(None))
    return session.scalar(select(Attempt.traceback).where(*failed).order_by(Attempt.started_at.desc()).limit(1))
