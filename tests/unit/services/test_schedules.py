"""Files become rows: what is new, changed or gone, and what an edit does to the slots around it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from pipeline.db import reading
from pipeline.errors import Refused
from pipeline.models import ScheduleRevision
from pipeline.services.schedules import Synced
from tests.factories import MONDAY, SHIPMENTS, make_schedule, schedule_file
from tests.unit.services import acts
from tests.unit.services.looks import at, change, fire, row, slots, sync, utc

pytestmark = pytest.mark.usefixtures("time")
WEEK, HOUR = timedelta(days=7), timedelta(hours=1)


# ---- loading


def test_a_new_file_becomes_a_schedule_due_at_its_next_slot(time):
    assert sync(schedule_file()) == Synced(added=["shipments"])

    assert row().next_due_at == MONDAY + WEEK
    assert row().high_water_mark == MONDAY


def test_the_same_file_changes_nothing(time):
    sync(schedule_file())
    time.passes(hours=1)

    assert sync(schedule_file()) == Synced()
    assert row().changed_at == MONDAY


def test_columns_and_sources_stay_in_their_order_and_another_order_is_a_change(time):
    report = {**SHIPMENTS["report"], "columns": {"weight": "Weight", "day": "Day", "at": "At"}}
    sync(schedule_file(report=report))
    with reading() as session:
        kept = session.scalars(select(ScheduleRevision)).one()
    assert list(kept.definition["report"]["columns"]) == ["weight", "day", "at"]

    report["columns"] = dict(reversed(report["columns"].items()))
    assert sync(schedule_file(report=report)).changed == ["shipments"]


def test_a_changed_file_is_a_new_revision_and_the_old_one_stays(time):
    sync(schedule_file())
    now = time.passes(hours=1)
    changed = schedule_file(report={**SHIPMENTS["report"], "title": "Shipments"})

    assert sync(changed) == Synced(changed=["shipments"])
    assert (row().revision, row().changed_at) == (changed.revision, now)
    assert row().next_due_at == MONDAY + WEEK
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(ScheduleRevision)) == 2


def test_a_file_changed_back_takes_up_its_old_revision(time):
    sync(schedule_file())
    sync(schedule_file(description="for a day"))

    assert sync(schedule_file()) == Synced(changed=["shipments"])
    assert row().revision == schedule_file().revision


def test_a_file_that_is_gone_retires_its_schedule(time):
    sync(schedule_file("a"), schedule_file("b"))
    now = time.passes(hours=1)

    assert sync(schedule_file("a")) == Synced(retired=["b"])
    assert (row("b").retired_at, row("b").next_due_at) == (now, None)
    assert sync(schedule_file("a")) == Synced()


def test_a_file_that_comes_back_fires_for_nothing_it_missed(time):
    sync(schedule_file("a"), schedule_file("b"))
    sync(schedule_file("a"))
    time.passes(days=15)

    assert sync(schedule_file("a"), schedule_file("b")) == Synced(changed=["b"])
    assert (row("b").retired_at, row("b").next_due_at) == (None, MONDAY + 3 * WEEK)


def test_a_bad_files_last_good_revision_goes_on(time):
    sync(schedule_file("a"), schedule_file("b"))

    assert sync(schedule_file("a"), kept={"b"}) == Synced()
    assert row("b").next_due_at == MONDAY + WEEK


def test_more_than_half_of_the_schedules_gone_is_refused(time):
    sync(*(schedule_file(key) for key in "abc"))

    with pytest.raises(Refused) as refused:
        sync(schedule_file("a"))
    assert str(refused.value) == (
        "2 of 3 schedules are gone from the folder: nothing was changed; "
        "`pipeline sync --force` retires them if that is what you mean"
    )
    assert row("b").retired_at is None


def test_an_empty_folder_is_refused_and_forced(time):
    sync(schedule_file())
    with pytest.raises(Refused, match="1 of 1 schedules are gone"):
        sync()

    assert sync(force=True) == Synced(retired=["shipments"])


def test_half_of_them_may_go(time):
    sync(schedule_file("a"), schedule_file("b"))

    assert sync(schedule_file("b")).retired == ["a"]


def test_a_schedule_without_when_is_never_due(time):
    sync(schedule_file(when=None))
    time.passes(days=365)

    assert row().next_due_at is None
    assert fire() == []


# ---- editing `when`


def test_an_edited_when_never_fires_for_what_is_past(time):
    sync(at(12))
    time.passes(hours=2)  # 09:00 in Berlin
    sync(at(8))

    assert row().next_due_at == utc(2026, 11, 17, 7)
    assert fire() == []
    assert slots() == []


def test_an_edit_moves_the_next_slot_only_when_it_changes_when(time):
    sync(at(12))
    change(next_due_at=utc(2026, 11, 16, 11, 30))
    sync(schedule_file(when=at(12).definition["when"], description="to the point"))
    assert row().next_due_at == utc(2026, 11, 16, 11, 30)

    sync(at(13))
    assert row().next_due_at == utc(2026, 11, 16, 12)


def test_what_was_due_before_the_edit_is_decided_as_the_file_said_then(time):
    sync(at(8))
    time.passes(hours=1, seconds=1)  # due a second ago, and no beat has looked yet
    sync(at(12))

    assert slots() == [(MONDAY + HOUR, "fired", None)]
    assert (fire(), row().next_due_at) == ([], utc(2026, 11, 16, 11))
    time.passes(seconds=6)
    assert len(acts.heal()) == 1


def test_what_was_due_before_the_file_went_is_decided_too(time):
    sync(at(8), schedule_file("other"))
    time.passes(hours=1, seconds=1)
    sync(schedule_file("other"))

    assert slots() == [(MONDAY + HOUR, "fired", None)]


def test_make_schedule_is_what_the_factories_promise(time):
    assert make_schedule("other").key == "other"
