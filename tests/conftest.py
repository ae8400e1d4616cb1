"""What every test can ask for: a home of its own, and a database with all tables in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import db
from pipeline.settings import settings


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


@pytest.fixture
def database(home: Path) -> Iterator[Path]:
    """The home with an SQLite database of its own, as the newest migration leaves it."""
    from pipeline.models import Base

    forget_engine()
    Base.metadata.create_all(db.engine())
    yield home
    forget_engine()


def forget_engine() -> None:
    """Close the process's engine: the next one is made from the settings as they are then."""
    if db._engine is not None:
        db._engine[1].dispose()
        db._engine = None
