"""What the services' tests share: both databases, and a time that stands still on both until a test moves it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from freezegun import freeze_time
from freezegun.api import FrozenDateTimeFactory

from pipeline import db
from pipeline.settings import settings
from tests.conftest import forget_engine
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
def empty_postgresql(postgresql_server: str) -> str:
    """A PostgreSQL database with all tables, made once: emptying it is faster than making another."""
    from pipeline.models import Base

    administer(postgresql_server, "CREATE DATABASE services")
    url = f"postgresql+psycopg://postgres@/services?host={postgresql_server}&options={FIRST_PUBLIC}"
    engine = db.make_engine(url)
    Base.metadata.create_all(engine)
    engine.dispose()
    _say(url, CLOCK)
    return url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home with a database of its own, SQLite or PostgreSQL."""
    forget_engine()
    if request.param == "sqlite":
        (home / "var").mkdir()
        shutil.copy(request.getfixturevalue("empty_database"), home / "var" / "pipeline.db")
    else:
        url = request.getfixturevalue("empty_postgresql")
        monkeypatch.setenv("PIPELINE_DATABASE_URL", url)
        settings.cache_clear()
        _empty(url)
    yield home
    forget_engine()


@pytest.fixture(scope="module")
def frozen() -> Iterator[FrozenDateTimeFactory]:
    """Python's clock, stopped once a module: to stop it takes as long as most tests."""
    with freeze_time(MONDAY) as factory:
        yield factory


@pytest.fixture
def time(frozen: FrozenDateTimeFactory, database: Path) -> Time:
    """The clock of the story, at MONDAY: 07:00 in Berlin, when the shipments are due."""
    url = settings().database_url

    def move(instant: datetime) -> None:
        frozen.move_to(instant)
        if url.startswith("postgresql"):
            _say(url, f"UPDATE story.clock SET at = '{instant.isoformat()}'")

    time = Time(move)
    time.move_to(MONDAY)
    return time


def _empty(url: str) -> None:
    from pipeline.models import Base

    tables = [table.name for table in reversed(Base.metadata.sorted_tables)]
    _say(url, "; ".join(f"DELETE FROM {name}" for name in tables))
    _say(url, "UPDATE story.clock SET at = pg_catalog.clock_timestamp()")


def _say(url: str, statement: str) -> None:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(statement)
