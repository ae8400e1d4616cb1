"""The engine, short transactions, and the clock that everyone reads."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, func, select, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from pipeline import log
from pipeline.settings import settings

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
