"""Files become rows: what is new, changed or gone, and what an edit does to the slots around it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from pipeline.adapters.home import Loaded
from pipeline.db import reading, transaction
from pipeline.errors import Refused
from pipeline.models import BadFile, Notice, NoticeDelivery, ScheduleRevision
from pipeline.services import audit, loading
from pipeline.services.loading import Synced
from tests.factories import MONDAY, SHIPMENTS, make_schedule, schedule_file
from tests.unit.services import acts
from tests.unit.services.looks import at, change, fire, row, slots, sync, utc

pytestmark = pytest.mark.usefixtures("time")
WEEK, HOUR = timedelta(days=7), timedelta(hours=1)
only_postgresql = pytest.mark.parametrize(
    "database", [pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True
)


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


def test_a_bad_files_last_good_revision_goes_on_and_its_mistake_is_kept_until_it_is_mended(time):
    sync(schedule_file("a"), schedule_file("b"))
    broken = time.passes(hours=1)
    assert sync(schedule_file("a"), wrong=["b"]) == Synced()
    assert row("b").next_due_at == MONDAY + WEEK

    time.passes(hours=1)
    sync(schedule_file("a"), wrong=["b"])
    with reading() as session:
        (bad,) = session.scalars(select(BadFile))
    assert (bad.file, bad.schedule_key, bad.since) == ("schedules/b.yaml", "b", broken)
    assert bad.error == "schedules/b.yaml: is wrong"

    sync(schedule_file("a"), schedule_file("b"))
    with reading() as session:
        assert session.scalars(select(BadFile)).all() == []


def test_a_bad_file_is_told_once_to_those_whom_its_schedule_named_and_so_is_its_mending(time):
    sync(schedule_file(notify="team@example.com"))
    for _ in range(3):
        sync(wrong=["shipments"])
    sync(schedule_file(notify="others@example.com"))
    with reading() as session:
        told = session.execute(select(Notice.kind, Notice.facts, NoticeDelivery.target).join(NoticeDelivery)).all()

    assert [(kind, target) for kind, _, target in told] == [
        ("file_refused", "team@example.com"),
        ("recovered", "team@example.com"),
    ]
    assert (told[0][1]["file"], told[0][1]["reason"]) == ("schedules/shipments.yaml", "is wrong")


def test_when_most_schedules_are_gone_they_go_on_and_the_others_are_loaded(time):
    sync(*(schedule_file(key) for key in "abcde"))

    synced = sync(schedule_file("a", description="changed"), schedule_file("new"), schedule_file("b"))
    assert synced == Synced(added=["new"], changed=["a"], withheld=["c", "d", "e"])
    assert synced.warning == (
        "3 schedules are gone from the folder, more than half of all: they go on; "
        "`pipeline sync --force` retires them if that is what you mean"
    )
    assert row("c").retired_at is None
    assert sync(schedule_file("a"), schedule_file("b"), schedule_file("new"), force=True).retired == ["c", "d", "e"]


@pytest.mark.parametrize("before", [["weekly"], ["weekly", "daily"]])
def test_the_only_schedules_of_a_small_home_may_be_renamed(time, before):
    sync(*(schedule_file(key) for key in before))

    assert sync(schedule_file("shipments")) == Synced(added=["shipments"], retired=sorted(before))


@pytest.mark.parametrize("there", [True, False], ids=["empty", "missing"])
def test_a_folder_without_any_file_is_refused_and_forced(time, home, there):
    sync(schedule_file())
    if not there:
        (home / "schedules").rmdir()
    found = "holds no schedule file" if there else "is not there"
    with pytest.raises(Refused, match=rf"schedules {found}: nothing was changed; is the home right \(PIPELINE_HOME\)"):
        sync()
    assert row().retired_at is None

    assert sync(force=True) == Synced(retired=["shipments"])


def test_a_folder_whose_only_file_is_wrong_is_no_empty_folder(time):
    sync(schedule_file())

    assert sync(wrong=["shipments"]) == Synced()


def test_who_only_refreshes_retires_nothing(time):
    sync(schedule_file("a"), schedule_file("b"))

    assert sync(schedule_file("a", description="new"), retire=False) == Synced(changed=["a"])
    assert row("b").retired_at is None


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


@only_postgresql
def test_loading_stops_no_schedule_that_stays_as_it_is(time):
    """A beat fires the one while a deployment that changes the other is not committed yet."""
    sync(at(8), schedule_file("other"))
    time.passes(hours=2)
    with transaction() as session:
        changed = {"shipments": at(8), "other": schedule_file("other", description="changed")}
        loading.sync(session, Loaded(changed), actor=audit.BEAT)
        with ThreadPoolExecutor(1) as beat:
            assert beat.submit(fire).result(timeout=30) == [MONDAY + HOUR]


def test_make_schedule_is_what_the_factories_promise(time):
    assert make_schedule("other").key == "other"
