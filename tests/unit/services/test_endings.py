"""When a run ends, whoever should know is told what failed, for whom, and when it is well again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from pipeline.db import reading, transaction
from pipeline.models import Notice, RunStatus
from pipeline.notice import Kind
from pipeline.services import notices, runs
from pipeline.services.notices.context import context
from pipeline.settings import settings
from tests.factories import MONDAY, finished_run, make_delivery, make_run

WEEK = timedelta(weeks=1)


@pytest.fixture(autouse=True)
def _notify(time, monkeypatch):
    monkeypatch.setenv("PIPELINE_NOTIFY", "ops@example.com")
    settings.cache_clear()


def end(run, status, error=None):
    with transaction(durable=False) as session:
        runs.close(session, runs.lock(session, run.id), RunStatus(status), error)
    return run


def told():
    with reading() as session:
        return list(session.scalars(select(Notice).where(Notice.told_at.is_not(None)).order_by(Notice.id)))


def kinds():
    return [one.kind for one in told()]


def test_a_run_that_failed_is_told_of_with_its_reason_and_what_comes_next():
    end(make_run(), "failed", "fetch:rows: the warehouse is away")

    (one,) = told()
    said = context(one)
    assert (one.kind, one.subject) == ("run_failed", "schedule:shipments")
    assert (said["schedule"], said["period"], said["reason"]) == (
        "shipments",
        "2026-W46",
        "fetch:rows: the warehouse is away",
    )
    assert said["due"] == "Mon 16 Nov 2026 at 07:00:00 Berlin time"
    assert said["next_due"] == "Mon 23 Nov 2026 at 07:00:00 Berlin time"


def test_it_says_who_has_theirs_and_who_has_not():
    run = make_run()
    make_delivery(run)
    for number in range(7):
        make_delivery(run, f"p{number}@example.com", status="failed")
    end(run, "partial", "7 deliveries failed")

    assert told()[0].facts["affected"] == (
        "Of 8 deliveries 1 were handed over and 7 did not go out "
        "(p0@example.com, p1@example.com, p2@example.com, p3@example.com, p4@example.com …)."
    )


def test_what_waited_and_is_cancelled_with_the_run_counts_as_not_gone_out():
    run = make_run()
    make_delivery(run, status="queued")
    end(run, "failed", "render: no paper")

    assert told()[0].facts["affected"] == "Of 1 delivery 0 were handed over and 1 did not go out (anna@acme.example)."


def test_where_nobody_is_known_yet_it_says_how_many_there_were_the_last_time():
    earlier = finished_run(due_at=MONDAY - WEEK)
    for key in ("ACME", "Globex"):
        make_delivery(earlier, f"{key.lower()}@example.com", key)
    end(make_run(), "failed", "fetch: away")

    assert told()[0].facts["affected"] == "Nobody got anything of it; the last time 2 deliveries were made."


def test_the_next_run_that_succeeds_tells_that_all_is_well(time):
    end(make_run(), "failed", "fetch: away")
    time.passes(days=7)
    well = end(make_run(due_at=MONDAY + WEEK), "succeeded")

    assert kinds() == ["run_failed", "recovered"]
    said = context(told()[1])
    assert said["how"] == "shipments for 2026-W47 has succeeded."
    assert said["run"] == str(well.id)[:13]
    assert said["first_reason"] == "fetch: away"


def test_a_run_that_succeeds_as_ever_tells_nobody():
    end(make_run(), "succeeded")

    assert told() == []


@pytest.mark.parametrize("status", ["cancelled", "skipped", "rejected"])
def test_what_somebody_decided_is_no_news(status):
    end(make_run(), status, "somebody said so")

    assert told() == []


@pytest.mark.parametrize("scope", [{"keys": ["ACME"]}, {"to": ["me@example.com"]}, {"send": False}])
def test_a_trial_tells_nobody_and_heals_nothing(scope):
    end(make_run(), "failed", "fetch: away")
    end(make_run(scope=scope, trigger="manual"), "failed", "again")
    end(make_run(scope=scope, trigger="manual"), "succeeded")

    assert kinds() == ["run_failed"]


def test_a_partial_run_does_not_end_what_failed_before(time):
    end(make_run(), "failed", "fetch: away")
    time.passes(days=7)
    end(make_run(), "partial", "1 delivery failed")
    time.passes(days=7)
    end(make_run(), "succeeded")

    assert kinds() == ["run_failed", "run_partial", "recovered"]
    assert told()[2].facts["of"] == ["run_failed", "run_partial"]


def test_a_run_that_was_blocked_and_then_cancelled_is_told_as_over():
    run = make_run()
    with transaction(durable=False) as session:
        notices.tell(session, Kind.RUN_BLOCKED, notices.about_run(run.id), "1", run=run, facts={"reason": "535 no"})
    end(run, "cancelled", "by ops")

    assert kinds() == ["run_blocked", "recovered"]
    assert told()[1].facts["how"] == "shipments for 2026-W46 ended as cancelled: by ops"


def test_a_schedule_that_fails_all_the_time_says_at_the_next_notice_how_often(time):
    for _ in range(13):
        end(make_run(), "failed", "fetch: away")
        time.passes(minutes=5)

    assert kinds() == ["run_failed", "run_failed"]
    assert context(told()[1])["times"] == 13
    assert context(told()[1])["since"] == "Mon 16 Nov 2026 at 07:00:00 Berlin time"
