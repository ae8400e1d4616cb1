"""What a test of schedules does and sees: files synced, a beat's look, rows."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import select

from pipeline.adapters.home import Loaded
from pipeline.db import reading, transaction
from pipeline.errors import DefinitionError
from pipeline.models import Schedule, Slot
from pipeline.services import firing, loading
from tests.factories import schedule_file


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


def sync(*files, wrong=(), **options):
    """Load these files; `wrong` are the keys of some that are there and cannot be read."""
    errors = {f"schedules/{key}.yaml": DefinitionError("is wrong", place=f"schedules/{key}.yaml") for key in wrong}
    with transaction() as session:
        return loading.sync(session, Loaded({file.key: file for file in files}, errors), **options)


def fire():
    """One look of a beat; the nominal times of the runs it opened."""
    with transaction() as session:
        return [run.due_at for run in firing.fire_due(session).fired]


def row(key="shipments"):
    with reading() as session:
        return session.get(Schedule, key)


def slots(key="shipments"):
    with reading() as session:
        found = session.scalars(select(Slot).where(Slot.schedule_key == key).order_by(Slot.due_at))
        return [(slot.due_at, slot.decision, slot.reason) for slot in found]


def change(key="shipments", **values):
    with transaction() as session:
        for name, value in values.items():
            setattr(session.get_one(Schedule, key), name, value)


def at(hour):
    """A schedule that is due every day at this hour in Berlin."""
    return schedule_file(when={"cron": f"0 {hour} * * *", "timezone": "Europe/Berlin"})
