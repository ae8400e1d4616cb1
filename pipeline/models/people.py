"""Who is mailed, who subscribed, and who gets nothing any more."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.models.base import Base, new_id, one_of


class SubscriptionStatus(StrEnum):
    ACTIVE = "active"
    UNSUBSCRIBED = "unsubscribed"


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
