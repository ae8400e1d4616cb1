"""Where one run stands, in numbers that a machine can poll."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline.models import (
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
from pipeline.services.answers import plain
from pipeline.services.answers.summary import Counts, counted


def progress(session: Session, run: Run) -> dict[str, Any]:
    """The run's status, its counts by status with their totals, and, where it failed, why; JSON-able, stable keys."""
    return {
        "id": str(run.id),
        "schedule": run.schedule_key,
        "status": run.status,
        "generation": run.generation,
        "waiting_for": run.waiting_for,
        "period": plain.period(run.period),
        "documents": _with_total(session, run, Document, DocumentStatus),
        "deliveries": _with_total(session, run, Delivery, DeliveryStatus),
        "steps": _with_total(session, run, Step, StepStatus),
        "held_up": _held_up(session, run),
        "error": run.error,
        "traceback": _traceback(session, run) if run.status == RunStatus.FAILED else None,
        "created_at": plain.instant(run.created_at),
        "started_at": plain.instant(run.started_at),
        "finished_at": plain.instant(run.finished_at),
    }


def _held_up(session: Session, run: Run) -> dict[str, Any] | None:
    """The step that is tried again next, and what stood in its way; None when none waits so, or for a person."""
    if run.waiting_for == WaitingFor.APPROVAL:
        return None
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


def _with_total(session: Session, run: Run, table: Any, statuses: Any) -> Counts:
    counts = counted(session, table, statuses, [run.id])[run.id]
    return {**counts, "total": sum(counts.values())}


def _traceback(session: Session, run: Run) -> str | None:
    """That of the attempt that failed last."""
    failed = (Attempt.run_id == run.id, Attempt.traceback.is_not(None))
    return session.scalar(select(Attempt.traceback).where(*failed).order_by(Attempt.started_at.desc()).limit(1))
