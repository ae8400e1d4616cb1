"""Runs, what they ask of people, and their history."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.models.base import Base, index_of_part, new_id, new_run_id, one_of


class RunStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class WaitingFor(StrEnum):
    DATA = "data"
    SLOT = "slot"
    APPROVAL = "approval"
    DEFERRED = "deferred"
    BLOCKED = "blocked"


class Trigger(StrEnum):
    SCHEDULE = "schedule"
    MANUAL = "manual"
    API = "api"
    BACKFILL = "backfill"


class Answer(StrEnum):
    """What became of a question for approval."""

    APPROVED = "approved"
    REJECTED = "rejected"
    LAPSED = "lapsed"  # nobody answered in time, or the run ended otherwise


FINAL_RUN = frozenset(
    {
        RunStatus.SUCCEEDED,
        RunStatus.PARTIAL,
        RunStatus.FAILED,
        RunStatus.SKIPPED,
        RunStatus.CANCELLED,
        RunStatus.REJECTED,
    }
)


# As `ix_runs_triggered` says it, see `steps.ACTIVE_STEP`.
TRIGGERED = text("runs.trigger <> 'schedule'")


class Run(Base):
    __tablename__ = "runs"
    __table_args__ = (
        one_of("status", RunStatus),
        one_of("waiting_for", WaitingFor),
        one_of("trigger", Trigger),
        Index("ix_runs_schedule_key_created_at", "schedule_key", "created_at"),
        Index("ix_runs_created_at", "created_at"),
        # Pages of those that failed, say, among a million others.
        Index("ix_runs_status_created_at", "status", "created_at"),
        # What somebody triggered, among what schedules did.
        index_of_part("ix_runs_triggered", "trigger", "created_at", where="trigger <> 'schedule'"),
        # What is asked at every fire: it must not grow with finished runs.
        index_of_part("ix_runs_open", "schedule_key", where="finished_at IS NULL"),
        # What metrics count, minute by minute.
        Index("ix_runs_started_at", "started_at"),
        Index("ix_runs_finished_at", "finished_at"),
        # What has not started, or finished, in time: it must not grow with those that have.
        index_of_part(
            "ix_runs_start_by", "start_by", where="start_by IS NOT NULL AND started_at IS NULL AND finished_at IS NULL"
        ),
        index_of_part("ix_runs_finish_by", "finish_by", where="finish_by IS NOT NULL AND finished_at IS NULL"),
        # What has used up its time.
        index_of_part("ix_runs_stop_at", "stop_at", where="stop_at IS NOT NULL AND finished_at IS NULL"),
        index_of_part("ix_runs_unfinished", "status", where="finished_at IS NULL"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_run_id)
    # The workflow that is run: `report`, or a workflow's own name.
    workflow: Mapped[str]
    schedule_key: Mapped[str] = mapped_column(ForeignKey("schedules.key"))
    revision: Mapped[str]
    trigger: Mapped[str]
    triggered_by: Mapped[str]
    backfill_id: Mapped[UUID | None] = mapped_column(ForeignKey("backfills.id"), index=True)
    idempotency_key: Mapped[str | None] = mapped_column(unique=True)
    request_hash: Mapped[str | None]
    due_at: Mapped[datetime]
    zone: Mapped[str]
    period: Mapped[dict[str, Any]]
    params: Mapped[dict[str, Any]]
    # What a trigger by hand narrowed: keys, to, send; and `now`, where it does not wait for its data.
    scope: Mapped[dict[str, Any]]
    definition: Mapped[dict[str, Any]]
    code_version: Mapped[str]
    generation: Mapped[int] = mapped_column(default=1)
    not_before: Mapped[datetime | None]
    start_by: Mapped[datetime | None]
    finish_by: Mapped[datetime | None]
    # When its time is used up (`time_limit`), as long as it works; a run that is ended for it keeps this.
    stop_at: Mapped[datetime | None]
    status: Mapped[str] = mapped_column(default=RunStatus.QUEUED)
    waiting_for: Mapped[str | None]
    error: Mapped[str | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class RunEvent(Base):
    """A line of a run's history that is no attempt: healed, skipped, published again."""

    __tablename__ = "run_events"
    __table_args__ = (Index("ix_run_events_run_id", "run_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"))
    at: Mapped[datetime]
    kind: Mapped[str]
    text: Mapped[str]


class Approval(Base):
    """A run that asks a person whether it may send what it has made, and the answer."""

    __tablename__ = "approvals"
    __table_args__ = (
        UniqueConstraint("run_id", "generation"),
        one_of("answer", Answer),
        # What reconcile reads.
        index_of_part("ix_approvals_open", "asked_at", where="answer IS NULL"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"))
    generation: Mapped[int]
    asked_at: Mapped[datetime]
    reason: Mapped[str]
    # When it lapses; without one, as soon as the schedule fires the next time.
    lapses_at: Mapped[datetime | None]
    answer: Mapped[str | None]
    answered_at: Mapped[datetime | None]
    answered_by: Mapped[str | None]
    note: Mapped[str | None]
