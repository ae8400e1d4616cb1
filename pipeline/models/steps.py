"""The steps of runs, and every try of them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.models.base import Base, index_of_part, new_id, one_of


class StepStatus(StrEnum):
    PENDING = "pending"  # an earlier stage is not finished
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRY = "retry"  # failed, and will be tried again
    PARKED = "parked"  # waits for something outside; uses up no attempt
    ABANDONED = "abandoned"  # its process died or lost its lease
    CANCELLED = "cancelled"  # stopped, since its run was ended by somebody


FINAL_STEP = frozenset({StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.CANCELLED})


# As `ix_steps_active` says it: SQLite takes an index of a part of the rows only for a condition that is the same, and
# no parameter is.
ACTIVE_STEP = text("steps.status IN ('queued', 'running')")


# As `ix_steps_waiting` says it.
WANTS_A_PLACE = text("steps.place_wanted_at IS NOT NULL AND steps.status = 'queued'")


class Step(Base):
    __tablename__ = "steps"
    __table_args__ = (
        UniqueConstraint("run_id", "name"),
        one_of("status", StepStatus),
        Index("ix_steps_run_id_stage", "run_id", "stage"),
        # What reconcile reads: it must not grow with finished steps.
        index_of_part("ix_steps_active", "status", "not_before", where="status IN ('queued', 'running')"),
        Index("ix_steps_task_id", "task_id"),
        # Who waits for a place in a pool, in the order in which they are called.
        index_of_part(
            "ix_steps_waiting",
            "pool",
            "priority",
            "place_wanted_at",
            where="place_wanted_at IS NOT NULL AND status = 'queued'",
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"))
    name: Mapped[str]
    task: Mapped[str]
    args: Mapped[list[Any]]
    kwargs: Mapped[dict[str, Any]]
    # Whether it is handed what the stage before it in the same canvas returned.
    takes_results: Mapped[bool] = mapped_column(default=False)
    canvas: Mapped[int]
    stage: Mapped[int]
    ordinal: Mapped[int]
    tolerated: Mapped[bool] = mapped_column(default=False)
    generation: Mapped[int]
    status: Mapped[str]
    queue: Mapped[str]
    priority: Mapped[int] = mapped_column(default=5)
    # Of how many such steps may be at work at once, if PIPELINE_POOLS says so.
    pool: Mapped[str | None]
    # Since when it waits for a place, of its pool or for its run; claimed, it has one.
    place_wanted_at: Mapped[datetime | None]
    retry: Mapped[dict[str, Any]]
    task_id: Mapped[UUID]
    # The outbox: a queued step without it has no message yet. When it was sent, or seen in its queue after long.
    published_at: Mapped[datetime | None]
    published: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[datetime | None]
    queued_at: Mapped[datetime | None]
    result: Mapped[Any | None]
    # What a step that waits wants to know at its next look, and of which generation that is.
    memory: Mapped[dict[str, Any] | None]
    error: Mapped[str | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    @property
    def kind(self) -> str:
        """`render` of `render:3`: what the schedule file's retry goes by."""
        return kind_of(self.name)


def kind_of(step: str) -> str:
    """The kind of a step by its name."""
    return step.partition(":")[0].partition("/")[0]


class Attempt(Base):
    __tablename__ = "attempts"
    __table_args__ = (
        UniqueConstraint("step_id", "fence"),
        one_of("outcome", Outcome),
        Index("ix_attempts_run_id", "run_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"))
    step_id: Mapped[UUID] = mapped_column(ForeignKey("steps.id"))
    generation: Mapped[int]
    fence: Mapped[int]
    worker: Mapped[str]
    outcome: Mapped[str]
    error: Mapped[str | None]
    traceback: Mapped[str | None]
    # What a program wrote, or a task of another application returned.
    output: Mapped[str | None]
    # The document that it is making, where a try before this one went wrong: should its process die, it is suspected.
    working_on: Mapped[str | None]
    # Something of it stays done, such as a message that went out: whoever is killed in the midst of work is no poison.
    progressed: Mapped[bool] = mapped_column(default=False)
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
