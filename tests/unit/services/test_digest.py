"""The morning digest: once a day over all beats and restarts, and what it says is so."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from pipeline.adapters import notices as post
from pipeline.db import clock, reading, transaction
from pipeline.models import BadFile, Notice, NoticeDelivery
from pipeline.notice import Kind
from pipeline.services import notices
from pipeline.services.notices import digest
from pipeline.services.notices.context import context
from pipeline.settings import settings
from tests.factories import MONDAY, finished_run, make_delivery, make_run, make_schedule
from tests.unit.services.looks import change

TUESDAY = datetime(2026, 11, 17, 6, tzinfo=UTC)  # 07:00 in Berlin
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _at_seven(time, monkeypatch):
    monkeypatch.setenv("PIPELINE_TIMEZONE", "Europe/Berlin")
    monkeypatch.setenv("PIPELINE_DIGEST", "07:00 ops@example.com, https://hooks.example.com/1")
    settings.cache_clear()
    time.move_to(TUESDAY - 2 * HOUR)


def look():
    with transaction(durable=False) as session:
        digest.send_if_due(session, clock(session))


def sent():
    with reading() as session:
        rows = session.execute(
            select(Notice.episode, NoticeDelivery.target)
            .join(NoticeDelivery)
            .order_by(Notice.id, NoticeDelivery.target)
        )
        return [(day, target.partition("@")[0][:5]) for day, target in rows]


def facts():
    with reading() as session:
        return session.scalars(select(Notice).where(Notice.kind == "digest").order_by(Notice.id.desc())).first()


# ---- when


def test_it_goes_out_at_its_hour_once_however_often_somebody_looks(time):
    look()  # of yesterday: the first one says that it is set up
    time.move_to(TUESDAY - timedelta(seconds=1))
    look()
    assert sent() == [("2026-11-16", "https"), ("2026-11-16", "ops")]

    time.move_to(TUESDAY)
    for _ in range(3):
        look()
    assert sent()[2:] == [("2026-11-17", "https"), ("2026-11-17", "ops")]


def test_several_beats_that_look_at_once_send_one(time):
    time.move_to(TUESDAY)
    beats = [threading.Thread(target=look) for _ in range(4)]
    for one in beats:
        one.start()
    for one in beats:
        one.join()

    assert len(sent()) == 2


def test_a_beat_that_comes_back_late_sends_the_newest_which_begins_where_the_last_one_ended(time):
    time.move_to(TUESDAY)
    look()
    time.move_to(TUESDAY + timedelta(days=3, hours=5))
    look()

    assert [day for day, _ in sent()] == ["2026-11-17"] * 2 + ["2026-11-20"] * 2
    assert facts().facts["since"] == TUESDAY.isoformat()
    assert facts().facts["until"] == (TUESDAY + timedelta(days=3)).isoformat()


def test_it_is_seven_by_the_wall_on_either_side_of_a_change_of_the_clocks(time):
    plan = digest.notice.digest_plan("07:00")

    assert digest.latest(plan, datetime(2026, 10, 24, 12, tzinfo=UTC)) == datetime(2026, 10, 24, 5, tzinfo=UTC)
    assert digest.latest(plan, datetime(2026, 10, 25, 12, tzinfo=UTC)) == datetime(2026, 10, 25, 6, tzinfo=UTC)


def test_an_hour_that_the_clocks_skip_comes_after_the_gap(time):
    plan = digest.notice.digest_plan("02:30")

    assert digest.latest(plan, datetime(2026, 3, 29, 12, tzinfo=UTC)) == datetime(2026, 3, 29, 1, tzinfo=UTC)


def test_without_targets_of_its_own_it_goes_where_notices_go(time, monkeypatch):
    monkeypatch.setenv("PIPELINE_DIGEST", "07:00")
    monkeypatch.setenv("PIPELINE_NOTIFY", "all@example.com")
    settings.cache_clear()
    look()

    assert sent() == [("2026-11-16", "all")]


def test_nobody_asked_for_one(time, monkeypatch):
    monkeypatch.delenv("PIPELINE_DIGEST")
    settings.cache_clear()
    look()

    assert sent() == []


# ---- what


def read():
    look()
    with reading() as session:
        row = session.scalars(select(Notice).where(Notice.kind == "digest").order_by(Notice.id.desc())).first()
        return post.put(row.kind, context(row), {})


def test_a_quiet_night(time):
    make_schedule("shipments")
    time.move_to(TUESDAY)
    said = read()

    assert said.title == "Digest of Tue 17 Nov 2026: all is well, 0 of 0 runs succeeded"
    assert said.text.startswith("From Mon 16 Nov 2026 at 07:00:00 Berlin time to Tue 17 Nov 2026 at 07:00:00 Berlin")
    assert "Nothing is open." in said.text
    assert said.command == "pipeline runs --since 1d"


def test_a_night_in_which_much_went_wrong(time):
    time.move_to(TUESDAY - 5 * HOUR)
    well = finished_run("shipments", due_at=TUESDAY - 5 * HOUR)
    make_delivery(well)
    failed = finished_run("invoices", due_at=TUESDAY - 4 * HOUR, status="failed", error="fetch: the\nwarehouse is away")
    held = make_run("payroll", due_at=TUESDAY - 3 * HOUR, status="waiting", waiting_for="approval", error="+40 % rows")
    unsure = finished_run("payroll", due_at=TUESDAY - 3 * HOUR, status="partial", error="1 uncertain")
    make_delivery(unsure, "x@example.com", status="uncertain")
    with transaction() as session:
        notices.tell(session, Kind.UNCERTAIN, notices.about_run(unsure.id), "1", run=unsure)
        late = {"deadline": (TUESDAY - HOUR).isoformat()}
        notices.tell(session, Kind.LATE_FINISH, "schedule:payroll", "1", run=held, facts=late)
        error = "schedules/x.yaml: is wrong"
        session.add(BadFile(file="schedules/x.yaml", schedule_key="x", error=error, since=MONDAY))
    time.move_to(TUESDAY)
    change("invoices", next_due_at=TUESDAY + 3 * HOUR)
    said = read()

    assert said.title == (
        "Digest of Tue 17 Nov 2026: 1 failed, 1 partly failed, 1 late, 1 waiting, 1 uncertain, 1 refused file, "
        "1 of 4 runs succeeded"
    )
    assert f"- invoices for 2026-W46 ({str(failed.id)[:13]}), failed: fetch: the warehouse is away\n" in said.text
    assert f"- payroll for 2026-W46 ({str(held.id)[:13]}) waits for an approval: +40 % rows" in said.text
    assert "Of 1 message nobody can say whether they went out" in said.text
    assert "deadline Tue 17 Nov 2026 at 06:00:00 Berlin time" in said.text
    assert "- schedules/x.yaml: is wrong" in said.text
    assert "- payroll: 0 of 2\n- invoices: 0 of 1\n- shipments: 1 of 1" in said.text
    assert "- invoices, Tue 17 Nov 2026 at 10:00:00 Berlin time" in said.text
    assert said.command == f"pipeline show {str(failed.id)[:13]}"
    assert "fetch: the warehouse is away — pipeline show" in said.html


def test_what_a_report_says_of_itself_is_no_markup(time):
    finished_run("invoices", due_at=TUESDAY - 4 * HOUR, status="failed", error="<script>alert(1)</script>")
    time.move_to(TUESDAY)

    html = read().html
    assert "&lt;script&gt;" in html
    assert "<script>" not in html


def test_of_a_thousand_schedules_it_names_some_and_counts_the_rest(time):
    for number in range(25):
        make_schedule(f"s{number:02}")
        change(f"s{number:02}", next_due_at=TUESDAY + HOUR)
    time.move_to(TUESDAY)

    assert "the first 20 of 25 schedules" in read().text


def test_before_it_goes_out_nobody_is_told_of_yesterdays_trouble_twice(time):
    finished_run("invoices", due_at=TUESDAY - 30 * HOUR, finished_at=TUESDAY - 29 * HOUR, status="failed", error="x")
    time.move_to(TUESDAY)

    assert "all is well" in read().title
