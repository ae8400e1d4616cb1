"""When beats fall silent, nothing fires or nobody works, somebody hears of it; and what waits is told again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from pipeline.db import clock, reading, transaction
from pipeline.models import Delivery, Heartbeat, Notice, NoticeDelivery, Run, Schedule, Step
from pipeline.notice import Kind
from pipeline.services import notices, relays
from pipeline.services.notices import reminders, signs
from pipeline.services.notices import standing as over
from pipeline.services.notices.context import context
from pipeline.settings import settings
from tests.factories import MONDAY, make_delivery, make_run, make_schedule
from tests.unit.services.acts import claim
from tests.unit.services.looks import change, fire

RUN = "run:1"


@pytest.fixture(autouse=True)
def _notify(time, monkeypatch):
    monkeypatch.setenv("PIPELINE_NOTIFY", "ops@example.com")
    settings.cache_clear()


def look(check=signs.check):
    with transaction(durable=False) as session:
        check(session, clock(session))


def beat(name, at=MONDAY):
    with transaction(durable=False) as session:
        session.merge(Heartbeat(name=name, at=at, detail=None))


def told():
    """What people hear of, in order."""
    with reading() as session:
        sent = select(Notice).join(NoticeDelivery).order_by(NoticeDelivery.not_before, Notice.id)
        return list(session.scalars(sent))


def kinds():
    return [one.kind for one in told()]


# ---- beats


def test_a_beat_that_fell_silent_is_told_of_by_another(time):
    beat("beat@one:1")
    time.passes(minutes=2)
    beat("beat@two:2", time.now)
    look()
    look()

    (one,) = told()
    said = context(one)
    assert (one.kind, said["name"], said["others"]) == ("beat_silent", "beat@one:1", "1 other beat goes")
    assert said["since"] == "Mon 16 Nov 2026 at 06:00:00 UTC"


def test_when_a_beat_runs_there_again_all_is_well(time):
    beat("beat@one:1")
    time.passes(minutes=2)
    look()
    beat("beat@one:7", time.now)
    look()

    assert kinds() == ["beat_silent", "recovered"]
    assert told()[1].facts["how"] == "Beat runs on one again."


def test_a_beat_that_was_restarted_at_once_is_no_news(time):
    beat("beat@one:1")
    time.passes(minutes=2)
    beat("beat@one:7", time.now)
    look()

    assert kinds() == []
    with reading() as session:
        assert session.scalars(select(Heartbeat.name)).all() == ["beat@one:7"]


def test_a_host_that_never_came_back_is_forgotten_without_a_word(time):
    beat("beat@one:1")
    time.passes(minutes=2)
    look()
    time.passes(days=2)
    look()

    assert kinds() == ["beat_silent"]
    with reading() as session:
        assert session.scalars(select(Heartbeat.name)).all() == []


# ---- firing


def test_slots_that_nobody_decides_are_told_of_and_so_is_the_end(time):
    make_schedule("shipments")
    change(next_due_at=time.now)
    time.passes(minutes=1)
    look()
    assert kinds() == []
    time.passes(minutes=2)
    look()
    look()
    assert kinds() == ["not_fired"]
    assert (told()[0].facts["count"], told()[0].facts["name"]) == ("1 schedule is", "shipments")

    fire()
    look()
    assert kinds() == ["not_fired", "recovered"]


# ---- workers


def test_steps_that_nobody_takes_are_told_of_and_so_is_the_end(time):
    run = make_run()
    time.passes(minutes=4)
    look()
    assert kinds() == []
    time.passes(minutes=2)
    look()
    look()
    assert kinds() == ["nobody_works"]
    assert context(told()[0])["since"] == "Mon 16 Nov 2026 at 06:00:00 UTC"
    assert told()[0].facts["name"] == "shipments"

    assert claim(run, "start")
    look()
    assert kinds() == ["nobody_works", "recovered"]


def test_while_somebody_works_a_queue_is_just_a_queue(time):
    run = make_run()
    make_run("invoices")
    time.passes(minutes=20)
    assert claim(run, "start")
    look()

    assert kinds() == []


def test_what_waits_for_its_time_is_no_queue(time):
    make_run()
    with transaction(durable=False) as session:
        for step in session.scalars(select(Step)):
            step.not_before = time.now + timedelta(hours=2)
    time.passes(hours=1)
    look()

    assert kinds() == []


# ---- relays


def test_a_relay_that_does_not_answer_is_told_of_and_so_is_its_return(time):
    def fail():
        with transaction(durable=False) as session:
            relays.failed(session, "smtp.example:25", "connection refused", time.now)

    fail()
    look()
    assert kinds() == []
    time.passes(minutes=3)
    fail()
    look()
    look()
    (one,) = told()
    said = context(one)
    assert (one.kind, said["name"], said["reason"]) == ("relay_down", "relay smtp.example:25", "connection refused")
    assert said["since"] == "Mon 16 Nov 2026 at 06:00:00 UTC"

    with transaction(durable=False) as session:
        relays.answered(session, "smtp.example:25", time.now)
    look()
    look()
    assert kinds() == ["relay_down", "recovered"]
    assert told()[1].facts["how"] == "The relay smtp.example:25 answers again."


# ---- what waits for a person


def wait_for_a_person(kind=Kind.RUN_BLOCKED, subject=RUN):
    with transaction(durable=False) as session:
        notices.tell(session, kind, subject, "1", facts={"reason": "535 5.7.8 no"})


def test_what_waits_for_a_person_is_told_three_times_more_at_growing_intervals(time):
    wait_for_a_person()
    start, heard = time.now, []
    for hour in range(48):
        time.move_to(start + timedelta(hours=1) * hour)
        look(reminders.remind)
        heard += [hour] if len(told()) > len(heard) + 1 else []

    assert heard == [1, 5, 29]
    assert [one.facts.get("reminder") for one in told()] == [None, 1, 2, 3]
    with transaction(durable=False) as session:
        assert notices.settle(session, RUN, how="The run goes on.")
    assert kinds()[-1] == "recovered"
    assert told()[-1].facts["since"] == start.isoformat()


def test_once_somebody_has_acted_nobody_is_reminded(time):
    wait_for_a_person()
    with transaction(durable=False) as session:
        notices.settle(session, RUN)
    time.passes(days=1)
    look(reminders.remind)

    assert kinds() == ["run_blocked", "recovered"]


def test_what_was_kept_back_and_goes_on_is_told_once_it_has_lasted(time):
    wait_for_a_person(Kind.NOBODY_WORKS, "workers")
    with transaction(durable=False) as session:
        notices.settle(session, "workers")
    time.passes(minutes=10)
    with transaction(durable=False) as session:
        assert not notices.goes_on(session, Kind.NOBODY_WORKS, "workers", {})
    look(reminders.remind)
    assert kinds() == ["nobody_works", "recovered"]

    time.passes(minutes=50)
    look(reminders.remind)
    look(reminders.remind)
    assert kinds() == ["nobody_works", "recovered", "nobody_works"]


def test_a_schedule_that_failed_once_more_within_the_hour_is_no_state_that_lasts(time):
    for episode in ("1", "2"):
        with transaction(durable=False) as session:
            notices.tell(session, Kind.RUN_FAILED, "schedule:x", episode)
    time.passes(hours=2)
    look(reminders.remind)

    assert kinds() == ["run_failed"]


def standing(kind, **values):
    run = make_run(**values)
    with transaction(durable=False) as session:
        notices.tell(session, kind, notices.about_run(run.id), "1", run=run)
    return run


@pytest.mark.parametrize(("kind", "waiting_for"), [(Kind.RUN_BLOCKED, "blocked"), (Kind.APPROVAL_WANTED, "approval")])
def test_what_a_run_no_longer_waits_for_is_over_whoever_brought_that_about(time, kind, waiting_for):
    run = standing(kind, status="waiting", waiting_for=waiting_for)
    look(over.check)
    assert kinds() == [kind]

    with transaction(durable=False) as session:
        row = session.get_one(Run, run.id)
        row.status, row.waiting_for = "running", None
    look(over.check)
    look(over.check)
    assert kinds() == [kind, "recovered"]


def test_when_no_message_of_a_run_is_uncertain_any_more_the_doubt_is_over(time):
    run = standing(Kind.UNCERTAIN)
    delivery = make_delivery(run, status="uncertain")
    look(over.check)
    assert kinds() == ["uncertain"]

    with transaction(durable=False) as session:
        session.get_one(Delivery, delivery.id).status = "accepted"
    look(over.check)
    assert kinds() == ["uncertain", "recovered"]
    assert told()[1].facts["how"] == "shipments for 2026-W46 has no message any more that is uncertain; it is queued."


# ---- dropped slots


def test_a_slot_that_is_too_late_is_told_of_to_those_whom_its_schedule_names(time):
    make_schedule("shipments", notify=["team@example.com"], catch_up="none")
    time.move_to(MONDAY + timedelta(days=7, hours=3))
    assert fire() == []

    (one,) = told()
    said = context(one)
    assert (one.kind, one.subject, said["times"]) == ("slot_dropped", "schedule:shipments", 1)
    assert said["due"] == "Mon 23 Nov 2026 at 07:00:00 Berlin time"
    assert said["next_due"] == "Mon 30 Nov 2026 at 07:00:00 Berlin time"
    assert said["command"] == "pipeline backfill shipments --from 2026-11-23"
    with reading() as session:
        assert session.scalars(select(NoticeDelivery.target)).all() == ["team@example.com"]


def test_slots_of_many_schedules_are_told_of_in_one_notice_to_each(time):
    for number in range(7):
        make_schedule(f"a{number}", catch_up="none")
    make_schedule("other", catch_up="none", notify=["team@example.com"])
    time.move_to(MONDAY + timedelta(days=7, hours=3))
    fire()

    many = next(one for one in told() if one.schedule_key is None)
    assert len(told()) == 2
    assert (many.facts["count"], many.facts["name"]) == (7, "a0, a1, a2, a3, a4 …")


def test_a_mistake_in_telling_keeps_no_slot_from_firing(time, monkeypatch):
    make_schedule("shipments", catch_up="none")
    monkeypatch.setattr("pipeline.services.recording.slots_dropped", lambda *_: 1 / 0)
    time.move_to(MONDAY + timedelta(days=7, hours=3))
    fire()

    with reading() as session:
        assert session.get(Schedule, "shipments").next_due_at == MONDAY + timedelta(days=14)
