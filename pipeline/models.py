"""The tables: every run, step, attempt, document, recipient and delivery is a row here."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import uuid_utils.compat
from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    MetaData,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


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


class Door(StrEnum):
    """Where a wish came in."""

    CLI = "cli"
    HTTP = "http"
    CONSOLE = "console"
    CELERY = "celery"
    BEAT = "beat"  # nobody's wish: what the pipeline does by itself


class Scope(StrEnum):
    """What somebody may do over HTTP; each includes those before it."""

    READ = "read"
    OPERATE = "operate"  # trigger, cancel, rerun, pause, approve, resolve
    ADMIN = "admin"  # whatever there is


class Decision(StrEnum):
    FIRED = "fired"
    SKIPPED = "skipped"  # a run was in the way, the clocks dropped it, or it could not be fired
    COALESCED = "coalesced"  # missed, and a later one stands for it
    LATE = "late"  # missed, and too late to be made up for
    PAUSED = "paused"


class Answer(StrEnum):
    """What became of a question for approval."""

    APPROVED = "approved"
    REJECTED = "rejected"
    LAPSED = "lapsed"  # nobody answered in time, or the run ended otherwise


class Order(StrEnum):
    """Which slots of a backfill come first."""

    OLDEST = "oldest"
    NEWEST = "newest"


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


class DocumentStatus(StrEnum):
    PLANNED = "planned"
    RENDERED = "rendered"
    FAILED = "failed"
    SKIPPED = "skipped"


class Channel(StrEnum):
    EMAIL = "email"
    FILE = "file"
    WEBHOOK = "webhook"


class DeliveryStatus(StrEnum):
    PLANNED = "planned"
    QUEUED = "queued"
    SENDING = "sending"
    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    FAILED = "failed"
    UNCERTAIN = "uncertain"
    SUPPRESSED = "suppressed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    BOUNCED = "bounced"
    COMPLAINED = "complained"


class SubscriptionStatus(StrEnum):
    ACTIVE = "active"
    UNSUBSCRIBED = "unsubscribed"


class Phase(StrEnum):
    DOT = "dot"


class NoticeStatus(StrEnum):
    WAITING = "waiting"  # to be sent, or to be tried again
    SENT = "sent"
    FAILED = "failed"  # refused for good, or given up


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
FINAL_STEP = frozenset({StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.CANCELLED})
# Deliveries that are still to be made, by themselves.
OPEN_DELIVERY = frozenset(
    {DeliveryStatus.PLANNED, DeliveryStatus.QUEUED, DeliveryStatus.SENDING, DeliveryStatus.DEFERRED}
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC; SQLite, which has no zones, stores it naive. Refuses one that is naive already."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no time zone: instants are aware, in UTC")
        if value.tzinfo is not UTC:
            value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class PlainText(TypeDecorator[str]):
    """Text without what a database refuses: an error or a server's reply may hold a NUL, or half of a character."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - the base's
        if value is None or (value.isascii() and "\0" not in value):
            return value
        return value.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it as it stands
        datetime: UtcDateTime,
        str: PlainText,
        # Not JSONB: it sorts the names of an object, and the order of a report's columns and sources means something.
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
        Any: JSON(none_as_null=True),
    }


def new_id() -> UUID:
    """A uuid7: ids sort by the time they were made."""
    return uuid_utils.compat.uuid7()


