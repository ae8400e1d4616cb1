"""Schedules as their files say them, and what was decided about each of their slots."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.models.base import Base, index_of_part, new_id, one_of


class Decision(StrEnum):
    FIRED = "fired"
    SKIPPED = "skipped"  # a run was in the way, the clocks dropped it, or it could not be fired
    COALESCED = "coalesced"  # missed, and a later one stands for it
    LATE = "late"  # missed, and too late to be made up for
    PAUSED = "paused"


class Order(StrEnum):
    """Which slots of a backfill come first."""

    OLDEST = "oldest"
    NEWEST = "newest"


class Schedule(Base):
    __tablename__ = "schedules"

    key: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[str]
    paused: Mapped[bool] = mapped_column(default=False)
    # Of the pause that it is in: why, since when, by whom, and when it ends by itself.
    note: Mapped[str | None]
    paused_at: Mapped[datetime | None]
    paused_by: Mapped[str | None]
    paused_until: Mapped[datetime | None] = mapped_column(index=True)
    # The newest slot that was decided: never fired again, whatever the file says later.
    high_water_mark: Mapped[datetime]
    next_due_at: Mapped[datetime | None] = mapped_column(index=True)
    retired_at: Mapped[datetime | None]
    changed_at: Mapped[datetime]


class ScheduleRevision(Base):
    __tablename__ = "schedule_revisions"

    schedule_key: Mapped[str] = mapped_column(ForeignKey("schedules.key"), primary_key=True)
    revision: Mapped[str] = mapped_column(primary_key=True)
    definition: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class BadFile(Base):
    """A schedule file that is wrong, since when, and what is wrong; its schedule goes on as the file last said."""

    __tablename__ = "bad_files"

    # Its place in the home: `schedules/weekly.yaml`.
    file: Mapped[str] = mapped_column(primary_key=True)
    schedule_key: Mapped[str]
    error: Mapped[str]
    since: Mapped[datetime]


class Slot(Base):
    __tablename__ = "slots"
    __table_args__ = (UniqueConstraint("schedule_key", "due_at", "origin"), one_of("decision", Decision))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    schedule_key: Mapped[str] = mapped_column(ForeignKey("schedules.key"))
    due_at: Mapped[datetime]
    origin: Mapped[str] = mapped_column(default="schedule")
    decision: Mapped[str]
    reason: Mapped[str | None]
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("runs.id"), index=True)
    decided_at: Mapped[datetime]


class Backfill(Base):
    """A range of a schedule's slots that somebody had run; its slots have its id as their origin."""

    __tablename__ = "backfills"
    __table_args__ = (
        one_of("first", Order),
        # What reconcile reads.
        index_of_part("ix_backfills_open", "created_at", where="finished_at IS NULL"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    schedule_key: Mapped[str] = mapped_column(ForeignKey("schedules.key"))
    # The definition of all its runs.
    revision: Mapped[str]
    # Half-open.
    since: Mapped[datetime]
    until: Mapped[datetime]
    first: Mapped[str]
    concurrency: Mapped[int]
    # Whether slots that have a successful run are run again.
    again: Mapped[bool]
    triggered_by: Mapped[str]
    created_at: Mapped[datetime]
    # When the last of its slots got its row: until then reconcile goes on with it.
    filled_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    cancelled_by: Mapped[str | None]


class Total(Base):
    """What was purged of a schedule's runs that were due in one month, in numbers: nobody's name is in them."""

    __tablename__ = "totals"

    schedule_key: Mapped[str] = mapped_column(ForeignKey("schedules.key"), primary_key=True)
    # UTC: `2026-11`.
    month: Mapped[str] = mapped_column(primary_key=True)
    # By kind (runs, documents, deliveries) and status.
    counts: Mapped[dict[str, Any]]
