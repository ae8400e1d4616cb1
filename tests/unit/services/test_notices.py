"""Who is told what: once, by the right way, and less and less often while nothing changes."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlalchemy import select

from pipeline.db import reading, transaction
from pipeline.models import Notice, NoticeDelivery
from pipeline.notice import Kind
from pipeline.services import notices
from pipeline.settings import settings
from tests.factories import make_run, make_schedule

OPS = "ops@example.com"
HOOK = "https://hooks.example.com/services/T1/B2"
SHIPMENTS = notices.about_schedule("shipments")


@pytest.fixture(autouse=True)
def _notify(time, monkeypatch):
    monkeypatch.setenv("PIPELINE_NOTIFY", OPS)
    settings.cache_clear()


def tell(kind=Kind.RUN_FAILED, subject=SHIPMENTS, episode="1", **values):
    with transaction(durable=False) as session:
        return notices.tell(session, kind, subject, episode, **values)


def settle(subject=SHIPMENTS, *kinds, **facts):
    with transaction(durable=False) as session:
        return notices.settle(session, subject, *kinds, **facts)


def told():
    """What people hear, in order: the kind, the episode, to whom."""
    with reading() as session:
        sent = select(Notice.kind, Notice.episode, NoticeDelivery.target).join(
            NoticeDelivery, NoticeDelivery.notice_id == Notice.id
        )
        return [tuple(row) for row in session.execute(sent.order_by(Notice.id, NoticeDelivery.target))]


def rows():
    with reading() as session:
        return list(session.scalars(select(Notice).order_by(Notice.id)))


# ---- to whom


def test_it_goes_to_those_of_the_setting():
    assert tell()

    assert told() == [("run_failed", "1", OPS)]


def test_it_goes_to_those_whom_the_schedule_names():
    make_schedule("shipments", notify=["team@example.com", HOOK])
    tell(schedule_key="shipments")

    assert told() == [("run_failed", "1", HOOK), ("run_failed", "1", "team@example.com")]


def test_a_run_keeps_those_whom_its_schedule_named_when_it_was_opened():
    make_schedule("shipments", notify="team@example.com")
    run = make_run()
    make_schedule("shipments", notify="others@example.com")
    tell(run=run)

    assert told() == [("run_failed", "1", "team@example.com")]


def test_a_schedule_that_names_nobody_on_purpose_tells_nobody_and_the_row_is_there():
    make_schedule("shipments", notify=[])

    assert not tell(schedule_key="shipments")
    assert told() == []
    assert [row.kind for row in rows()] == ["run_failed"]


def test_who_is_named_twice_hears_once():
    tell(targets=[OPS, OPS])

    assert told() == [("run_failed", "1", OPS)]


# ---- once


def test_the_same_thing_is_told_once_however_often_it_is_said():
    assert [tell(), tell(), tell()] == [True, False, False]

    assert told() == [("run_failed", "1", OPS)]
    assert len(rows()) == 1


def test_several_who_tell_at_once_tell_once(database):
    ready = threading.Barrier(4)

    def one():
        ready.wait(60)
        tell()

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert told() == [("run_failed", "1", OPS)]


def test_a_notice_of_a_transaction_that_failed_was_never_there():
    def die():
        with transaction() as session:
            notices.tell(session, Kind.RUN_FAILED, SHIPMENTS, "1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die()

    assert rows() == []


# ---- a storm


def test_a_schedule_that_fails_every_minute_is_told_of_at_growing_intervals(time):
    start, heard = time.now, []
    for minute in range(0, 55 * 60, 30):
        time.move_to(start + timedelta(minutes=minute))
        if tell(episode=str(minute)):
            heard.append(minute / 60)

    assert heard == [0, 1, 5, 29, 53]
    assert len(rows()) == 55 * 2


def test_one_that_fails_once_a_day_is_told_of_every_day(time):
    heard = []
    for day in range(5):
        heard.append(tell(episode=str(day)))
        time.passes(days=1)

    assert heard == [True] * 5


def test_one_that_fails_and_succeeds_in_turn_is_no_storm_either(time):
    start, heard = time.now, []
    for minute in range(0, 6 * 60, 15):
        time.move_to(start + timedelta(minutes=minute))
        tell(episode=str(minute)) if minute % 30 else settle()
        heard = [kind for kind, *_ in told()]

    assert heard == ["run_failed", "recovered"] * 3


def test_another_schedule_and_another_kind_are_not_kept_back():
    assert [tell(), tell(Kind.RUN_PARTIAL), tell(subject=notices.about_schedule("invoices"))] == [True, True, True]


# ---- the end of it


def test_who_was_told_of_it_hears_of_its_end_with_how_long_and_how_often(time):
    tell(facts={"reason": "fetch: the warehouse is away"}, targets=[OPS, HOOK])
    time.passes(minutes=10)
    tell(episode="2")
    time.passes(minutes=5)

    assert settle(run="0199")
    assert told()[2:] == [("recovered", "run_failed 1", HOOK), ("recovered", "run_failed 1", OPS)]
    facts = rows()[-1].facts
    assert (facts["of"], facts["times"], facts["run"]) == (["run_failed"], 2, "0199")
    assert facts["first"]["reason"] == "fetch: the warehouse is away"
    assert facts["since"] == (time.now - timedelta(minutes=15)).isoformat()


def test_the_end_is_told_once_and_not_where_nothing_had_begun():
    assert not settle()
    tell()

    assert [settle(), settle()] == [True, False]


def test_the_end_of_what_nobody_heard_of_is_not_told_either():
    make_schedule("shipments", notify=[])
    tell(schedule_key="shipments")

    assert not settle()
    assert [row.closed_at is None for row in rows()] == [False, False]


def test_one_kind_ends_and_the_other_goes_on():
    tell(Kind.LATE_START)
    tell(Kind.RUN_PARTIAL)
    settle(SHIPMENTS, Kind.LATE_START)

    assert [row.kind for row in rows() if row.closed_at is None] == ["run_partial"]


def test_what_cannot_end_is_over_when_it_is_told():
    tell(Kind.TEST)

    assert rows()[0].closed_at == rows()[0].created_at
    assert not settle()
