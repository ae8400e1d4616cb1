"""Why did it not run on Sunday? One answer says what was decided about each slot, why, and what became of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline.db import reading
from pipeline.errors import NotFound, Refused
from pipeline.models import Run
from pipeline.services import answers
from pipeline.services.answers import EVER, Span
from tests.factories import MONDAY, make_delivery, make_schedule, schedule_file
from tests.unit.services.looks import at, change, fire, sync, utc

pytestmark = pytest.mark.usefixtures("time")
DAY, WEEK = timedelta(days=1), timedelta(days=7)


def slots(span=EVER, *more, key="shipments"):
    with reading() as session:
        return answers.slots(session, key, span, *more)


def explained(**span):
    return slots(Span(**span)).explanation


def test_each_slot_says_what_was_decided_why_and_what_became_of_it(time):
    make_schedule()
    time.passes(days=14, seconds=1)
    fire()
    with reading() as session:
        make_delivery(session.query(Run).one())
    found = slots()

    newest, older = found.slots
    assert (newest.due_at, newest.local) == (MONDAY + 2 * WEEK, "2026-11-30T07:00:00+01:00")
    assert (newest.decision, newest.origin, newest.run.status) == ("fired", "schedule", "queued")
    assert newest.run.deliveries["accepted"] == 1
    assert (older.decision, older.reason) == ("coalesced", "missed; 2026-11-30 06:00:00 UTC stands for it")
    assert [slot.due_at for slot in found.upcoming] == [MONDAY + n * WEEK for n in (3, 4, 5)]
    assert (found.when, found.explanation) == ("At 07:00 on Monday, Europe/Berlin time", None)


def test_they_are_found_by_time_and_decision(time):
    make_schedule()
    time.passes(days=14, seconds=1)
    fire()

    assert [slot.decision for slot in slots(EVER, "coalesced").slots] == ["coalesced"]
    last_week = Span(MONDAY + WEEK, MONDAY + WEEK + DAY)
    assert [slot.due_at for slot in slots(last_week).slots] == [MONDAY + WEEK]
    assert slots(last_week).upcoming == []
    assert len(slots(EVER, None, 1).slots) == 1
    assert slots(Span(until=MONDAY + 4 * WEEK)).upcoming[-1].due_at == MONDAY + 3 * WEEK
    with pytest.raises(Refused, match='no slot is decided "fird": did you mean fired'):
        slots(EVER, "fird")
    with pytest.raises(NotFound, match="did you mean shipments"):
        slots(key="shipmets")


def test_a_day_without_a_slot_is_explained(time):
    sync(at(12))
    assert slots().explanation == "No slot has been due yet."
    time.passes(days=3)
    change(next_due_at=time.now + DAY)  # as if a beat had looked all the time, and kept no row

    assert explained(since=MONDAY - 2 * DAY, until=MONDAY - DAY) == (
        "It was loaded first at 2026-11-16 06:00:00 UTC: there was no such schedule before."
    )
    assert explained(since=MONDAY, until=MONDAY + timedelta(hours=2)) == "It was not due then."
    assert explained(since=MONDAY, until=MONDAY + DAY) == (
        "As its file says now it would have been due at 2026-11-16 11:00:00 UTC: it said otherwise then, or was gone; "
        "`pipeline audit shipments` says when it was loaded"
    )
    assert explained(since=time.now + DAY) == "It was not due then."


def test_a_day_that_a_calendar_drops_is_explained_before_its_row_is_there(time):
    sync(schedule_file(when={"cron": "0 12 * * *", "timezone": "Europe/Berlin", "except_on": "wed"}))
    time.passes(days=1, hours=8)
    fire()
    time.passes(days=1)  # Wednesday evening
    fire()
    explanation = explained(since=MONDAY + 2 * DAY)
    assert explanation.startswith("Wed 2026-11-18 is a Wednesday: dropped. (Its row is written when the next")


def test_a_slot_that_nobody_decided_asks_for_a_beat(time):
    sync(at(12))
    time.passes(hours=5, seconds=11)

    assert slots().explanation == (
        "It is due since 2026-11-16 11:00:00 UTC, and no beat has looked: does one run? `pipeline doctor`"
    )


def test_a_schedule_without_when_or_without_its_file_has_no_slots_to_come(time):
    sync(schedule_file("weekly"), schedule_file("by_hand", when=None))
    sync(schedule_file("by_hand", when=None))

    assert slots(key="weekly").upcoming == []
    by_hand = slots(key="by_hand")
    assert (by_hand.when, by_hand.upcoming) == (None, [])
    assert by_hand.explanation.startswith("It has no `when`: it runs when somebody triggers it")


def test_what_the_clocks_will_do_is_said_of_what_comes(time):
    sync(schedule_file(when={"cron": "30 2 * * *", "timezone": "Europe/Berlin", "gap": "skip"}))
    found = slots(Span(since=utc(2027, 3, 28)))

    assert [slot.fires for slot in found.upcoming] == [False, True, True]
