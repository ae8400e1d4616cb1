"""What the tables are made of: types of columns, ids, and constraints."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import uuid_utils.compat
from sqlalchemy import JSON, CheckConstraint, DateTime, Dialect, Index, MetaData, Text, TypeDecorator, text
from sqlalchemy.orm import DeclarativeBase


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


def index_of_part(name: str, *columns: str, where: str) -> Index:
    """An index of the rows for which `where` is true: it does not grow with the others."""
    return Index(name, *columns, postgresql_where=text(where), sqlite_where=text(where))
