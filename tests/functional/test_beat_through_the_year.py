"""Time travel: beat's own ticks through the days on which the clocks of six zones change, moved by what they return."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from freezegun import freeze_time
from sqlalchemy import select

from pipeline import beat
from pipeline.beat import SqlScheduler
from pipeline.db import reading
from pipeline.models import Run, Slot
from tests.broker import broker
from tests.factories import make_schedule

__all__ = ["broker"]
DAY, HALF_AN_HOUR = timedelta(days=1), timedelta(minutes=30)
# They read the time as well, and get on badly with one that stands still.
IGNORED = ["celery", "kombu", "redis", "sqlalchemy"]
# The zone, a fixed time that the clocks jump over or show twice on this day, and when (UTC) it is due.
CHANGES = [
    ("Europe/Berlin", "30 2 * * *", "2026-03-29T01:00"),  # does not exist: the first instant after the gap
    ("Europe/Berlin", "30 2 * * *", "2026-10-25T00:30"),  # comes twice: the first
    ("Europe/London", "30 1 * * *", "2026-03-29T01:00"),
    ("Europe/London", "30 1 * * *", "2026-10-25T00:30"),
    ("America/New_York", "30 2 * * *", "2026-03-08T07:00"),
    ("America/New_York", "30 1 * * *", "2026-11-01T05:30"),
    ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T15:30"),  # by half an hour
    ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T14:45"),
    ("America/Santiago", "30 0 * * *", "2026-09-06T04:00"),  # at midnight
    ("America/Santiago", "30 23 * * *", "2026-04-05T02:30"),
    ("Africa/Cairo", "30 0 * * *", "2026-04-23T22:00"),
    ("Africa/Cairo", "30 23 * * *", "2026-10-29T20:30"),
]


@pytest.mark.parametrize(("zone", "fixed", "due"), CHANGES, ids=[f"{zone} {due}" for zone, _, due in CHANGES])
def test_beat_fires_each_slot_at_its_very_instant_through_a_change_of_the_clocks(
    database, broker, monkeypatch, zone, fixed, due
):
    monkeypatch.setattr(beat, "TICK", 3600.0)  # a day of looks every second would take a minute
    due = datetime.fromisoformat(due).replace(tzinfo=UTC)
    start = due.replace(minute=0) - timedelta(hours=12)
    with freeze_time(start, ignore=IGNORED) as frozen:
        make_schedule("fixed", when={"cron": fixed, "timezone": zone}, overlap="allow")
        make_schedule("elapsed", when={"cron": "*/30 * * * *", "timezone": zone}, overlap="allow")
        scheduler = SqlScheduler(broker, lazy=True)
        while datetime.now(UTC) <= start + DAY:
            frozen.tick(scheduler.tick())

    at_once = fired("elapsed")
    assert at_once == [start + n * HALF_AN_HOUR for n in range(1, len(at_once) + 1)]
    assert len(at_once) == 48
    assert fired("fixed") == [due]


def fired(key):
    """The slots of the schedule, in order; each was decided at its very instant, and has its run."""
    with reading() as session:
        slots = session.scalars(select(Slot).where(Slot.schedule_key == key).order_by(Slot.due_at)).all()
        runs = session.scalars(select(Run).where(Run.schedule_key == key).order_by(Run.due_at)).all()
    assert [slot.run_id for slot in slots] == [run.id for run in runs]
    assert {run.created_at - run.due_at for run in runs} == {timedelta()}
    return [slot.due_at for slot in slots]
