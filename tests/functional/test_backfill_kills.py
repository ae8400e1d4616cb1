"""A backfill whose maker is killed at any point: reconcile goes on, and each slot has its run once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from pipeline import healing
from pipeline.adapters.home import Loaded
from pipeline.db import reading, transaction
from pipeline.models import Backfill, Run, Schedule, Slot
from pipeline.services import loading
from tests.factories import schedule_file

BEGIN = datetime(2026, 11, 16, tzinfo=UTC)
# More than two chunks of them.
SLOTS = 1100


@pytest.fixture
def minutely(database):
    with transaction() as session:
        loading.sync(session, Loaded({"minutely": schedule_file("minutely", when="* * * * *")}))
        session.get_one(Schedule, "minutely").high_water_mark = BEGIN + timedelta(minutes=SLOTS - 1)


def backfill(failpoints):
    words = ["backfill", "minutely", "--from", BEGIN.isoformat(), "--to", "2026-11-18", "--concurrency", "2", "--yes"]
    call = f"from pipeline.cli import main; import sys; sys.argv = {['pipeline', *words]!r}; main()"
    environment = {**os.environ, "PIPELINE_FAILPOINTS": failpoints, "PIPELINE_BROKER_URL": "redis://127.0.0.1:1"}
    return subprocess.run([sys.executable, "-c", call], env=environment, capture_output=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("place", "rows"),
    [("backfills.chunk=kill:1", 0), ("backfills.runs=kill:2", 500), ("backfills.chunk=kill:3", 1000)],
)
def test_whoever_is_killed_each_slot_has_its_run_once(minutely, place, rows):
    killed = backfill(place)
    with reading() as session:
        assert (killed.returncode, len(session.scalars(select(Slot)).all())) == (-signal.SIGKILL, rows)
        (backfill_id,) = session.scalars(select(Backfill.id))
    begun = set()
    for _ in range(4):
        begun |= healing.heal()

    with reading() as session:
        runs = session.scalars(select(Run)).all()
        assert session.get_one(Backfill, backfill_id).filled_at
        slots = session.execute(select(Slot.due_at, Slot.run_id)).all()
    assert sorted(due_at for due_at, _ in slots) == [BEGIN + timedelta(minutes=n) for n in range(SLOTS)]
    assert {run_id for _, run_id in slots} == {run.id for run in runs}
    assert Counter(run.status for run in runs) == {"queued": 2, "waiting": SLOTS - 2}
    assert begun == {run.id for run in runs if run.status == "queued"}
