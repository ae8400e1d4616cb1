"""What every test can ask for: a home of its own, and a database with all tables in it."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import freezegun
import pytest
import structlog
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from sqlalchemy import Engine

from pipeline import db
from pipeline.services import plans
from pipeline.settings import settings
from tests.postgresql import postgresql_server, postgresql_url

__all__ = ["postgresql_server", "postgresql_url"]

# Containers often say so, to keep an image small; here each of some hundred processes would compile the same modules.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# It reads no clock, and the datetimes that freezegun would put in its place forget `fold`.
freezegun.configure(extend_ignore_list=["pipeline.timing"])
# The test runner's own clock goes on.
freezegun.configure(extend_ignore_list=["_pytest.timing", "pytest_timeout", "execnet"])

# A machine that stands still for a moment fails no test, and each run tries the same examples; others are tried by
# `pytest --hypothesis-profile default`.
hypothesis_settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("suite")

# What is logged in a test is read by nobody who needs each frame's variables, drawn in boxes.
structlog.dev.ConsoleRenderer.get_active().exception_formatter = structlog.dev.plain_traceback


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported and collected stays: to look for garbage in it again and again takes a twentieth of all."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests are run by one process, which makes what they share once; the files come as they are collected.

    Those that start whole pipelines are before the many small ones, which fill up the end: xdist's own order, by the
    number of tests, leaves one process alone with the longest.
    """
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


@pytest.fixture
def logs() -> Iterator[None]:
    """Whoever sends the logs of this process somewhere, as commands do, sends those of this test alone."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: None) -> Iterator[Path]:
    """An empty home: its schedules/ is there, and no setting of the machine reaches the test."""
    for name in [name for name in os.environ if name.startswith("PIPELINE_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "home"
    (folder / "schedules").mkdir(parents=True)
    monkeypatch.setenv("PIPELINE_HOME", str(folder))
    settings.cache_clear()
    plans.forget()
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
def database_file(home: Path, empty_database: Path) -> Iterator[Path]:
    """The home with an SQLite database of its own, as the newest migration leaves it."""
    forget_engine()
    (home / "var").mkdir()
    shutil.copy(empty_database, home / "var" / "pipeline.db")
    yield home
    forget_engine()


@pytest.fixture(scope="session")
def sqlite_engine(empty_database: Path) -> Iterator[Engine]:
    """In memory where there is a folder for that: thousands of commits would wait for the disk, milliseconds each."""
    memory = Path("/dev/shm")  # less than a megabyte: containers have 64 of them
    with tempfile.TemporaryDirectory(prefix="pipeline-", dir=memory if os.access(memory, os.W_OK) else None) as folder:
        engine = db.make_engine(f"sqlite:///{shutil.copy(empty_database, folder)}")
        yield engine
        engine.dispose()


@pytest.fixture
def database(home: Path, sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home with an SQLite database that all tests share, empty again for each."""
    (home / "var").mkdir()
    yield from sharing(home, sqlite_engine, monkeypatch)


def sharing(home: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Lend the process an engine for one test, its tables empty: a new one would compile every statement anew."""
    monkeypatch.setenv("PIPELINE_DATABASE_URL", engine.url.render_as_string(hide_password=False))
    settings.cache_clear()
    forget_engine()
    with engine.begin() as connection:
        # At once: each by itself, forty statements take a tenth of the time of a test.
        driver = connection.connection.driver_connection
        if engine.dialect.name == "sqlite":
            driver.executescript(f"BEGIN;{_emptied()}COMMIT")
        else:
            driver.execute(_emptied())
    db._engine = (os.getpid(), engine)
    yield home
    if db._engine != (os.getpid(), engine):
        forget_engine()  # the test's own
    db._engine = None


@cache
def _emptied() -> str:
    from pipeline.models import Base

    return "".join(f"DELETE FROM {table.name};" for table in reversed(Base.metadata.sorted_tables))


def forget_engine() -> None:
    """Close the process's engine: the next one is made from the settings as they are then."""
    if db._engine is not None:
        db._engine[1].dispose()
        db._engine = None