class _RunIds:
    """The ids of runs: uuid7s of which no two that one process makes share a millisecond.

    People type the beginning of a run's id, its time, and slots of one instant are fired together: theirs would be the
    beginning of all of them. The time of an id is that much later than the clock's, no more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def __call__(self) -> UUID:
        made = new_id().int
        with self._lock:
            self._last = max(made >> 80, self._last + 1)
            return UUID(int=self._last << 80 | made & (1 << 80) - 1)


new_run_id = _RunIds()


def made_at(id_: UUID) -> datetime:
    """When an id was made (UTC, to the millisecond): it is part of a uuid7 (RFC 9562)."""
    return datetime.fromtimestamp((id_.int >> 80) / 1000, UTC)


def one_of(column: str, values: Iterable[StrEnum]) -> CheckConstraint:
    """The CHECK that keeps `column` to its StrEnum; tests compare the two, since Alembic does not."""
    allowed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({allowed})", name=column)


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


class Total(Base):
    """What was purged of a schedule's runs that were due in one month, in numbers: nobody's name is in them."""

    __tablename__ = "totals"

    schedule_key: Mapped[str] = mapped_column(ForeignKey("schedules.key"), primary_key=True)
    # UTC: `2026-11`.
    month: Mapped[str] = mapped_column(primary_key=True)
    # By kind (runs, documents, deliveries) and status.
    counts: Mapped[dict[str, Any]]


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
        Index(
            "ix_backfills_open",
            "created_at",
            postgresql_where=text("finished_at IS NULL"),
            sqlite_where=text("finished_at IS NULL"),
        ),
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


_UNSTARTED = "start_by IS NOT NULL AND started_at IS NULL AND finished_at IS NULL"
_OPEN = "finish_by IS NOT NULL AND finished_at IS NULL"
_TIMED = "stop_at IS NOT NULL AND finished_at IS NULL"


# As `ix_runs_triggered` says it, see ACTIVE_STEP.
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
        Index(
            "ix_runs_triggered",
            "trigger",
            "created_at",
            postgresql_where=text("trigger <> 'schedule'"),
            sqlite_where=text("trigger <> 'schedule'"),
        ),
        # What is asked at every fire: it must not grow with finished runs.
        Index(
            "ix_runs_open",
            "schedule_key",
            postgresql_where=text("finished_at IS NULL"),
            sqlite_where=text("finished_at IS NULL"),
        ),
        # What metrics count, minute by minute.
        Index("ix_runs_started_at", "started_at"),
        Index("ix_runs_finished_at", "finished_at"),
        # What has not started, or finished, in time: it must not grow with those that have.
        Index("ix_runs_start_by", "start_by", postgresql_where=text(_UNSTARTED), sqlite_where=text(_UNSTARTED)),
        Index("ix_runs_finish_by", "finish_by", postgresql_where=text(_OPEN), sqlite_where=text(_OPEN)),
        # What has used up its time.
        Index("ix_runs_stop_at", "stop_at", postgresql_where=text(_TIMED), sqlite_where=text(_TIMED)),
        Index(
            "ix_runs_unfinished",
            "status",
            postgresql_where=text("finished_at IS NULL"),
            sqlite_where=text("finished_at IS NULL"),
        ),
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
        Index(
            "ix_steps_active",
            "status",
            "not_before",
            postgresql_where=text("status IN ('queued', 'running')"),
            sqlite_where=text("status IN ('queued', 'running')"),
        ),
        Index("ix_steps_task_id", "task_id"),
        # Who waits for a place in a pool, in the order in which they are called.
        Index(
            "ix_steps_waiting",
            "pool",
            "priority",
            "place_wanted_at",
            postgresql_where=text("place_wanted_at IS NOT NULL AND status = 'queued'"),
            sqlite_where=text("place_wanted_at IS NOT NULL AND status = 'queued'"),
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
    # The outbox: a queued step without it has no message yet.
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


class Approval(Base):
    """A run that asks a person whether it may send what it has made, and the answer."""

    __tablename__ = "approvals"
    __table_args__ = (
        UniqueConstraint("run_id", "generation"),
        one_of("answer", Answer),
        # What reconcile reads.
        Index(
            "ix_approvals_open",
            "asked_at",
            postgresql_where=text("answer IS NULL"),
            sqlite_where=text("answer IS NULL"),
        ),
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


class Artifact(Base):
    __tablename__ = "artifacts"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    sha256: Mapped[str]
    kind: Mapped[str]
    media_type: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    # Contains the sha256: whoever writes late cannot overwrite other bytes.
    uri: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None] = mapped_column(index=True)


class Document(Base):
    __tablename__ = "documents"
    __table_args__ = (
        UniqueConstraint("run_id", "key"),
        one_of("status", DocumentStatus),
        Index("ix_documents_run_id_batch", "run_id", "batch"),
        # What is counted by status, and listed where something went wrong: not through all that a document says.
        Index("ix_documents_run_id_status", "run_id", "status"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"))
    key: Mapped[str]
    batch: Mapped[int | None]
    rows: Mapped[int]
    status: Mapped[str]
    error: Mapped[str | None]
    pages: Mapped[int | None]
    # What the message about it says: key figures and summary, as computed when it was rendered.
    context: Mapped[dict[str, Any] | None]


class RunArtifact(Base):
    """Which artifact a run knows under which name: datasets, batches, the template bundle, documents."""

    __tablename__ = "run_artifacts"
    __table_args__ = (
        Index("ix_run_artifacts_artifact_id", "artifact_id"),
        Index("ix_run_artifacts_document_id", "document_id"),
    )

    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    artifact_id: Mapped[UUID] = mapped_column(ForeignKey("artifacts.id"))
    document_id: Mapped[UUID | None] = mapped_column(ForeignKey("documents.id"))
    format: Mapped[str | None]


class Recipient(Base):
    __tablename__ = "recipients"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    address: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str | None]
    locale: Mapped[str | None]
    zone: Mapped[str | None]
    seen_at: Mapped[datetime]


class Suppression(Base):
    __tablename__ = "suppressions"

    address: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]
    source: Mapped[str]
    created_at: Mapped[datetime]


class OptOut(Base):
    """An address that wants no more of one schedule's reports; others go on."""

    __tablename__ = "opt_outs"

    address: Mapped[str] = mapped_column(primary_key=True)
    schedule_key: Mapped[str] = mapped_column(ForeignKey("schedules.key"), primary_key=True)
    source: Mapped[str]
    created_at: Mapped[datetime]


