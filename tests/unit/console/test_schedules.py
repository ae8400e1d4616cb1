"""Schedules on pages: when they are due, what was decided, run by a form and paused."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import func, select

from pipeline import tasks
from pipeline.console import heatmap
from pipeline.db import reading, transaction
from pipeline.models import Audit, Backfill, Run, Schedule, Scope, Slot, new_id
from pipeline.publisher import Publisher
from pipeline.services.answers import SlotDay
from tests.factories import finished_run, make_schedule
from tests.unit.console.visits import logged_in, send, text_of, token_of


def only_run():
    with reading() as session:
        return session.scalars(select(Run)).one()


def test_schedules_are_listed_with_what_comes_next_and_how_it_went_last(http):
    make_schedule(description="for the <warehouse>")
    finished_run(status="failed")
    make_schedule("by_hand", when=None)
    page = http.get("/schedules")
    said = text_of(page.text)
    assert all(words in said for words in ("Your shipments", "07:00", "failed", "by hand", "never"))
    assert "by_hand" not in http.get("/schedules?q=ship").text.partition("<tbody>")[2]
    assert "No schedule is like that." in http.get("/schedules?q=nothing").text


def test_a_schedule_says_when_it_is_due_in_its_own_time_and_what_the_clocks_do(http):
    make_schedule(when={"cron": "30 2 29 3 *", "timezone": "Europe/Berlin"})
    said = text_of(http.get("/schedules/shipments").text)
    assert "Berlin time" in said
    assert "Europe/Berlin" in said
    assert http.get("/schedules/shipmets").status_code == 404
    daily = {"cron": "30 2 * * *", "timezone": "Europe/Berlin"}
    make_schedule("nightly", when=daily)
    assert http.get("/schedules/nightly").status_code == 200


def test_what_was_decided_is_there_as_a_list_and_as_a_calendar(http):
    make_schedule()
    at = datetime.now(UTC) - timedelta(days=3)
    with transaction() as session:
        session.add(
            Slot(id=new_id(), schedule_key="shipments", due_at=at, decision="skipped", reason="a run <was> in the way",
                 decided_at=at)
        )  # fmt: skip
    page = http.get("/schedules/shipments").text
    assert "a run &lt;was&gt; in the way" in page
    assert "1 days had only slots that did not fire" in page
    assert '<rect class="idle"' in page


def test_a_form_made_from_the_parameters_runs_it_once_however_often_it_is_sent(http, published):
    make_schedule()
    page = http.get("/schedules/shipments").text
    assert 'name="p.region" value="eu"' in page
    assert 'name="p.limit" value="10" inputmode="numeric"' in page
    once = page.partition('name="once" value="')[2].partition('"')[0]
    form = {"csrf": token_of(page), "once": once, "p.region": "us", "p.limit": "10", "period": "2026-W40",
            "keys": "ACME, Globex", "to": "me@example.com", "no_send": "on"}  # fmt: skip
    answers = [http.post("/schedules/shipments/trigger", data=form, follow_redirects=False) for _ in range(2)]
    run = only_run()
    assert {one.headers["Location"] for one in answers} == {f"/runs/{run.id}"}
    assert (run.params["region"], run.params["limit"], run.period["label"]) == ("us", 10, "2026-W40")
    assert run.scope == {"keys": ["ACME", "Globex"], "to": ["me@example.com"], "send": False}
    assert (run.trigger, run.triggered_by, published) == ("manual", "console:anna", [run.id])


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"p.limit": "many"}, "must be a whole number"),
        ({"period": "someday"}, 'Period "someday" is not known'),
        ({"to": "nobody"}, "is not an e-mail address"),
    ],
)
def test_a_mistake_is_told_on_the_page_and_opens_nothing(http, form, words):
    make_schedule()
    page = "/schedules/shipments"
    back = send(http, page, f"{page}/trigger", **form).headers["Location"]
    again = http.get(back).text
    assert words in text_of(again)
    # The form is open, and what was typed is still there.
    ((name, typed),) = form.items()
    assert re.search(rf'<details class="menu" open>.*name="{name}" value="{typed}"', again, re.DOTALL)
    assert "csrf" not in back
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Run)) == 0


def test_a_workflow_has_a_field_for_each_parameter_of_its_function(http, monkeypatch):
    def nightly(run, region: str, batch: int = 100, dry: bool = False): ...

    monkeypatch.setitem(tasks.WORKFLOWS, "nightly", nightly)
    make_schedule("import", report=None, recipients=None, workflow="nightly", params={"batch": 5})
    page = http.get("/schedules/import").text
    assert 'name="p.region" value="" required' in page
    assert 'name="p.batch" value="5"' in page
    assert "<option>true</option><option selected>false</option>" in page


def test_who_pauses_after_somebody_else_is_told_what_that_does(http):
    make_schedule()
    page = "/schedules/shipments"
    for note, words in (
        ("we move", "Paused: what is due meanwhile"),
        ("we move", "by console:anna: we move. Nothing was changed. Paused:"),
        ("and mend the roof", "by console:anna: we move. That is replaced. Paused:"),
    ):
        send(http, page, f"{page}/pause", note=note)
        assert words in text_of(http.get(page).text)


def test_pausing_and_resuming_are_on_record_and_say_until_when(http):
    make_schedule()
    page = "/schedules/shipments"
    until = (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M")
    send(http, page, f"{page}/pause", note="the warehouse moves", until=until)
    said = text_of(http.get(page).text)
    assert "It resumes by itself on" in said
    assert "the warehouse moves" in said
    with reading() as session:
        row = session.get_one(Schedule, "shipments")
        assert (row.paused, row.paused_by) == (True, "console:anna")
    send(http, page, f"{page}/resume")
    assert "Resumed." in text_of(http.get(page).text)
    send(http, page, f"{page}/pause", until="yesterday")
    assert "is not a date and time" in text_of(http.get(page).text)
    with reading() as session:
        acts = session.scalars(select(Audit.action).where(Audit.source == "console", Audit.kind == "schedule")).all()
    assert acts == ["pause", "resume"]


def test_who_may_only_look_finds_no_form(stranger):
    make_schedule()
    page = logged_in(stranger, Scope.READ).get("/schedules/shipments").text
    assert "/trigger" not in page
    assert "/pause" not in page


def test_a_year_is_squares_that_show_the_worst_of_each_day():
    today = date(2026, 11, 18)
    days = [
        SlotDay(date(2026, 11, 16), {"fired": 2}, {"succeeded": 1, "failed": 1}),
        SlotDay(date(2026, 11, 17), {"late": 1}, {}),
        SlotDay(today, {"fired": 1}, {}),
    ]
    drawn = heatmap.draw(days, today)
    assert [cell.tone for cell in drawn.cells[-3:]] == ["bad", "warn", "good"]
    assert drawn.cells[-3].words == "16 Nov: 1 succeeded and 1 failed"
    assert len(drawn.cells) == 52 * 7 + 3
    assert [name for _, name in drawn.months][-1] == "Nov"
    assert drawn.cells[0].y == drawn.cells[7].y
    assert drawn.cells[7].x > drawn.cells[0].x


# ---- backfills


@pytest.fixture
def handed(monkeypatch):
    found = []
    monkeypatch.setattr(Publisher, "put", lambda _, run_ids: found.extend(run_ids))
    return found


def test_slots_after_the_fact_are_looked_at_before_they_are_run_and_ended(http, handed):
    """Days are those of the schedule's clock, and the last one is among them."""
    make_schedule(when={"cron": "0 7 * * *", "timezone": "Europe/Berlin"})
    page = "/schedules/shipments/backfill"
    asked = {"from": "2026-11-01", "to": "2026-11-03", "order": "newest"}
    looked = http.get(page, params=asked).text
    assert "3 runs of 3 slots" in text_of(looked)
    assert looked.index("Tue 3 Nov 2026") < looked.index("Sun 1 Nov 2026")
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Run)) == 0
    opened = send(http, page + "?from=2026-11-01", "/schedules/shipments/backfills", **asked, concurrency="2")
    assert opened.headers["Location"] == page
    said = text_of(http.get(page).text)
    assert "It is opened" in said
    assert "3 slots from" in said
    assert len(handed) == 2
    with reading() as session:
        backfill_id = session.scalars(select(Backfill.id)).one()
    again = send(http, page, "/schedules/shipments/backfills", **asked, concurrency="1")
    assert "is at work on slots of this range" in text_of(http.get(again.headers["Location"]).text)
    send(http, page, f"/schedules/shipments/backfills/{backfill_id}/cancel")
    assert "cancell" in text_of(http.get(page).text)
    assert "1 run of" not in text_of(http.get(page, params=asked).text)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"from": "soon"}, '"soon" is not a day'),
        ({"from": "2026-11-03", "to": "2026-11-01"}, "before it begins"),
        ({"from": "1026-11-03"}, "is not a day"),
    ],
)
def test_a_range_that_cannot_be_is_told_so(http, asked, words):
    make_schedule()
    answer = http.get("/schedules/shipments/backfill", params=asked)
    assert (answer.status_code, words in text_of(answer.text)) == (409, True)


def test_who_may_only_look_opens_no_backfill(stranger):
    make_schedule(when={"cron": "0 7 * * *", "timezone": "Europe/Berlin"})
    http = logged_in(stranger, Scope.READ)
    assert "Open 1 run" not in http.get("/schedules/shipments/backfill?from=2026-11-01&to=2026-11-01").text
    refused = send(http, "/schedules/shipments", "/schedules/shipments/backfills", **{"from": "2026-11-01"})
    assert refused.status_code == 403
