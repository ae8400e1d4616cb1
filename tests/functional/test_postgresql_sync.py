"""Two deployments load the same new schedule files in the same moment: both succeed, each schedule is there once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import select

from pipeline import db
from pipeline.adapters.home import Loaded
from pipeline.models import Base, Schedule
from pipeline.services import loading
from pipeline.settings import settings
from tests.conftest import forget_engine
from tests.factories import schedule_file


@pytest.mark.postgresql
def test_two_syncs_at_once_take_turns(home, postgresql_url, monkeypatch):
    monkeypatch.setenv("PIPELINE_DATABASE_URL", postgresql_url)
    settings.cache_clear()
    forget_engine()
    Base.metadata.create_all(db.engine())
    files = {key: schedule_file(key) for key in ("daily", "monthly", "weekly")}
    together = Barrier(4)

    def sync(_):
        together.wait()
        with db.transaction() as session:
            return len(loading.sync(session, Loaded(files)).added)

    with ThreadPoolExecutor(4) as threads:
        added = list(threads.map(sync, range(4)))

    assert sorted(added) == [0, 0, 0, 3]
    with db.reading() as session:
        assert sorted(session.scalars(select(Schedule.key))) == ["daily", "monthly", "weekly"]
    forget_engine()
