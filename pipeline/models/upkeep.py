"""How the installation itself is doing: signs of life, metrics, and the brokers it knows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from pipeline.models.base import Base


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


class Broker(Base):
    """What a broker was marked with: one without its mark was emptied, and with it whatever it was to hand out."""

    __tablename__ = "brokers"

    # Its kind, host and database; no password.
    name: Mapped[str] = mapped_column(primary_key=True)
    mark: Mapped[str]
    marked_at: Mapped[datetime]
