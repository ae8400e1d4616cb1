"""What the services' tests share: both databases, and a time that stands still on both until a test moves it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from freezegun.api import FrozenDateTimeFactory
from sqlalchemy import Engine

from pipeline import db
from tests.conftest import sharing
from tests.factories import MONDAY
from tests.postgresql import administer

# PostgreSQL looks in `public` before its own catalogue here: clock_timestamp() is ours, and stands still.
FIRST_PUBLIC = "-csearch_path%3Dpublic,pg_catalog"
CLOCK = """
    CREATE SCHEMA story;
    CREATE TABLE story.clock (at timestamptz NOT NULL);
    INSERT INTO story.clock VALUES (pg_catalog.clock_timestamp());
    CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
        AS 'SELECT at FROM story.clock';
"""


class Time:
    """Now, for this process and for the database; it begins at MONDAY and stands still."""

    def __init__(self, move: Callable[[datetime], None]) -> None:
        self._move, self.now = move, MONDAY

    def move_to(self, instant: datetime) -> datetime:
        self._move(instant)
        self.now = instant
        return instant

    def passes(self, **duration: float) -> datetime:
        return self.move_to(self.now + timedelta(**duration))


@pytest.fixture(scope="session")
def postgresql_engine(postgresql_server: str) -> Iterator[Engine]:
    from pipeline.models import Base

    administer(postgresql_server, "CREATE DATABASE services")
    engine = db.make_engine(f"postgresql+psycopg://postgres@/services?host={postgresql_server}&options={FIRST_PUBLIC}")
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(CLOCK)
    yield engine
    engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home with an empty database, SQLite or PostgreSQL; each is made once."""
    engine: Engine = request.getfixturevalue(f"{request.param}_engine")
    if request.param == "postgresql":
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE story.clock SET at = pg_catalog.clock_timestamp()")
    yield from sharing(home, engine, monkeypatch)


@pytest.fixture
def sqlite_database(home: Path, sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home with an empty SQLite database: for what asks nothing of a database that the two answer differently."""
    yield from sharing(home, sqlite_engine, monkeypatch)


@pytest.fixture
def time(frozen: FrozenDateTimeFactory, database: Path) -> Time:
    """The clock of the story, at MONDAY: 07:00 in Berlin, when the shipments are due."""
    engine = db.engine()

    def move(instant: datetime) -> None:
        frozen.move_to(instant)
        if engine.dialect.name == "postgresql":
            with engine.begin() as connection:
                connection.exec_driver_sql(f"UPDATE story.clock SET at = '{instant.isoformat()}'")

    time = Time(move)
    time.move_to(MONDAY)
    return time