class Subscription(Base):
    """One person who gets one schedule's report: of one key where it is split. Who ends it keeps the row."""

    __tablename__ = "subscriptions"
    __table_args__ = (
        UniqueConstraint("schedule_key", "address", "key"),
        one_of("status", SubscriptionStatus),
        Index("ix_subscriptions_address", "address"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    schedule_key: Mapped[str] = mapped_column(ForeignKey("schedules.key"))
    address: Mapped[str]
    key: Mapped[str]
    name: Mapped[str | None]
    locale: Mapped[str | None]
    zone: Mapped[str | None]
    status: Mapped[str] = mapped_column(default=SubscriptionStatus.ACTIVE)
    # How it came about: who typed it, or from which file.
    source: Mapped[str]
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[str | None]


# As `ix_deliveries_deferred` says it, see ACTIVE_STEP.
DEFERRED_DELIVERY = text("deliveries.status = 'deferred'")


class Delivery(Base):
    __tablename__ = "deliveries"
    __table_args__ = (
        # `repeat` 0 is what was planned; a person who has it sent once more makes 1, 2 …
        UniqueConstraint("run_id", "channel", "address", "key", "repeat"),
        one_of("channel", Channel),
        one_of("status", DeliveryStatus),
        one_of("phase", Phase),
        Index("ix_deliveries_run_id_batch", "run_id", "batch"),
        # What a run's page counts, and lists status by status: from the index alone.
        Index("ix_deliveries_run_id_status_key", "run_id", "status", "key"),
        Index("ix_deliveries_address", "address"),
        Index("ix_deliveries_key", "key"),
        Index("ix_deliveries_document_id", "document_id"),
        Index("ix_deliveries_repeat_of", "repeat_of"),
        Index(
            "ix_deliveries_content",
            "run_id",
            postgresql_where=text("cause = 'content'"),
            sqlite_where=text("cause = 'content'"),
        ),
        Index(
            "ix_deliveries_deferred",
            "not_before",
            postgresql_where=text("status = 'deferred'"),
            sqlite_where=text("status = 'deferred'"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"))
    document_id: Mapped[UUID | None] = mapped_column(ForeignKey("documents.id"))
    channel: Mapped[str]
    address: Mapped[str]
    key: Mapped[str]
    repeat: Mapped[int] = mapped_column(default=0)
    repeat_of: Mapped[UUID | None] = mapped_column(ForeignKey("deliveries.id"))
    batch: Mapped[int | None]
    # The step attempt that claimed it: every later write is guarded by this id.
    attempt_id: Mapped[UUID | None]
    status: Mapped[str]
    # `dot`: the server may own the message from here on (RFC 1047).
    phase: Mapped[str | None]
    generation: Mapped[int] = mapped_column(default=1)
    context: Mapped[dict[str, Any]]
    message_id: Mapped[str | None]
    relay: Mapped[str | None]
    # How often a server turned it away for now.
    deferrals: Mapped[int] = mapped_column(default=0)
    reply: Mapped[str | None]
    reason: Mapped[str | None]
    # The class of the last answer (replies.Kind): what stop rules count by.
    cause: Mapped[str | None]
    not_before: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]


class DeliveryDocument(Base):
    """Which documents a message carries that carries several (`combine: true`)."""

    __tablename__ = "delivery_documents"
    __table_args__ = (Index("ix_delivery_documents_document_id", "document_id"),)

    delivery_id: Mapped[UUID] = mapped_column(ForeignKey("deliveries.id"), primary_key=True)
    document_id: Mapped[UUID] = mapped_column(ForeignKey("documents.id"), primary_key=True)


class DeliveryAttempt(Base):
    """One thing that happened to a delivery; appended, never changed."""

    __tablename__ = "delivery_attempts"
    __table_args__ = (Index("ix_delivery_attempts_delivery_id", "delivery_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    delivery_id: Mapped[UUID] = mapped_column(ForeignKey("deliveries.id"))
    attempt_id: Mapped[UUID]
    at: Mapped[datetime]
    event: Mapped[str]
    relay: Mapped[str | None]
    code: Mapped[int | None]
    text: Mapped[str | None]


class Relay(Base):
    """How a mail relay is doing, for every worker: stopped by a person, blocked, down, or slowed down.

    `name` is its host and port; the row `*` is the brake over all of them.
    """

    __tablename__ = "relays"

    name: Mapped[str] = mapped_column(primary_key=True)
    stopped_at: Mapped[datetime | None]
    stopped_by: Mapped[str | None]
    stop_reason: Mapped[str | None]
    # It refuses us, whoever the recipient is; a URL with another fingerprint deserves another try.
    blocked_at: Mapped[datetime | None]
    block_reason: Mapped[str | None]
    fingerprint: Mapped[str | None]
    # The circuit breaker: closed, or open until an instant after which one process tries.
    down_since: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(default=0)
    open_until: Mapped[datetime | None]
    last_error: Mapped[str | None]
    last_answer_at: Mapped[datetime | None]
    # Messages a second that it may get after it said "too fast", of those that it got until then.
    pace: Mapped[float | None]
    full_pace: Mapped[float | None]
    paced_at: Mapped[datetime | None]


class RateUse(Base):
    """What one rate let through lately, for every worker; `spans` as `rates.Window` keeps them."""

    __tablename__ = "rate_uses"

    name: Mapped[str] = mapped_column(primary_key=True)
    spans: Mapped[list[Any]]


class RunEvent(Base):
    """A line of a run's history that is no attempt: healed, skipped, published again."""

    __tablename__ = "run_events"
    __table_args__ = (Index("ix_run_events_run_id", "run_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"))
    at: Mapped[datetime]
    kind: Mapped[str]
    text: Mapped[str]


class Notice(Base):
    """Something that somebody should know; `kind` (pipeline/notice.py) names the folder with its words, hence no CHECK.

    Several rows may tell of one matter (a schedule that fails every minute); those without `told_at` were kept back.
    """

    __tablename__ = "notices"
    __table_args__ = (
        UniqueConstraint("subject", "kind", "episode"),
        Index("ix_notices_run_id", "run_id"),
        Index("ix_notices_created_at", "created_at"),
        Index(
            "ix_notices_open",
            "kind",
            "subject",
            postgresql_where=text("closed_at IS NULL"),
            sqlite_where=text("closed_at IS NULL"),
        ),
        Index(
            "ix_notices_told",
            "subject",
            "kind",
            "told_at",
            postgresql_where=text("told_at IS NOT NULL"),
            sqlite_where=text("told_at IS NOT NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    subject: Mapped[str]
    kind: Mapped[str]
    episode: Mapped[str]
    schedule_key: Mapped[str | None]
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("runs.id"))
    facts: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    told_at: Mapped[datetime | None]
    # How long nothing more of the same is told: an index into `notice.QUIET`.
    level: Mapped[int] = mapped_column(default=0)
    # When the matter ended; at once for one that cannot end.
    closed_at: Mapped[datetime | None]


class NoticeDelivery(Base):
    """One notice on its way to one address or webhook."""

    __tablename__ = "notice_deliveries"
    __table_args__ = (
        UniqueConstraint("notice_id", "target"),
        one_of("status", NoticeStatus),
        Index("ix_notice_deliveries_target_sent_at", "target", "sent_at"),
        Index(
            "ix_notice_deliveries_waiting",
            "not_before",
            postgresql_where=text("status = 'waiting'"),
            sqlite_where=text("status = 'waiting'"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    notice_id: Mapped[UUID] = mapped_column(ForeignKey("notices.id"))
    target: Mapped[str]
    # The message it went into, with others for the same target: the same on every attempt.
    letter_id: Mapped[UUID | None]
    status: Mapped[str] = mapped_column(default=NoticeStatus.WAITING)
    attempts: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[datetime]
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    # What the other side said last.
    answer: Mapped[str | None]
    sent_at: Mapped[datetime | None]


class Tally(Base):
    """What a metric has counted up to an instant: rows that are purged later, or lie on another host, stay counted."""

    __tablename__ = "tallies"

    name: Mapped[str] = mapped_column(primary_key=True)
    until: Mapped[datetime]
    # By bucket or label.
    values: Mapped[dict[str, Any]]


class Heartbeat(Base):
    __tablename__ = "heartbeats"

    name: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    detail: Mapped[dict[str, Any] | None]


class ApiToken(Base):
    """What an application shows to be let in. Only its digest is kept: the token itself is told once."""

    __tablename__ = "api_tokens"
    __table_args__ = (one_of("scope", Scope),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    # How it begins, so that people can tell which one they hold.
    prefix: Mapped[str]
    digest: Mapped[str] = mapped_column(unique=True)
    scope: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class User(Base):
    """Who may log in to the console with a password, of which an argon2 hash is kept."""

    __tablename__ = "users"
    __table_args__ = (one_of("role", Scope),)

    name: Mapped[str] = mapped_column(primary_key=True)
    password: Mapped[str]
    role: Mapped[str]
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class Login(Base):
    """Somebody who is logged in to the console: as a user, or without one by a link that was used once."""

    __tablename__ = "logins"
    __table_args__ = (one_of("role", Scope), Index("ix_logins_user_name", "user_name"))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    role: Mapped[str]
    user_name: Mapped[str | None] = mapped_column(ForeignKey("users.name"))
    address: Mapped[str | None]
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]


class LoginLink(Base):
    """A link that logs in once, as `name`; whoever uses it deletes the row. Only its digest is kept."""

    __tablename__ = "login_links"
    __table_args__ = (one_of("role", Scope),)

    digest: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    role: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class LoginAttempt(Base):
    """A password that was tried, and was not right: what the number of further tries is limited by."""

    __tablename__ = "login_attempts"
    __table_args__ = (
        Index("ix_login_attempts_who_at", "who", "at"),
        Index("ix_login_attempts_address_at", "address", "at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    # A digest of the name that was typed: people type passwords there, too.
    who: Mapped[str]
    address: Mapped[str]
    at: Mapped[datetime]


class Broker(Base):
    """What a broker was marked with: one without its mark was emptied, and with it whatever it was to hand out."""

    __tablename__ = "brokers"

    # Its kind, host and database; no password.
    name: Mapped[str] = mapped_column(primary_key=True)
    mark: Mapped[str]
    marked_at: Mapped[datetime]


class Audit(Base):
    """Who did what, through which door, from where. The database itself refuses to change or delete a row."""

    __tablename__ = "audit"
    __table_args__ = (
        one_of("source", Door),
        Index("ix_audit_at", "at"),
        Index("ix_audit_subject", "subject"),
        Index("ix_audit_schedule_key", "schedule_key"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    at: Mapped[datetime]
    action: Mapped[str]
    # What it was done to: `run` and its id, `schedule` and its key. No foreign keys: the record outlives it.
    kind: Mapped[str]
    subject: Mapped[str]
    schedule_key: Mapped[str | None]
    by: Mapped[str]
    source: Mapped[str]
    address: Mapped[str | None]
    detail: Mapped[dict[str, Any]]
