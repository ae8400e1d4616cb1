"""Rows of a query over any SQLAlchemy URL: a read-only session, bound values only, streamed."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, CursorResult, Engine, bindparam, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool
from sqlalchemy.types import NullType

from pipeline.adapters.sources import dialects, sql_errors
from pipeline.adapters.sources.binding import Statement
from pipeline.adapters.sources.writer import DatasetWriter
from pipeline.errors import PermanentError, PipelineError


@dataclass
class Database:
    """A database that a source reads: `place` names it in errors; `timeout` (seconds) is for every round trip."""

    place: str
    url: URL
    home: Path
    timeout: float
    # When the round trip under way is overdue, on the monotonic clock.
    _limit: float = float("inf")

    @classmethod
    def at(cls, url: str, *, place: str, home: Path, timeout: float) -> Database:
        """Read a URL. Raises PermanentError if it is none, or is meant for asynchronous programs."""
        try:
            parsed = make_url(re.sub(r"^postgres://", "postgresql://", url))
        except ArgumentError:
            raise PermanentError(f"{place}: its URL must look like postgresql://user:password@host/database") from None
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        return cls(place, parsed, home, timeout)

    @property
    def dialect(self) -> str:
        return self.url.get_backend_name()

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """Open a read-only session and roll it back at the end; errors come out as the pipeline's."""
        engine = self._engine()
        try:
            with engine.connect() as connection:
                self.begin_round_trip()
                mariadb = bool(getattr(connection.dialect, "is_mariadb", False))
                for statement in dialects.preparation(connection.dialect.name, self.timeout, mariadb=mariadb):
                    connection.exec_driver_sql(statement)
                yield connection
        except DBAPIError as error:
            raise self._translated(error) from error
        except SQLAlchemyError as error:
            raise PermanentError(f"{self.place}: {error}") from error
        finally:
            engine.dispose()

    def begin_round_trip(self) -> None:
        self._limit = time.monotonic() + self.timeout

    def _engine(self) -> Engine:
        # Without their values, errors can be kept and shown.
        options: dict[str, Any] = {"poolclass": NullPool, "hide_parameters": True}
        if self.url.drivername in {"sqlite", "sqlite+pysqlite"}:
            path = dialects.sqlite_file(self.url.database, self.home, self.place)
            options["creator"] = lambda: dialects.open_sqlite(path, lambda: time.monotonic() > self._limit)
        else:
            options["connect_args"] = dialects.connect_arguments(self.url.drivername, self.timeout)
        try:
            engine = create_engine(self.url, **options)
        except (NoSuchModuleError, ImportError) as error:
            command = dialects.driver_command(self.url.drivername)
            raise PermanentError(
                f"{self.place}: the driver of {self.url.drivername} is missing ({error}): {command}"
            ) from error
        if engine.dialect.is_async:
            raise PermanentError(
                f"{self.place}: {engine.dialect.driver} is for asynchronous programs; name another driver"
            )
        if engine.dialect.driver == "psycopg":
            event.listen(engine, "connect", dialects.bind_in_the_client)
        return engine

    def _translated(self, error: DBAPIError) -> PipelineError:
        password = self.url.password
        return sql_errors.translated(error, self.place, str(password) if password else None, _where(error))


def stream(database: Database, sql: str, values: Mapping[str, Any], writer: DatasetWriter) -> None:
    """Append the query's rows to `writer`, a chunk at a time; `values` has a value for each name in the query.

    Raises PermanentError for a query that is wrong, gives no rows at all or two columns of one name, TransientError
    for what passes by itself (connection, time-out, lock).
    """
    with _answered(database, sql, values) as result:
        _stream(database, result, writer)


def first_value(database: Database, sql: str, values: Mapping[str, Any]) -> Any:
    """Give the one value of the query's one row, None where it gives no row; raises as `stream` does.

    A query that gives more is refused: which of the values would count?
    """
    with _answered(database, sql, values) as result:
        if not result.returns_rows:
            raise PermanentError(f"{database.place}: the query gives no value: it has to be a SELECT")
        rows = result.fetchmany(2)
    if len(rows) > 1:
        raise PermanentError(f"{database.place}: the query gives several rows: one value is asked for, as of count(*)")
    if rows and len(rows[0]) > 1:
        raise PermanentError(f"{database.place}: the query gives {len(rows[0])} columns: one value is asked for")
    return rows[0][0] if rows else None


@contextmanager
def _answered(database: Database, sql: str, values: Mapping[str, Any]) -> Iterator[CursorResult[Any]]:
    statement = Statement.parse(sql)
    given = dialects.bound(database.dialect, values)
    # No type: the driver sends each value as what it is, and the server fits it to the column, as psql does.
    parameters = [bindparam(name, given[name], type_=NullType()) for name in statement.names]
    with database.session() as connection:
        streaming = connection.execution_options(stream_results=True)
        database.begin_round_trip()
        with streaming.execute(text(statement.text).bindparams(*parameters)) as result:
            yield result


def _stream(database: Database, result: CursorResult[Any], writer: DatasetWriter) -> None:
    if not result.returns_rows:
        raise PermanentError(f"{database.place}: the query returns no rows: a source needs a SELECT")
    columns = list(result.keys())
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise PermanentError(
            f"{database.place}: more than one column is named {', '.join(twice)}: tell them apart with AS"
        )
    # So that a query without rows still gives its columns.
    writer.append_values(dict.fromkeys(columns, ()), 0)
    while rows := result.fetchmany(writer.chunk_rows):
        writer.append_values(dict(zip(columns, zip(*rows, strict=True), strict=True)), len(rows))
        database.begin_round_trip()


def _where(error: DBAPIError) -> str:
    """Tell the line of the query that PostgreSQL points at; its own excerpt begins with what the driver put before."""
    found = re.search(r"^LINE (\d+): ", str(error.orig), re.MULTILINE)
    lines = (error.statement or "").splitlines()
    if not found or int(found[1]) > len(lines):
        return ""
    line = re.sub(r"%\((\w+)\)s", r":\1", lines[int(found[1]) - 1]).replace("%%", "%")
    return f", at line {found[1]}: {line.strip()}"
