"""Slots as a calendar, and one day over all schedules."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from pipeline.db import reading
from pipeline.services import answers
from pipeline.services.answers import EVER, Span
from tests.factories import MONDAY, finished_run, make_run, make_schedule, schedule_file
from tests.unit.services.looks import at, change, fire, sync

pytestmark = pytest.mark.usefixtures("time")
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def timeline(zone="Europe/Berlin", day=None):
    with reading() as session:
        return answers.timeline(session, zone, day)


def test_slots_are_counted_by_the_days_of_their_own_zone(time):
    # Half past midnight in Kathmandu is 18:45 UTC of the day before.
    sync(schedule_file(when={"cron": "30 0 * * *", "timezone": "Asia/Kathmandu"}, catch_up={"mode": "latest"}))
    time.passes(days=2, hours=18, minutes=50)
    fire()
    with reading() as session:
        found = answers.slot_days(session, "shipments", EVER)
        assert [(one.day, one.decisions, one.runs) for one in found] == [
            (date(2026, 11, 17), {"coalesced": 1}, {}),
            (date(2026, 11, 18), {"coalesced": 1}, {}),
            (date(2026, 11, 19), {"fired": 1}, {"queued": 1}),
        ]
        assert answers.slot_days(session, "shipments", Span(MONDAY + DAY, MONDAY + 2 * DAY))[0].day.day == 18


def test_a_day_shows_what_ran_what_runs_and_what_is_due(time):
    sync(at(12), schedule_file("early", when={"cron": "0 9 * * *", "timezone": "Europe/Berlin"}))
    yesterday = finished_run(due_at=MONDAY - DAY)
    over_night = make_run(due_at=MONDAY - 8 * HOUR, status="running", started_at=MONDAY - 8 * HOUR)
    ended = finished_run(due_at=MONDAY - 8 * HOUR, finished_at=MONDAY - HOUR)
    today = finished_run(due_at=MONDAY - HOUR)
    found = timeline()
    assert (found.day, found.since, found.until) == (date(2026, 11, 16), MONDAY - 7 * HOUR, MONDAY + 17 * HOUR)
    assert {one.id for one in found.runs} == {over_night.id, ended.id, today.id}
    assert found.runs[-1].id == today.id
    assert [(one.schedule, one.due, one.more) for one in found.due] == [
        ("early", [MONDAY + 2 * HOUR], False),
        ("shipments", [MONDAY + 5 * HOUR], False),
    ]
    before = timeline(day=date(2026, 11, 15))
    assert {one.id for one in before.runs} == {yesterday.id, over_night.id, ended.id}
    assert before.due == []


def test_what_is_paused_is_not_due_and_what_fires_often_is_named_once(time):
    make_schedule(when={"every": "1m"})
    found = timeline("UTC").due[0]
    assert (len(found.due), found.more) == (100, True)
    change(paused=True)
    assert timeline("UTC").due == []
    change(paused_until=MONDAY + 18 * HOUR - timedelta(minutes=2))
    assert len(timeline("UTC").due[0].due) == 2
