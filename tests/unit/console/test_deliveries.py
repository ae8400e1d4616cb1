"""One delivery on a page of its own: what happened to it, and what people do with it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from pipeline.db import reading, transaction
from pipeline.models import Audit, Delivery, Run, Scope
from tests.factories import (
    finished_run,
    make_delivery,
    make_delivery_attempt,
    make_document,
    make_run,
    make_schedule,
    make_step,
)
from tests.unit.console.visits import logged_in, send, text_of


def test_a_delivery_says_all_that_happened_to_it(http):
    run = make_run()
    lost = make_delivery(run, status="failed", reason="550 no such user <really>")
    make_delivery_attempt(lost, "failed", code=550, text="no such user", relay="smtp.example")
    listed = http.get(f"/runs/{run.id}/deliveries").text
    assert f"/runs/{run.id}/deliveries/{lost.id}" in listed
    page = http.get(f"/runs/{run.id}/deliveries/{lost.id}")
    said = text_of(page.text)
    assert all(words in said for words in ("anna@acme.example", "failed", "no such user", "smtp.example"))
    assert "<really>" not in page.text
    assert http.get(f"/runs/{finished_run().id}/deliveries/{lost.id}").status_code == 404


def test_what_is_stored_is_sent_once_more_also_to_somebody_else(http):
    run = finished_run()
    first = make_delivery(run, document_id=make_document(run).id)
    page = f"/runs/{run.id}/deliveries/{first.id}"
    form = {"key": "ACME", "delivery": str(first.id), "to": "boss@acme.example", "reason": "by phone"}
    done = send(http, page, f"/runs/{run.id}/resend", **form)
    with reading() as session:
        made = session.scalars(select(Delivery).where(Delivery.repeat == 1)).one()
        assert (made.address, made.repeat_of) == ("boss@acme.example", first.id)
        assert session.scalars(select(Audit.by).where(Audit.action == "resend")).one() == "anna"
    assert done.headers["Location"] == f"/runs/{run.id}/deliveries/{made.id}"
    assert "It is sent to boss@acme.example once more" in text_of(http.get(done.headers["Location"]).text)
    wrong = send(http, page, f"/runs/{run.id}/resend", **{**form, "to": "nobody"})
    assert wrong.headers["Location"] == page
    assert "is not an e-mail address" in text_of(http.get(page).text)


def test_somebody_gets_nothing_more_of_a_run_that_is_under_way(http):
    run = make_run(status="running")
    one = make_delivery(run, status="queued")
    page = f"/runs/{run.id}/deliveries/{one.id}"
    send(http, page, f"/runs/{run.id}/skip", address=one.address, delivery=str(one.id))
    assert "Nothing more of this run is sent to anna@acme.example." in text_of(http.get(page).text)
    with reading() as session:
        assert session.get_one(Delivery, one.id).status == "skipped"


def test_the_list_is_saved_as_a_table(http):
    run = make_run()
    make_delivery(run)
    make_delivery(run, "bob@globex.example", "Globex", status="failed")
    answer = http.get(f"/runs/{run.id}/deliveries.csv?status=failed")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "bob@globex.example" in answer.text
    assert "anna@acme.example" not in answer.text
    assert f"/runs/{run.id}/deliveries.csv?status=failed" in http.get(f"/runs/{run.id}/deliveries?status=failed").text


def test_the_links_of_a_message_are_taken_back(http):
    run = finished_run()
    one = make_delivery(run)
    page = f"/runs/{run.id}/deliveries/{one.id}"
    send(http, page, f"/runs/{run.id}/withdraw", address=one.address, delivery=str(one.id))
    said = http.get(page).text
    assert "lead nowhere any more" in text_of(said)
    assert "were taken back" in text_of(said)
    assert "Take back links" not in said


def test_who_may_only_look_sends_nothing(stranger):
    run = finished_run()
    one = make_delivery(run, document_id=make_document(run).id)
    http = logged_in(stranger, Scope.READ)
    page = f"/runs/{run.id}/deliveries/{one.id}"
    assert "Send once more" not in http.get(page).text
    for verb in ("resend", "skip", "withdraw"):
        assert send(http, page, f"/runs/{run.id}/{verb}", key="ACME", address=one.address).status_code == 403


def test_who_may_only_look_is_led_to_no_button_that_is_not_there(stranger):
    run = finished_run(status="failed", error="fetch: no such table")
    make_step(run, "fetch:warehouse", status="failed", attempts=("failed",))
    page = logged_in(stranger, Scope.READ).get(f"/runs/{run.id}").text
    assert "#rerun" not in page
    assert f"<code>pipeline rerun {run.id}</code> does it again" in page
    assert f'<a href="/runs/{run.id}#wrong">What went wrong</a>' in page
    assert f'<a href="/runs/{run.id}#rerun">Rerun</a> does it again' in logged_in(stranger).get(f"/runs/{run.id}").text


def test_what_can_only_be_made_again_is_not_offered_to_be_sent_again(http):
    """A document that failed has to be made first: rerunning does that, resending could not."""
    run = finished_run(status="partial", error="of the deliveries: 1 failed")
    make_step(run, "deliver:0")
    make_delivery(run, status="failed", document_id=make_document(run, status="failed", error="no room").id)
    page = http.get(f"/runs/{run.id}").text
    assert "Resend" not in page
    assert 'class="button main">Rerun' in page
    make_delivery(run, "bob@globex.example", "Globex", status="failed", document_id=make_document(run, "Globex").id)
    assert "Resend 1 failed" in http.get(f"/runs/{run.id}").text


def test_what_the_schedule_says_today_is_told_before_a_rerun(http):
    run = finished_run(status="failed")
    with transaction() as session:
        row = session.get_one(Run, run.id)
        row.revision = "another"
        row.definition = {**row.definition, "allow_failed": "3%"}
    make_schedule()
    said = http.get(f"/runs/{run.id}").text
    assert "What has changed since" in said
    assert "<dt>allow_failed</dt><dd><del>3%</del>" in said


@pytest.mark.parametrize("last", [None, "end"])
def test_a_page_is_told_of_changes_by_those_who_are_logged_in_only(http, last):
    run = finished_run(finished_at=datetime.now(UTC))
    headers = {"Last-Event-ID": last} if last else {}
    answer = http.get(f"/runs/{run.id}/events", headers=headers)
    if last:
        assert answer.status_code == 204
    else:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert "event: end" in answer.text
    http.cookies.clear()
    assert http.get(f"/runs/{run.id}/events", follow_redirects=False).status_code == 303
