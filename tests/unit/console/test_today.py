"""Today: what somebody has to look at on top, and one line for each schedule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.db import transaction
from pipeline.models import Heartbeat, Schedule
from pipeline.notice import Kind
from pipeline.services import braking, notices
from pipeline.services.answers import today
from pipeline.services.audit import Actor
from tests.factories import MONDAY, finished_run, make_run, make_schedule
from tests.unit.console.visits import text_of

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def a_beat_is_well(database):
    with transaction() as session:
        session.add(Heartbeat(name="beat@here:1", at=datetime.now(UTC)))


@pytest.fixture
def monday(monkeypatch):
    """It is Monday morning: the day has not just begun, and does not end meanwhile."""
    monkeypatch.setattr(today, "clock", lambda _: MONDAY)


def test_all_is_not_well_while_nothing_fires_or_nothing_is_sent(http):
    """Whoever looks only here learns of a dead beat and of the brake."""
    with transaction() as session:
        session.get_one(Heartbeat, "beat@here:1").at = NOW - HOUR
        braking.stop(session, Actor("zoe", "cli"), None, "wrong numbers")
    said = text_of(http.get("/").text)
    assert "Beat has been silent for" in said
    assert "All mail was stopped by zoe just now : wrong numbers." in said
    assert "Nothing waits for anybody." not in said


def test_an_empty_day_says_that_all_is_well(http):
    said = text_of(http.get("/").text)
    assert "Nothing waits for anybody." in said
    assert "Nothing is due." in said


def test_what_ran_runs_and_is_due_stands_on_one_line_for_each_schedule(http, monday):
    make_schedule(when={"cron": "*/10 * * * *"})
    run = finished_run(due_at=MONDAY - timedelta(seconds=30))
    going = make_run("invoices", due_at=MONDAY, status="running", started_at=MONDAY)
    page = http.get("/").text
    assert page.count('class="good"') >= 1
    assert page.count('class="busy"') >= 1
    assert all(f"/runs/{one.id}" in page for one in (run, going))
    assert "Your shipments" in text_of(page)
    assert "<html" not in http.get("/today/live").text


def test_a_day_with_more_runs_than_are_drawn_says_so(http, monday, monkeypatch):
    monkeypatch.setattr(today, "RUNS", 2)
    for seconds in (30, 20):
        finished_run(due_at=MONDAY - timedelta(seconds=seconds))
    assert "There is more than is drawn here" not in text_of(http.get("/").text)
    finished_run(due_at=MONDAY - timedelta(seconds=10))
    assert "There is more than is drawn here" in text_of(http.get("/").text)


def test_what_goes_wrong_is_on_top_until_it_is_over(http):
    run = finished_run(due_at=NOW - HOUR, status="failed", error="the warehouse is closed")
    with transaction() as session:
        facts = {"reason": "the warehouse is closed"}
        notices.tell(session, Kind.RUN_FAILED, notices.about_schedule("shipments"), "1", run=run, facts=facts)
    said = text_of(http.get("/").text)
    assert "run failed" in said
    assert "the warehouse is closed" in said
    with transaction() as session:
        notices.settle(session, notices.about_schedule("shipments"), Kind.RUN_FAILED)
    assert "Nothing waits for anybody." in text_of(http.get("/").text)


def test_a_paused_schedule_is_not_due(http):
    make_schedule()
    assert "in " in text_of(http.get("/").text).partition("Due next")[2][:60]
    with transaction() as session:
        session.get_one(Schedule, "shipments").paused = True
    assert "Nothing is due." in text_of(http.get("/").text)
