"""Many rows at once: read in portions, looked for by their values, inserted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar, TypeVarTuple

from sqlalchemy import ColumnElement, Row, Select, func, insert, literal, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from pipeline import copying
from pipeline.db import engine

# Rows that one writing transaction inserts at most: SQLite's writers take turns, and nobody waits long.
CHUNK = 500
# Rows that are held at a time where many are read, and on PostgreSQL, where nobody has to wait, inserted by one COPY.
PORTION = 5000

Columns = TypeVarTuple("Columns")
Value = TypeVar("Value")


def ahead(parts: Iterator[list[Value]]) -> Iterator[list[Value]]:
    """The same portions, each of many made in a thread of its own while the one before it is on its way to the disk."""
    first = next(parts, None)
    if first is not None:
        yield first
    if first is None or len(first) < CHUNK:
        return  # there is no other
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        coming = thread.submit(next, parts, None)
        while (part := coming.result()) is not None:
            coming = thread.submit(next, parts, None)
            yield part


def among(session: Session, rows: Select[*Columns], values: Sequence[Any]) -> Iterator[Row[*Columns]]:
    """The `rows` whose first column is one of `values`, asked for portion by portion.

    For more values than there are rows, all rows are read once: a million addresses would be thousands of questions.
    """
    if len(values) > CHUNK and _are_at_most(session, rows, len(values)):
        wanted = set(values)
        yield from (row for row in session.execute(rows) if row[0] in wanted)  # type: ignore[misc]  # it has one
        return
    (column, *_) = rows.selected_columns
    size = PORTION if session.get_bind().dialect.name == "postgresql" else CHUNK
    for at in range(0, len(values), size):
        yield from session.execute(rows.where(is_one_of(session, column, values[at : at + size])))


def in_the_row(column: Any) -> Any:
    """The column's text as it stands in the row, which no index has: for what is asked of one batch of a run.

    By status PostgreSQL would go through all of a million that wait, for each of 2,000 batches, as long as its
    statistics know nothing of the run; in the order of keys SQLite does.
    """
    return column.concat("")


def is_one_of(session: Session, column: Any, values: Sequence[Any]) -> ColumnElement[bool]:
    """Whether the column is one of at most a portion of values; PostgreSQL is sent them as one, and plans at once."""
    if session.get_bind().dialect.name == "postgresql":
        found: ColumnElement[bool] = column == func.any(literal(values, postgresql.ARRAY(column.type)))
    else:
        found = column.in_(values)
    return found


def portions(rows: Iterator[Value], *, written: bool = False) -> Iterator[list[Value]]:
    """The rows in lists that are no burden; with `written`, of at most what one transaction inserts."""
    size = CHUNK if written and engine().dialect.name == "sqlite" else PORTION
    return iter(lambda: list(islice(rows, size)), [])


def _are_at_most(session: Session, rows: Select[*tuple[Any, ...]], count: int) -> bool:
    counted = select(func.count()).select_from(rows.limit(count + 1).subquery())
    return (session.scalar(counted) or 0) <= count


def insert_all(session: Session, table: Any, rows: list[dict[str, Any]]) -> None:
    """Insert the rows, all with the same columns: every column without a value of the database's own is named."""
    if rows:
        # Of the bare table: the ORM's INSERT would be compiled anew for each number of rows.
        session.connection().execute(insert(table.__table__), rows)


def insert_new(session: Session, table: Any, rows: list[dict[str, Any]]) -> int:
    """Insert the rows, all with the same columns, that are not there yet (any UNIQUE); how many were new."""
    on_postgresql = session.get_bind().dialect.name == "postgresql"
    if on_postgresql and len(rows) > CHUNK and copying.is_copied(session.connection(), table, rows):
        return len(rows)
    dialect = postgresql if on_postgresql else sqlite
    # Of the bare table and with the rows beside it: the statement is compiled once, and not anew for each of the rows,
    # which took nine tenths of the time. Without the option an INSERT's rowcount may be -1.
    statement = dialect.insert(table.__table__).on_conflict_do_nothing()
    connection, kept = session.connection(), {"preserve_rowcount": True}
    return sum(
        connection.execute(statement, rows[at : at + CHUNK], execution_options=kept).rowcount
        for at in range(0, len(rows), CHUNK)
    )
