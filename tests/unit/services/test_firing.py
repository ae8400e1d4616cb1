"""Every due slot opens one run or leaves a row that says why not, however many beats look at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipeline import db
from pipeline.db import reading, transaction
from pipeline.models import Run, ScheduleRevision, Slot
from pipeline.services import firing, runs
from pipeline.settings import settings
from tests.factories import MONDAY, schedule_file
from tests.unit.services import acts
from tests.unit.services.looks import at, change, fire, row, slots, sync, utc

pytestmark = pytest.mark.usefixtures("time")
WEEK, DAY, HOUR = timedelta(days=7), timedelta(days=1), timedelta(hours=1)
# SQLite has one writer: what happens between two of them happens on PostgreSQL alone.
only_postgresql = pytest.mark.parametrize(
    "database", [pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True
)


def test_a_due_slot_opens_one_run_for_its_nominal_time(time):
    sync(schedule_file())
    time.move_to(MONDAY + WEEK + timedelta(seconds=3))

    with transaction() as session:
        (fired,) = firing.fire_due(session).fired
        run = session.get_one(Run, fired.run_id)

    assert (run.due_at, run.created_at) == (MONDAY + WEEK, MONDAY + WEEK + timedelta(seconds=3))
    assert (run.trigger, run.triggered_by, run.period["label"]) == ("schedule", "beat", "2026-W47")
    assert acts.statuses(run) == {"start": "queued"}
    assert slots() == [(MONDAY + WEEK, "fired", None)]
    assert row().next_due_at == MONDAY + 2 * WEEK
    assert fire() == []


def test_a_slot_is_due_at_its_instant_and_not_before(time):
    sync(schedule_file())
    time.move_to(MONDAY + WEEK - timedelta(microseconds=1))
    assert fire() == []

    time.move_to(MONDAY + WEEK)
    assert fire() == [MONDAY + WEEK]


def test_the_slots_row_names_its_run(time):
    sync(schedule_file())
    time.move_to(MONDAY + WEEK)
    fire()

    with reading() as session:
        assert session.scalar(select(Slot.run_id)) == session.scalar(select(Run.id))


def test_missed_slots_are_coalesced_each_with_its_row(time):
    sync(at(8))
    time.move_to(utc(2026, 11, 19, 8))  # beat was down from Monday to Thursday

    assert fire() == [utc(2026, 11, 19, 7)]
    stands = "missed; 2026-11-19 07:00:00 UTC stands for it"
    assert slots() == [
        (utc(2026, 11, 16, 7), "coalesced", stands),
        (utc(2026, 11, 17, 7), "coalesced", stands),
        (utc(2026, 11, 18, 7), "coalesced", stands),
        (utc(2026, 11, 19, 7), "fired", None),
    ]


def test_a_day_late_is_still_fired(time):
    sync(schedule_file())
    time.move_to(MONDAY + WEEK + timedelta(hours=24))

    assert fire() == [MONDAY + WEEK]


def test_what_is_later_than_a_day_is_late_with_a_row(time):
    sync(schedule_file())
    time.move_to(MONDAY + 2 * WEEK + timedelta(hours=24, seconds=1))

    assert fire() == []
    late = "more than 1d late when beat came to it (catch_up: latest)"
    assert slots() == [(MONDAY + WEEK, "late", late), (MONDAY + 2 * WEEK, "late", late)]
    assert row().next_due_at == MONDAY + 3 * WEEK


def test_while_paused_the_mark_advances_and_slots_are_recorded(time):
    sync(schedule_file(when={"every": "15m"}))
    change(paused=True, note="the warehouse is being moved")
    now = time.passes(hours=1)

    assert fire() == []
    assert slots() == [(MONDAY + n * HOUR / 4, "paused", "paused: the warehouse is being moved") for n in (1, 2, 3, 4)]
    assert row().high_water_mark == now
    change(paused=False)
    time.passes(minutes=15)
    assert fire() == [MONDAY + 5 * HOUR / 4]


def test_a_long_downtime_is_decided_in_several_transactions(time):
    sync(schedule_file(when={"every": "1m"}), schedule_file("other", when={"every": "1m"}))
    time.passes(days=2)
    looks = [fire() for _ in range(8)]

    assert looks == [[]] * 5 + [[MONDAY + 2 * DAY] * 2] + [[]] * 2
    assert [due for due, _, _ in slots()] == [MONDAY + n * HOUR / 60 for n in range(1, 2 * 24 * 60 + 1)]
    assert row().next_due_at == MONDAY + 2 * DAY + HOUR / 60


def test_a_one_off_fires_once(time):
    sync(schedule_file(when={"at": "2026-11-16T09:00", "timezone": "Europe/Berlin"}))
    time.passes(hours=2)

    assert fire() == [utc(2026, 11, 16, 8)]
    assert row().next_due_at is None
    time.passes(days=30)
    assert fire() == []


def test_an_interval_fires_at_its_multiples(time):
    sync(schedule_file(when={"every": "15m"}))
    time.passes(minutes=15, seconds=1)

    assert fire() == [MONDAY + timedelta(minutes=15)]


def test_the_zone_is_kept_across_the_change_of_the_clocks(time):
    sync(schedule_file(overlap="allow"))
    monday = utc(2027, 3, 22, 6)  # 07:00 in Berlin; the clocks change on the Sunday after it
    time.move_to(monday)
    assert fire() == [monday]

    time.move_to(utc(2027, 3, 29, 5))
    assert fire() == [utc(2027, 3, 29, 5)]
    assert row().next_due_at == utc(2027, 4, 5, 5)


def night(hour, **fields):
    return schedule_file(when={"cron": f"30 {hour} * * *", "timezone": "America/New_York", **fields})


def test_a_slot_that_the_clocks_drop_leaves_a_row(time):
    time.move_to(utc(2027, 3, 13, 12))
    sync(night(2, gap="skip"))
    time.move_to(utc(2027, 3, 15, 6, 30))

    assert fire() == [utc(2027, 3, 15, 6, 30)]
    ((due, decision, reason), (_, other, _)) = slots()
    assert (due, decision, other) == (utc(2027, 3, 14, 7), "skipped", "fired")
    assert reason == "02:30 does not exist on 2027-03-14 in America/New_York: dropped, as gap: skip asks"


def test_a_slot_that_the_clocks_drop_leaves_its_row_as_soon_as_the_next_one_is_due(time):
    time.move_to(utc(2027, 3, 13, 12))
    sync(night(2, gap="skip"))
    time.move_to(utc(2027, 3, 14, 12))
    assert fire() == []

    assert row().next_due_at == utc(2027, 3, 15, 6, 30)


def test_what_a_calendar_drops_or_moves_leaves_its_row_with_the_reason(time):
    # The Monday after a weekend on which Saturday was a holiday.
    daily = {"cron": "0 7 * * *", "timezone": "Europe/Berlin", "except_on": ["holidays:DE", "sun"]}
    time.move_to(utc(2026, 10, 2, 12))
    sync(schedule_file(when=daily))
    assert row().next_due_at == utc(2026, 10, 5, 5)
    time.move_to(utc(2026, 10, 5, 5))

    assert fire() == [utc(2026, 10, 5, 5)]
    assert slots() == [
        (utc(2026, 10, 3, 5), "skipped", "Sat 2026-10-03 is German Unity Day (DE): dropped"),
        (utc(2026, 10, 4, 5), "skipped", "Sun 2026-10-04 is a Sunday: dropped"),
        (utc(2026, 10, 5, 5), "fired", None),
    ]


def test_a_slot_that_a_calendar_moves_says_so(time):
    monthly = {"cron": "0 7 3 * *", "timezone": "Europe/Berlin", "except_on": "holidays:DE", "on_holiday": "before"}
    time.move_to(utc(2026, 10, 1, 12))
    sync(schedule_file(when=monthly))
    time.move_to(utc(2026, 10, 2, 5))

    assert fire() == [utc(2026, 10, 2, 5)]
    note = "Sat 2026-10-03 is German Unity Day (DE): moved to Fri 2026-10-02"
    assert slots() == [(utc(2026, 10, 2, 5), "fired", note)]


def test_a_slot_that_the_clocks_shift_says_so(time):
    time.move_to(utc(2027, 3, 13, 12))
    sync(night(2))
    time.move_to(utc(2027, 3, 14, 7))

    assert fire() == [utc(2027, 3, 14, 7)]
    note = "02:30 does not exist on 2027-03-14 in America/New_York: fires at 03:00"
    assert slots() == [(utc(2027, 3, 14, 7), "fired", note)]


def test_a_time_that_comes_twice_fires_once(time):
    time.move_to(utc(2027, 11, 6, 12))
    sync(night(1))
    fired = []
    for hour in range(24):
        time.move_to(utc(2027, 11, 7, hour, 45))
        fired += fire()

    assert fired == [utc(2027, 11, 7, 5, 30)]


def test_a_schedule_without_a_zone_takes_the_settings(time, monkeypatch):
    monkeypatch.setenv("PIPELINE_TIMEZONE", "Asia/Tokyo")
    settings.cache_clear()
    sync(schedule_file(when="0 16 * * *"))

    assert row().next_due_at == utc(2026, 11, 16, 7)


def test_a_clock_that_was_set_back_fires_nothing_twice(time):
    sync(schedule_file(when={"every": "1h"}, overlap="allow"))
    time.passes(hours=1)
    assert fire() == [MONDAY + HOUR]

    time.passes(minutes=-30)
    assert fire() == []
    time.passes(minutes=30)
    assert fire() == []
    time.passes(hours=1)
    assert fire() == [MONDAY + 2 * HOUR]


def test_the_soonest_is_known(time):
    with reading() as session:
        assert firing.soonest(session) is None
    sync(schedule_file(), at(8), schedule_file("daily", when="0 8 * * *"))
    with reading() as session:
        assert firing.soonest(session) == utc(2026, 11, 16, 7)


# ---- one bad schedule


def test_a_schedule_that_cannot_be_opened_says_why_and_harms_no_other(time):
    sync(at(8), schedule_file("broken", when=at(8).definition["when"]))
    with transaction() as session:
        revision = session.get_one(ScheduleRevision, ("broken", row("broken").revision))
        revision.definition = {**revision.definition, "params": {"limt": 5}}
    time.passes(hours=1)

    assert fire() == [MONDAY + HOUR]
    ((due, decision, reason),) = slots("broken")
    assert (due, decision) == (MONDAY + HOUR, "skipped")
    assert reason.startswith("could not be fired: ")
    assert "limt" in reason
    assert fire() == []


def test_a_definition_that_can_no_longer_be_read_waits_for_a_good_one(time):
    sync(at(8), schedule_file("other"))
    good = at(8).definition
    with transaction() as session:
        session.get_one(ScheduleRevision, ("shipments", row().revision)).definition = {**good, "since": "retired"}
    time.passes(hours=1)

    assert fire() == []
    ((_, decision, reason),) = slots()
    assert decision == "skipped"
    assert reason.startswith("could not be fired: shipments: since is not a field here")
    assert row().next_due_at is None

    # The next version of the pipeline reads the same file again.
    with transaction() as session:
        session.get_one(ScheduleRevision, ("shipments", row().revision)).definition = good
    sync(at(8), schedule_file("other"))
    assert row().next_due_at == utc(2026, 11, 17, 7)


def test_what_the_database_refuses_harms_no_other(time):
    """The batch is repeated schedule by schedule; a slot that was decided before, in a restored database, stays so."""
    sync(at(8), schedule_file("other", when=at(8).definition["when"]))
    with transaction() as session:
        session.add(Slot(schedule_key="other", due_at=MONDAY + HOUR, decision="skipped", decided_at=MONDAY))
    time.passes(hours=1)

    assert fire() == [MONDAY + HOUR]
    assert slots("other") == [(MONDAY + HOUR, "skipped", None)]
    assert row("other").next_due_at == MONDAY + HOUR + DAY


def test_a_reason_that_no_database_could_store_is_stored_as_far_as_it_goes(time):
    sync(at(8), schedule_file("broken", when=at(8).definition["when"]))
    with transaction() as session:
        revision = session.get_one(ScheduleRevision, ("broken", row("broken").revision))
        revision.definition = {**revision.definition, "params": {"limit\ud800\0": 5}}
    time.passes(hours=1)

    assert fire() == [MONDAY + HOUR]
    ((_, decision, reason),) = slots("broken")
    assert decision == "skipped"
    assert 'there is no parameter "limit?\N{REPLACEMENT CHARACTER}"' in reason


def test_a_mistake_of_our_own_in_one_schedule_harms_no_other(time, monkeypatch):
    sync(at(8), schedule_file("other", when=at(8).definition["when"]))
    time.passes(hours=1)
    draft = runs.draft
    monkeypatch.setattr(
        runs, "draft", lambda request, *a, **k: draft(request, *a, **k) if request.schedule_key != "other" else 1 / 0
    )

    assert fire() == [MONDAY + HOUR]
    assert slots("other") == [(MONDAY + HOUR, "skipped", "could not be fired: division by zero")]
    assert row("other").next_due_at == MONDAY + HOUR + DAY


# ---- several beats


def test_two_beats_at_once_open_one_run_for_a_slot(time):
    keys = [f"daily_{number}" for number in range(8)]
    sync(*(schedule_file(key, when="0 7 * * *") for key in keys))
    time.move_to(utc(2026, 11, 16, 7))
    together = Barrier(4)

    def look(_):
        together.wait()
        return fire()

    with ThreadPoolExecutor(4) as beats:
        fired = [due for look in beats.map(look, range(4)) for due in look]

    assert fired == [utc(2026, 11, 16, 7)] * 8
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Run)) == 8


@only_postgresql
def test_a_beat_passes_over_what_another_one_is_deciding(time):
    sync(schedule_file())
    time.move_to(MONDAY + WEEK)

    with Session(db.engine()) as one, Session(db.engine()) as other:
        assert len(firing.fire_due(one).fired) == 1
        assert firing.fire_due(other).fired == []
        one.rollback()  # killed before its commit: nothing is lost
        other.rollback()

    assert fire() == [MONDAY + WEEK]


@only_postgresql
def test_a_trigger_by_hand_does_not_make_a_beat_pass_over_a_due_schedule(time):
    """A foreign key's check locks the schedule's row: it must not look like another beat."""
    sync(schedule_file())
    time.move_to(MONDAY + WEEK)

    with Session(db.engine()) as hand:
        hand.add(Slot(schedule_key="shipments", due_at=MONDAY, decision="skipped", decided_at=MONDAY, origin="test"))
        hand.flush()
        assert fire() == [MONDAY + WEEK]


def test_a_look_takes_so_many_and_the_next_one_the_rest(time, monkeypatch):
    monkeypatch.setattr(firing, "BATCH", 3)
    sync(*(schedule_file(f"daily_{number}", when="0 7 * * *") for number in range(5)))
    time.move_to(utc(2026, 11, 16, 7))

    assert [len(fire()) for _ in range(3)] == [3, 2, 0]
