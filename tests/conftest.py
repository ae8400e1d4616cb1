"""What every test can ask for: a home of its own, and a database with all tables in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import freezegun
import pytest

from pipeline import db
from pipeline.settings import settings
from tests.postgresql import postgresql_server, postgresql_url

__all__ = ["postgresql_server", "postgresql_url"]

# It reads no clock, and the datetimes that freezegun would put in its place forget `fold`.
freezegun.configure(extend_ignore_list=["pipeline.timing"])
# The test runner's own clock goes on.
freezegun.configure(extend_ignore_list=["_pytest.timing", "pytest_timeout", "execnet"])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home: its schedules/ is there, and no setting of the machine reaches the test."""
    for name in [name for name in os.environ if name.startswith("PIPELINE_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "home"
    (folder / "schedules").mkdir(parents=True)
    monkeypatch.setenv("PIPELINE_HOME", str(folder))
    settings.cache_clear()
    yield folder
    settings.cache_clear()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with all tables and no row, made once: copying it takes a millisecond."""
    from pipeline.models import Base

    path = tmp_path_factory.mktemp("database") / "pipeline.db"
    engine = db.make_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return path


@pytest.fixture
def database(home: Path, empty_database: Path) -> Iterator[Path]:
    """The home with an SQLite database of its own, as the newest migration leaves it."""
    forget_engine()
    (home / "var").mkdir()
    shutil.copy(empty_database, home / "var" / "pipeline.db")
    yield home
    forget_engine()


def forget_engine() -> None:
    """Close the process's engine: the next one is made from the settings as they are then."""
    if db._engine is not None:
        db._engine[1].dispose()
        db._engine = None
