"""Who may do what, and who did what."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.models.base import Base, new_id, one_of


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
