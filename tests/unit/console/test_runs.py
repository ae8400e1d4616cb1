"""Runs on pages: found, seen whole, and acted on."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from pipeline.adapters import storage
from pipeline.db import reading, transaction
from pipeline.models import Approval, Audit, Delivery, Run, Scope, new_id
from tests.factories import (
    MONDAY,
    finished_run,
    make_delivery,
    make_document,
    make_event,
    make_file,
    make_run,
    make_schedule,
    make_step,
)
from tests.unit.console.visits import logged_in, send, text_of

HOUR = timedelta(hours=1)


def row(run):
    with reading() as session:
        return session.get_one(Run, run.id)


def test_runs_are_listed_the_newest_first_and_page_by_page(http):
    make_schedule(overlap="allow")
    runs = [finished_run(due_at=MONDAY + number * HOUR) for number in range(35)]
    first = http.get("/runs").text
    assert [first.count(f"/runs/{run.id}") for run in (runs[34], runs[5], runs[4])] == [1, 1, 0]
    older = http.get("/runs?after=" + first.partition("after=")[2].partition('"')[0]).text
    assert [older.count(f"/runs/{run.id}") for run in (runs[5], runs[4], runs[0])] == [0, 1, 1]
    assert 'rel="next"' in first
    assert 'rel="next"' not in older


def test_runs_are_found_by_state_schedule_and_recipient(http):
    failed = finished_run(status="failed", error="the warehouse is closed")
    other = finished_run("invoices", due_at=MONDAY + HOUR)
    make_delivery(other, address="zoe@acme.example", key="ZETA")
    ways = {
        "status=failed": failed, "status=problems": failed, "schedule=invoices": other, "q=zoe@acme.example": other,
    }  # fmt: skip
    for query, run in ways.items():
        page = http.get(f"/runs?{query}").text
        assert [page.count(f"/runs/{one.id}") for one in (failed, other)] == [int(run == failed), int(run == other)]
    assert "the warehouse is closed" in http.get("/runs").text
    assert "No run is like that." in http.get("/runs?q=nobody").text
    assert http.get("/runs?status=nonsense").status_code == 409
    assert http.get("/runs?schedule=shipmets").status_code == 404


def test_what_is_typed_leads_to_the_run_the_schedule_or_the_person(http):
    run = finished_run()
    typed = {
        str(run.id)[:13]: f"/runs/{run.id}", "shipments@2026-11-16": f"/runs/{run.id}",
        "shipments": "/schedules/shipments", "anna@acme.example": "/recipients?q=anna%40acme.example", "": "/runs",
    }  # fmt: skip
    for text, leads in typed.items():
        assert http.get("/find", params={"q": text}, follow_redirects=False).headers["Location"] == leads


def test_a_run_says_what_went_wrong_what_took_how_long_and_who_got_it(http):
    run = finished_run(status="partial", error="of the deliveries: 1 failed")
    make_step(run, "render:0", status="failed", attempts=("retry", "failed"), error="no such column: region")
    document = make_document(run, "ACME", context={"title": "Acme Ltd"})
    make_document(run, "Globex", status="failed", error="division by zero")
    make_file(run, document, "document/ab/acme.pdf")
    make_delivery(run, document_id=document.id)
    make_delivery(run, "bob@globex.example", "Globex", status="failed", reply="550 no such user")
    make_event(run.id, "healed", "its worker was gone")
    page = http.get(f"/runs/{run.id}").text
    said = text_of(page)
    for words in (
        "of the deliveries: 1 failed", "no such column: region", "Traceback", "Acme Ltd", "division by zero",
        "550 no such user", "its worker was gone", "1 of 2", "bob@globex.example",
    ):  # fmt: skip
        assert words in said
    assert f"/runs/{run.id}/documents/{document.id}/pdf" in page
    assert f"/runs/{run.id}/documents/{document.id}/page.png" in page
    assert page.count('<rect class="bad"') >= 2  # two attempts of render:0 were in vain
    assert "data-over" in page


def test_what_rows_hold_is_text_on_every_page(http):
    run = finished_run(status="failed", error="<script>alert(1)</script>")
    make_step(run, "plan", status="failed", attempts=("failed",), error="<img src=x>")
    make_delivery(run, "<b>@acme.example", "<i>", status="failed", reply="<u>550</u>")
    make_document(run, "<i>", status="failed", error="<em>")
    for path in ("", "/deliveries", "/documents", "/attempts", "/live"):
        page = http.get(f"/runs/{run.id}{path}")
        assert page.status_code == 200
        assert not [mark for mark in ("<script>a", "<img src=x", "<b>@", "<i>", "<u>", "<em>") if mark in page.text]


def test_a_run_that_goes_on_has_a_part_that_is_put_in_place_again(http):
    run = make_run(status="running", started_at=MONDAY)
    make_step(run, "render:0", status="running", attempts=("running",))
    page = http.get(f"/runs/{run.id}").text
    assert f'data-live="/runs/{run.id}/live"' in page
    assert '<meta http-equiv="refresh"' in page  # without a script
    part = http.get(f"/runs/{run.id}/live").text
    assert "<html" not in part
    assert '<rect class="busy"' in part


def test_deliveries_and_documents_are_seen_page_by_page_and_by_state(http):
    run = finished_run()
    for number in range(60):
        make_delivery(run, f"user{number:02}@acme.example", f"K{number:02}")
        make_document(run, f"K{number:02}")
    make_delivery(run, "lost@acme.example", "LOST", status="failed")
    first = http.get(f"/runs/{run.id}/deliveries").text
    after = first.partition("after=")[2].partition('"')[0]
    second = http.get(f"/runs/{run.id}/deliveries?after={after}").text
    assert ("user48@" in first, "user49@" in first, "user49@" in second, "user59@" in second) == (
        True, False, True, True,
    )  # fmt: skip
    failed = http.get(f"/runs/{run.id}/deliveries?status=failed").text
    assert ("lost@acme.example" in failed, "user00@" in failed) == (True, False)
    assert "user07@" in http.get(f"/runs/{run.id}/deliveries?q=K07").text
    assert "user07@" in http.get(f"/runs/{run.id}/deliveries?q=user07").text
    documents = http.get(f"/runs/{run.id}/documents").text
    assert ("K47" in documents, "K48" in documents) == (True, False)
    assert "K48" in http.get(f"/runs/{run.id}/documents?after=K47").text


def test_cancelling_is_on_record_and_said_on_the_page_and_twice_changes_nothing(http):
    run = make_run(status="running")
    for words in ("It is cancelled.", "cancelled by console:anna: wrong week. Nothing was changed."):
        answer = send(http, f"/runs/{run.id}", f"/runs/{run.id}/cancel", reason="wrong week")
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/runs/{run.id}")
        assert words in text_of(http.get(f"/runs/{run.id}").text)
        assert words not in text_of(http.get(f"/runs/{run.id}").text)  # it is said once
    assert (row(run).status, "wrong week" in row(run).error) == ("cancelled", True)
    with reading() as session:
        acts = session.execute(select(Audit.action, Audit.by, Audit.source).where(Audit.kind == "run")).all()
    assert [tuple(one) for one in acts] == [("cancel", "anna", "console")]


def test_the_same_click_twice_is_one_rerun(http, published):
    run = finished_run(status="failed")
    form = {"what": "all", "generation": "1", "reason": "mended"}
    for _ in range(2):
        assert send(http, f"/runs/{run.id}", f"/runs/{run.id}/rerun", **form).status_code == 303
    assert (row(run).generation, row(run).status) == (2, "queued")
    assert set(published) == {run.id}
    nonsense = send(http, f"/runs/{run.id}", f"/runs/{run.id}/rerun", what="nothing")
    assert nonsense.status_code == 303
    assert "Say what is to be done again" in text_of(http.get(f"/runs/{run.id}").text)


@pytest.mark.parametrize(
    ("verb", "status", "answered"), [("approve", "running", "approved"), ("reject", "rejected", "rejected")]
)
def test_who_is_asked_answers_once(http, verb, status, answered):
    run = make_run(status="waiting", waiting_for="approval", error="twice as many recipients as last time")
    with transaction() as session:
        session.add(
            Approval(id=new_id(), run_id=run.id, generation=1, asked_at=MONDAY, reason="many", lapses_at=MONDAY + HOUR)
        )
    assert "Approve and send" in text_of(http.get(f"/runs/{run.id}").text)
    send(http, f"/runs/{run.id}", f"/runs/{run.id}/{verb}", note="looks right")
    assert row(run).status == status
    with reading() as session:
        asked = session.scalars(select(Approval)).one()
        assert (asked.answer, asked.answered_by, asked.note) == (answered, "console:anna", "looks right")
    send(http, f"/runs/{run.id}", f"/runs/{run.id}/{verb}")
    assert "nothing was changed" in text_of(http.get(f"/runs/{run.id}").text)


@pytest.mark.parametrize(("sent", "status"), [("yes", "accepted"), ("no", "deferred")])
def test_what_is_uncertain_is_settled_one_by_one(http, sent, status):
    run = finished_run(status="partial", error="of the deliveries: 2 uncertain")
    for name in ("anna", "bob"):
        make_delivery(run, f"{name}@acme.example", name, status="uncertain", reason="no answer after the dot")
    page = f"/runs/{run.id}/deliveries?status=uncertain"
    send(http, page, f"/runs/{run.id}/resolve", address="anna@acme.example", sent=sent)
    with reading() as session:
        found = dict(session.execute(select(Delivery.address, Delivery.status)).all())
    assert found == {"anna@acme.example": status, "bob@acme.example": "uncertain"}


def test_who_may_only_look_is_offered_nothing_to_do(stranger):
    run = make_run(status="running")
    reader = logged_in(stranger, Scope.READ)
    page = reader.get(f"/runs/{run.id}").text
    assert 'action="/runs' not in page.replace('action="/find"', "")


def test_a_document_is_shown_in_place_and_its_first_page_drawn(http):
    from weasyprint import HTML

    run = finished_run()
    document = make_document(run, "Zürich")
    stored = storage.store().put(HTML(string="<h1>Zürich</h1>").write_pdf(), "document", "pdf")
    make_file(run, document, stored.uri, size=stored.size)
    shown = http.get(f"/runs/{run.id}/documents/{document.id}/pdf")
    assert (shown.status_code, shown.content[:5]) == (200, b"%PDF-")
    assert shown.headers["Content-Disposition"].startswith("inline; filename*=utf-8''shipments-Z%C3%BCrich")
    drawn = http.get(f"/runs/{run.id}/documents/{document.id}/page.png")
    assert (drawn.headers["Content-Type"], drawn.content[:8]) == ("image/png", b"\x89PNG\r\n\x1a\n")
    assert "immutable" in drawn.headers["Cache-Control"]
    other = finished_run("invoices")
    for path in (f"{run.id}/documents/{document.id}/xlsx", f"{other.id}/documents/{document.id}/pdf"):
        assert http.get(f"/runs/{path}").status_code == 404
    http.cookies.clear()
    assert http.get(f"/runs/{run.id}/documents/{document.id}/pdf", follow_redirects=False).status_code == 303


def test_html_of_a_report_runs_in_a_box_of_its_own(http):
    run = finished_run()
    document = make_document(run, "ACME")
    stored = storage.store().put(b"<script>alert(1)</script>", "document", "html")
    make_file(run, document, stored.uri, size=stored.size, media_type="text/html")
    assert (
        http.get(f"/runs/{run.id}/documents/{document.id}/html")
        .headers["Content-Security-Policy"]
        .startswith("sandbox")
    )
    assert http.get(f"/runs/{run.id}/documents/{document.id}/page.png").status_code == 404
