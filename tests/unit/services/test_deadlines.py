"""A run that has not started, or not finished, when it should is told of once, and so is the end of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from pipeline import schedule as definitions
from pipeline.db import clock, reading, transaction
from pipeline.models import Notice, Run, RunStatus
from pipeline.services import deadlines, runs
from pipeline.services.notices.context import context
from pipeline.settings import settings
from tests.factories import MONDAY, make_run, make_schedule, schedule_file
from tests.unit.services.acts import claim
from tests.unit.services.looks import fire, sync

DEADLINE = {"start_within": "10m", "finish_within": "1h"}
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _notify(time, monkeypatch):
    monkeypatch.setenv("PIPELINE_NOTIFY", "ops@example.com")
    settings.cache_clear()
    make_schedule("shipments", deadline=DEADLINE)


def look():
    with transaction(durable=False) as session:
        deadlines.check(session, clock(session))


def told():
    with reading() as session:
        return list(session.scalars(select(Notice).where(Notice.told_at.is_not(None)).order_by(Notice.id)))


def kinds():
    return [one.kind for one in told()]


def start(run):
    assert claim(run, "start")


def end(run, status="succeeded"):
    with transaction(durable=False) as session:
        runs.close(session, runs.lock_to_close(session, run.id), RunStatus(status))


def test_a_slots_run_has_to_start_and_finish_within_its_deadlines(time):
    sync(schedule_file(deadline=DEADLINE))
    time.passes(days=7, minutes=3)  # beat was away for three minutes
    (due,) = fire()
    with reading() as session:
        run = session.scalars(select(Run)).one()

    assert (run.due_at, run.start_by, run.finish_by) == (due, due + 10 * MINUTE, due + 60 * MINUTE)


def test_jitter_is_no_lateness(time):
    when = {"cron": "0 7 * * mon", "timezone": "Europe/Berlin", "jitter": "30m"}
    sync(schedule_file(deadline=DEADLINE, when=when))
    time.passes(days=7)
    fire()
    with reading() as session:
        run = session.scalars(select(Run)).one()

    assert run.not_before > run.due_at
    assert run.start_by == run.not_before + 10 * MINUTE


def test_a_run_that_never_starts_is_told_of_once(time):
    make_run()
    look()
    time.passes(minutes=9, seconds=59)
    look()
    assert kinds() == []

    time.passes(seconds=1)
    for _ in range(3):
        look()
    said = context(told()[0])
    assert kinds() == ["late_start"]
    assert said["deadline"] == "Mon 16 Nov 2026 at 07:10:00 Berlin time"
    assert said["reason"] == "no worker has taken it up"


def test_when_it_has_started_after_all_that_is_told_too(time):
    run = make_run()
    time.passes(minutes=11)
    look()
    time.passes(minutes=14)
    start(run)
    look()
    look()

    assert kinds() == ["late_start", "recovered"]
    assert told()[1].facts["how"] == "shipments for 2026-W46 started 15m after its deadline."


def test_a_run_that_is_not_finished_in_time_is_told_of_and_so_is_its_end(time):
    run = make_run()
    start(run)
    time.passes(minutes=61)
    look()
    time.passes(minutes=9)
    end(run)
    look()

    assert kinds() == ["late_finish", "recovered"]
    assert told()[0].facts["reason"] == "it is running"
    assert told()[1].facts["how"] == "shipments for 2026-W46 was finished 10m after its deadline."


def test_one_that_ends_without_having_started_is_no_longer_late(time):
    run = make_run()
    time.passes(minutes=11)
    look()
    end(run, "cancelled")
    look()

    assert told()[1].facts["how"] == "shipments for 2026-W46 ended as cancelled without having started."


def test_in_time_nobody_hears_anything(time):
    run = make_run()
    time.passes(minutes=9)
    start(run)
    time.passes(minutes=50)
    end(run)
    time.passes(minutes=50)
    look()

    assert kinds() == []


def test_what_it_waits_for_is_named(time):
    make_run(status="waiting", waiting_for="slot")
    time.passes(minutes=11)
    look()

    assert told()[0].facts["reason"] == "it waits for an earlier run of the schedule to end"


def test_while_a_person_is_asked_no_time_runs_and_it_begins_with_the_approval(time):
    run = make_run()
    start(run)
    with transaction(durable=False) as session:
        waiting = session.get_one(Run, run.id)
        waiting.status, waiting.waiting_for = "waiting", "approval"
    time.passes(hours=3)
    look()
    assert kinds() == []

    with transaction(durable=False) as session:
        row = session.get_one(Run, run.id)
        row.status, row.waiting_for = "running", None
        deadlines.approved(row, definitions.parse(row.definition, "shipments"), clock(session))
    time.passes(minutes=59)
    look()
    assert kinds() == []
    time.passes(minutes=1)
    look()
    assert kinds() == ["late_finish"]


@pytest.mark.parametrize(
    ("trigger", "scope"), [("backfill", {}), ("manual", {"keys": ["ACME"]}), ("manual", {"send": False})]
)
def test_a_backfill_and_a_trial_have_no_deadlines(trigger, scope):
    definition = definitions.parse(schedule_file(deadline=DEADLINE).definition, "shipments")

    assert deadlines.of(definition, trigger, scope, MONDAY) == (None, None)
    assert deadlines.of(definition, "manual", {"send": True}, MONDAY) == (MONDAY + 10 * MINUTE, MONDAY + 60 * MINUTE)


def test_a_run_that_is_late_to_start_and_to_finish_ends_both(time):
    run = make_run()
    time.passes(hours=2)
    look()
    start(run)
    look()
    end(run)
    look()

    assert kinds() == ["late_start", "late_finish", "recovered", "recovered"]


def test_many_late_runs_of_one_schedule_are_one_matter(time):
    late = [make_run() for _ in range(3)]
    time.passes(minutes=11)
    look()
    assert kinds() == ["late_start"]

    for run in late[:2]:
        start(run)
    look()
    assert kinds() == ["late_start"]
    start(late[2])
    look()
    assert kinds() == ["late_start", "recovered"]
    assert told()[1].facts["times"] == 3
