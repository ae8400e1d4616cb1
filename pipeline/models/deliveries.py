"""The ledger: documents on their way to an address, and how the mail relays are doing."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.models.base import Base, index_of_part, new_id, one_of


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


class Phase(StrEnum):
    DOT = "dot"


# Deliveries that are still to be made, by themselves.
OPEN_DELIVERY = frozenset(
    {DeliveryStatus.PLANNED, DeliveryStatus.QUEUED, DeliveryStatus.SENDING, DeliveryStatus.DEFERRED}
)


# As `ix_deliveries_deferred` says it, see `steps.ACTIVE_STEP`.
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
        index_of_part("ix_deliveries_repeat_of", "repeat_of", where="repeat_of IS NOT NULL"),
        index_of_part("ix_deliveries_content", "run_id", where="cause = 'content'"),
        index_of_part("ix_deliveries_deferred", "not_before", where="status = 'deferred'"),
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
    """What one rate let through lately, for every worker; `spans` as `rates.Window` keeps them.

    `held`: how many of its places are at which step attempt.
    """

    __tablename__ = "rate_uses"

    name: Mapped[str] = mapped_column(primary_key=True)
    spans: Mapped[list[Any]]
    held: Mapped[dict[str, Any]]
