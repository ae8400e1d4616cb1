"""What people should know, and who was told of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.models.base import Base, index_of_part, new_id, one_of


class NoticeStatus(StrEnum):
    WAITING = "waiting"  # to be sent, or to be tried again
    SENT = "sent"
    FAILED = "failed"  # refused for good, or given up


class Notice(Base):
    """Something that somebody should know; `kind` (pipeline/notice.py) names the folder with its words, hence no CHECK.

    Several rows may tell of one matter (a schedule that fails every minute); those without `told_at` were kept back.
    """

    __tablename__ = "notices"
    __table_args__ = (
        UniqueConstraint("subject", "kind", "episode"),
        Index("ix_notices_run_id", "run_id"),
        Index("ix_notices_created_at", "created_at"),
        index_of_part("ix_notices_open", "kind", "subject", where="closed_at IS NULL"),
        index_of_part("ix_notices_told", "subject", "kind", "told_at", where="told_at IS NOT NULL"),
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
        index_of_part("ix_notice_deliveries_waiting", "not_before", where="status = 'waiting'"),
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
