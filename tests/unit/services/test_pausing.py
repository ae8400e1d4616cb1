"""A paused schedule fires nothing and records each slot; then it fires again from now on, or makes up for the pause."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from pipeline.db import reading, transaction
from pipeline.errors import NotFound, Refused
from pipeline.models import Audit, Door
from pipeline.services import pausing
from pipeline.services.audit import Actor
from tests.factories import MONDAY, schedule_file
from tests.unit.services import acts
from tests.unit.services.looks import at, fire, row, slots, sync, utc

pytestmark = pytest.mark.usefixtures("time")
ANNA = Actor("anna@desk-7", Door.CLI, "desk-7")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EVERY_SECOND = {"cron": "* * * * * *", "timezone": "Europe/Berlin"}


def pause(key="shipments", **values):
    with transaction() as session:
        return pausing.pause(session, key, ANNA, **values)


def resume(key="shipments", **values):
    with transaction() as session:
        return pausing.resume(session, key, ANNA, **values)


def heal():
    """What reconcile does every two seconds."""
    with transaction() as session:
        pausing.end_those_over(session)


def decisions():
    return [(due_at, decision) for due_at, decision, _ in slots()]


def recorded():
    with reading() as session:
        return [(entry.action, entry.detail) for entry in session.scalars(select(Audit).order_by(Audit.id))][1:]


def test_what_is_due_during_a_pause_is_recorded_and_nothing_fires_until_it_is_resumed(time):
    sync(at(8))
    pause(note="the warehouse moves")
    time.passes(days=2, hours=2)
    assert fire() == []
    assert slots() == [
        (MONDAY + HOUR, "paused", "paused: the warehouse moves"),
        (MONDAY + HOUR + DAY, "paused", "paused: the warehouse moves"),
        (MONDAY + HOUR + 2 * DAY, "paused", "paused: the warehouse moves"),
    ]

    resumed = resume()
    assert (resumed.missed, resumed.made_up, resumed.next_due_at) == (3, {}, utc(2026, 11, 19, 7))
    assert (row().paused, row().note, row().paused_by) == (False, None, None)
    time.move_to(utc(2026, 11, 19, 7))
    assert fire() == [utc(2026, 11, 19, 7)]


def test_what_was_due_before_the_pause_fires_and_what_was_due_before_the_resumption_does_not(time):
    sync(at(8))
    time.passes(hours=1, seconds=1)  # due a second ago, and no beat has looked yet
    pause()
    time.passes(days=1)
    resume()

    assert fire() == []
    assert decisions() == [(MONDAY + HOUR, "fired"), (MONDAY + HOUR + DAY, "paused")]


def test_every_second_of_a_pause_leaves_its_row_though_beat_looks_once_a_minute(time):
    sync(schedule_file(when=EVERY_SECOND))
    pause()
    time.passes(seconds=2)
    fire()
    time.passes(seconds=3)

    assert resume().missed == 5
    assert {decision for _, decision in decisions()} == {"paused"}


def test_a_pause_ends_by_itself_and_the_slot_at_that_instant_fires(time):
    sync(at(8))
    pause(until=MONDAY + HOUR + DAY)
    time.move_to(MONDAY + HOUR + DAY - timedelta(seconds=1))
    fire()
    heal()
    assert row().paused

    time.passes(seconds=1)
    assert fire() == []  # whoever looks first does not take it for a part of the pause
    heal()
    assert fire() == [MONDAY + HOUR + DAY]
    assert decisions() == [(MONDAY + HOUR, "paused"), (MONDAY + HOUR + DAY, "fired")]
    assert recorded()[-1] == ("resume", {"missed": 1})


def test_after_a_downtime_that_outlasted_the_pause_each_slot_is_told_for_what_it_was(time):
    sync(at(8))
    pause(until=MONDAY + 2 * DAY)
    time.passes(days=4, hours=2)
    heal()

    assert fire() == [MONDAY + HOUR + 4 * DAY]
    assert [decision for _, decision in decisions()] == ["paused", "paused", "coalesced", "coalesced", "fired"]


def test_reconcile_ends_pauses(time):
    sync(at(8))
    pause(until=MONDAY + HOUR)
    time.passes(hours=2)
    acts.heal()

    assert not row().paused


def test_asked_to_catch_up_it_makes_up_for_the_pause_as_for_a_downtime(time):
    sync(at(8))
    pause()
    time.passes(days=2, hours=2)
    fire()
    resumed = resume(catch_up=True)

    assert (resumed.missed, resumed.made_up) == (3, {"coalesced": 2, "fired": 1})
    assert [decision for _, decision in decisions()] == ["coalesced", "coalesced", "fired"]
    assert fire() == []
    assert recorded()[-1] == ("resume", {"missed": 3, "made_up": {"coalesced": 2, "fired": 1}})


def test_nothing_from_before_the_last_edit_is_made_up_for(time):
    sync(at(8))
    pause()
    time.passes(days=1, hours=2)
    fire()
    sync(at(7))
    time.passes(days=1)
    resume(catch_up=True)

    assert [decision for _, decision in decisions()] == ["paused", "paused", "fired"]


def test_a_second_pause_says_how_it_is_now(time):
    sync(at(8))
    pause(note="for an hour", until=MONDAY + HOUR)
    time.passes(minutes=5)
    pause(note="for good")

    assert (row().paused_at, row().paused_until, row().note) == (MONDAY, None, "for good")
    assert [detail for _, detail in recorded()] == [
        {"note": "for an hour", "until": "2026-11-16T07:00:00+00:00"},
        {"note": "for good"},
    ]


def test_a_file_that_goes_and_comes_back_is_paused_still(time):
    sync(at(8), schedule_file("other"))
    pause(until=MONDAY + DAY)
    sync(schedule_file("other"))
    time.passes(days=2)
    heal()
    sync(at(8), schedule_file("other"))

    assert row().paused
    heal()
    assert (row().paused, row().next_due_at) == (False, utc(2026, 11, 18, 7))


def test_what_cannot_be_paused_or_resumed_is_refused(time):
    sync(at(8), schedule_file("by_hand", when=None))
    with pytest.raises(Refused, match="by_hand has no `when`: it never fires by itself"):
        pause("by_hand")
    with pytest.raises(Refused, match="2026-11-16 05:00:00 UTC is past already: nothing was paused"):
        pause(until=MONDAY - HOUR)
    with pytest.raises(NotFound, match="did you mean shipments"):
        pause("shipmets")
    with pytest.raises(Refused, match="shipments is not paused"):
        resume()
    assert recorded() == [("sync", {"change": "added"})]
