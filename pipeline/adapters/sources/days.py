"""Finds a query that compares days with instants, which would shift its period, before it runs."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnClause, Connection, Date, column, inspect, select, table
from sqlalchemy.exc import NoSuchTableError, SAWarning

from pipeline.adapters.sources.binding import without_text
from pipeline.adapters.sources.sql import Database
from pipeline.errors import PipelineError
from pipeline.report import Source

_NAME = r'([\w."]+)'
_SIGN = r"\s*(?:[<>]=?|=|\bbetween\b)\s*"
_COMPARED = re.compile(rf"{_NAME}{_SIGN}:(?:start|end)\b|:(?:start|end){_SIGN}{_NAME}", re.IGNORECASE)
_READ = re.compile(rf"\b(?:from|join)\s+{_NAME}", re.IGNORECASE)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# Values looked at where the column's type does not tell, as in SQLite.
_LOOKED_AT = 200


def days_compared(source: Source, database: Database) -> str | None:
    """The column of days that the query compares with `:start` or `:end` while these are instants, or None.

    Whoever writes `time: utc` is believed. What cannot be found out is no mistake: only columns that stand right beside
    the sign are looked up, and a database that says nothing about its tables is left alone.
    """
    sqlite = database.dialect == "sqlite"
    meant = source.time == "utc" and "time" in source.model_fields_set
    # The local days' own midnights are compared rightly, except as text.
    if meant or source.time == "date" or (source.time == "naive_local" and not sqlite):
        return None
    text = without_text(str(source.sql))
    compared = {_parts(left or right)[-1].lower() for left, right in _COMPARED.findall(text)}
    if not compared:
        return None
    try:
        with database.session() as connection:
            return next(_of_days(connection, set(_READ.findall(text)), compared, by_values=sqlite), None)
    except (PipelineError, NotImplementedError):
        return None


def _parts(name: str) -> list[str]:
    """A name's parts as SQLAlchemy wants them: in lower case where they are not quoted."""
    return [part.strip('"') if part.startswith('"') else part.lower() for part in name.split(".")]


def _of_days(connection: Connection, names: set[str], compared: set[str], *, by_values: bool) -> Iterator[str]:
    look = inspect(connection)
    for name in sorted(names):
        *schema, table_name = _parts(name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SAWarning)  # of a column's type that SQLAlchemy does not know
                columns = look.get_columns(table_name, schema[-1] if schema else None)
        except NoSuchTableError:
            continue  # the name of a subquery
        for found in columns:
            if found["name"].lower() not in compared:
                continue
            if isinstance(found["type"], Date) if not by_values else _values_are_days(connection, name, found["name"]):
                yield found["name"]


def _values_are_days(connection: Connection, name: str, column_name: str) -> bool:
    *schema, table_name = _parts(name)
    one: ColumnClause[Any] = column(column_name)
    read = table(table_name, one, schema=schema[-1] if schema else None)
    values = connection.scalars(select(one).select_from(read).where(one.is_not(None)).limit(_LOOKED_AT)).all()
    return bool(values) and all(isinstance(value, str) and _DAY.fullmatch(value) for value in values)
