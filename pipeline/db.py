"""The engine, short transactions, and the clock that everyone reads."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    create_engine,
    event,
    func,
    insert,
    literal,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from pipeline import copying, log
from pipeline.settings import settings

# Rows that one writing transaction inserts at most: SQLite's writers take turns, and nobody waits long.
CHUNK = 500
# Rows that are held at a time where many are read, and on PostgreSQL, where nobody has to wait, inserted by one COPY.
PORTION = 5000
# Seconds for which work that is done keeps trying to be recorded while the database is away: less than a step's time.
PERSIST_FOR = 600

# libpq's options: a server that has vanished without a word is noticed within half a minute, and not within a quarter
# of an hour.
IMPATIENT = {
    "connect_timeout": 10,
    "tcp_user_timeout": 30_000,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}

Columns = TypeVarTuple("Columns")
Value = TypeVar("Value")
logger = log.get(__name__)
_engine: tuple[int, Engine] | None = None


def engine() -> Engine:
    """The process's own engine; made anew after a fork, since connections cannot be shared."""
    global _engine  # noqa: PLW0603 - one engine a process is the point
    if _engine is None or _engine[0] != os.getpid():
        if _engine is not None:
            _engine[1].dispose(close=False)
        _engine = (os.getpid(), make_engine(settings().database_url))
    return _engine[1]


def make_engine(url: str) -> Engine:
    """An engine for SQLite (WAL) or PostgreSQL; its errors do not quote a statement's values, which logs would keep.

    PostgreSQL plans each statement anew: a plan that is kept was made for tables as they were, and a run may make a
    table of ten rows one of a million.
    """
    if not url.startswith("sqlite"):
        options = {**IMPATIENT, "prepare_threshold": None}
        return create_engine(url, pool_pre_ping=True, pool_size=5, connect_args=options, hide_parameters=True)
    made = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False}, hide_parameters=True)
    Path(made.url.database or "").parent.mkdir(parents=True, exist_ok=True)
    event.listen(made, "connect", _prepare_sqlite)
    event.listen(made, "begin", _begin_sqlite)
    return made


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver would otherwise open transactions by rules of its own
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("writing"):
        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if options.get('durable') else 'NORMAL'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writing") else "BEGIN")


@contextmanager
def reading() -> Iterator[Session]:
    """A session that only reads: no lock, nothing committed."""
    with Session(engine(), expire_on_commit=False) as session:
        yield session


@contextmanager
def transaction(*, durable: bool = True) -> Iterator[Session]:
    """One short writing transaction, committed at the end of the block.

    `durable`: on disk when the block ends, whatever happens to the machine. False spares the wait where
    losing the last moment costs only work (PostgreSQL: synchronous_commit off; SQLite: no fsync). It is wrong for what
    a step does before it is recorded: a database may crash, forget it, be back, and take the step for done.
    SQLite's writers queue on a file lock first: with its busy handler alone a planner starves the senders.
    """
    with writers_turn(), Session(engine(), expire_on_commit=False) as session:
        connection = session.connection(execution_options={"writing": True, "durable": durable})
        if connection.dialect.name == "postgresql":
            # Said either way: the server's own default may be off.
            connection.exec_driver_sql(f"SET LOCAL synchronous_commit TO {'ON' if durable else 'OFF'}")
        yield session
        session.commit()


def persist(write: Callable[[Session], Value], *, patience: float = PERSIST_FOR) -> Value:
    """Commit what `write` says, durably, and return its answer; a database that is away is waited for so many seconds.

    For what must not be lost on its account: work that is done, and messages, which its absence would use up.
    """
    started, wait = time.monotonic(), 0.25
    while True:
        try:
            with transaction() as session:
                answer = write(session)
        except DBAPIError as error:
            if not is_away(error) or time.monotonic() - started > patience:
                raise
            logger.warning("the database is away", error=str(error.orig))
            time.sleep(wait)
            wait = min(wait * 2, 5)
        else:
            return answer


@contextmanager
def writers_turn() -> Iterator[None]:
    """The turn of one SQLite writer among all processes and threads; nothing on PostgreSQL."""
    if engine().dialect.name != "sqlite":
        yield
        return
    lock = os.open(f"{engine().url.database}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        # Said, not left to the closing: a process that was forked meanwhile has it open as well, and would keep it.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


def clock(session: Session) -> datetime:
    """Now, in UTC, by the database's clock: a node whose own clock is wrong does no harm.

    PostgreSQL: clock_timestamp(), since now() is stale after a wait for a lock. SQLite: the host's clock.
    """
    if session.get_bind().dialect.name == "postgresql":
        now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
        return now.astimezone(UTC)
    return datetime.now(UTC)


def one_at_a_time(session: Session, what: str) -> None:
    """Wait until no other transaction does `what`, to the end of this one; SQLite has one writer anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"pipeline.{what}"))))


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


def is_away(error: DBAPIError) -> bool:
    """Whether the database could not be reached or was too busy: trying again may help."""
    words = (
        "connect",
        "resolve host",
        "translate host name",
        "closed",
        "terminat",
        "timeout",
        "timed out",
        "locked",
        "busy",
        "deadlock",
        "shutting down",
        "disk i/o",
        "unable to open",
    )
    # A row that is refused quotes values, and those may hold any word.
    of_the_server = isinstance(error, OperationalError | InterfaceError)
    return error.connection_invalidated or (of_the_server and any(word in str(error.orig).lower() for word in words))


def answers() -> str:
    """The database's own name and version, as a sign that it answers."""
    with engine().connect() as connection:
        query = (
            "SELECT version()" if connection.dialect.name == "postgresql" else "SELECT 'SQLite ' || sqlite_version()"
        )
        return str(connection.execute(text(query)).scalar_one())
