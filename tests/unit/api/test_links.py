"""What readers of messages see behind their links: one click ends a subscription, a look ends nothing."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from pipeline.adapters import storage
from pipeline.adapters.secret_keys import secret_keys
from pipeline.db import reading, transaction
from pipeline.models import Audit, Door, OptOut, Subscription
from pipeline.schedule import Person
from pipeline.services import links, optouts, subscribing
from pipeline.services.audit import Actor
from pipeline.settings import settings
from tests.factories import finished_run, make_delivery, make_document, make_file, make_run, make_schedule

LATER = datetime.now(UTC) + timedelta(days=30)


def ended():
    with reading() as session:
        return session.scalar(select(func.count()).select_from(OptOut))


def test_a_reader_is_asked_in_their_language_and_one_click_ends_it(http):
    context = {"name": None, "locale": "de_DE", "zone": None}
    delivery = make_delivery(make_run(), context=context)
    path = f"/u/{optouts.unsubscribe_token(secret_keys(settings()), delivery.id)}"
    for _ in range(2):
        asked = http.get(path)
        assert (asked.status_code, ended()) == (200, 0)
    assert '<html lang="de">' in asked.text
    assert "Soll „Your shipments“ nicht mehr an anna@acme.example geschickt werden?" in asked.text
    assert '<form method="post"><button>Abbestellen</button></form>' in asked.text
    assert "noindex" in asked.text
    assert http.head(path).status_code == 405
    assert ended() == 0

    for _ in range(2):
        done = http.post(path, content="List-Unsubscribe=One-Click")
        assert (done.status_code, ended()) == (200, 1)
        assert "wird nicht mehr an anna@acme.example geschickt" in done.text
        assert "<button>" not in done.text
    assert "<button>" not in http.get(path).text
    with reading() as session:
        audited = session.scalars(select(Audit).where(Audit.action == "unsubscribe")).one()
    assert (audited.by, audited.source, audited.address) == ("reader", "http", "testclient")


def test_one_click_ends_the_subscriptions_behind_a_message(http):
    make_schedule(recipients="subscriptions", message={"unsubscribe": True})
    with transaction() as session:
        people = [Person(email="anna@acme.example", key=key) for key in "AB"]
        plan = subscribing.plan_of(session, "shipments")
        subscribing.subscribe(session, Actor("anna", Door.CLI), plan, people, "by hand")
    delivery = make_delivery(make_run(), key="A")

    # As mail programs do it (RFC 8058): a form, no cookie, no page before it.
    form = {"List-Unsubscribe": "One-Click"}
    done = http.post(f"/u/{optouts.unsubscribe_token(secret_keys(settings()), delivery.id)}", data=form)
    assert done.status_code == 200
    with reading() as session:
        rows = session.scalars(select(Subscription).order_by(Subscription.key)).all()
        assert [(row.key, row.status) for row in rows] == [("A", "unsubscribed"), ("B", "unsubscribed")]
        assert rows[0].ended_by == f"the link in message {delivery.message_id}"
        assert optouts.barred(session, ["anna@acme.example"], "shipments")


def test_what_a_message_says_of_itself_is_text(http):
    delivery = make_delivery(make_run(), address="<i>@acme.example")
    page = http.get(f"/u/{optouts.unsubscribe_token(secret_keys(settings()), delivery.id)}").text
    assert "<i>" not in page


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_link_that_is_none_says_so_and_ends_nothing(http, method):
    answer = getattr(http, method)("/u/nonsense")
    assert (answer.status_code, ended()) == (410, 0)
    assert "This link is not one of ours, or not whole" in answer.text


def test_a_document_is_a_file_to_save_that_nobody_keeps_on_the_way(http):
    run = make_run()
    document = make_document(run, "Zürich & Söhne")
    data = bytes(range(256)) * 3000
    stored = storage.store().put(data, "document", ".html")
    make_file(run, document, stored.uri, size=stored.size, media_type="text/html")
    delivery = make_delivery(run, document_id=document.id)
    token = links.document_token(secret_keys(settings()), delivery.id, document.id, "html", LATER)
    answer = http.get(f"/d/{token}")
    assert (answer.status_code, answer.content) == (200, data)
    assert answer.headers["Content-Length"] == str(len(data))
    name = "shipments-Z%C3%BCrich%20%26%20S%C3%B6hne-2026-W46.html"
    assert answer.headers["Content-Disposition"] == f"attachment; filename*=utf-8''{name}"
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"

    # A download that was broken off goes on where it was; RFC 9110.
    rest = http.get(f"/d/{token}", headers={"Range": "bytes=1000-", "If-Range": answer.headers["ETag"]})
    assert (rest.status_code, rest.content) == (206, data[1000:])
    assert rest.headers["Content-Range"] == f"bytes 1000-{len(data) - 1}/{len(data)}"
    beyond = http.get(f"/d/{token}", headers={"Range": f"bytes={len(data)}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(data)}")


def test_a_document_whose_link_has_ended_or_that_is_gone_says_so(http):
    run = make_run()
    document, delivery = make_document(run), make_delivery(run)
    keys, ago = secret_keys(settings()), datetime(2020, 1, 1, tzinfo=UTC)
    over = http.get(f"/d/{links.document_token(keys, delivery.id, document.id, 'pdf', ago)}")
    assert (over.status_code, "This link ended on 2020-01-01" in over.text) == (410, True)
    gone = http.get(f"/d/{links.document_token(keys, delivery.id, document.id, 'pdf', LATER)}")
    assert (gone.status_code, "is not kept any more" in gone.text) == (404, True)
    make_file(run, document, "document/00/lost.pdf")
    storage.store().begin(None)  # the store is there, its file is not
    lost = http.get(f"/d/{links.document_token(keys, delivery.id, document.id, 'pdf', LATER)}")
    assert lost.status_code == 404


def test_links_are_no_part_of_the_documented_api(http):
    assert not [path for path in http.get("/api/openapi.json").json()["paths"] if re.match("/[ud]/", path)]


@pytest.mark.parametrize("how", ["link", "message"])
def test_the_links_of_a_message_are_taken_back_by_one_of_them_or_by_who_got_it(as_, how):
    """Of that message all, of others none: a message that is sent later has links of its own."""
    http = as_()
    run = finished_run()
    mine, other = (make_delivery(run, address) for address in ("anna@acme.example", "bob@acme.example"))
    document = make_document(run, "ACME")
    stored = storage.store().put(b"%PDF", "document", ".pdf")
    make_file(run, document, stored.uri, size=4, sha256=stored.sha256)
    token, others = (
        links.document_token(secret_keys(settings()), one.id, document.id, "pdf", LATER) for one in (mine, other)
    )
    assert http.get(f"/d/{token}").content == b"%PDF"
    if how == "link":
        assert http.post("/api/links/withdraw", json={"url": f"https://reports.example/d/{token}"}).json()["new"]
    else:
        whom = {"addresses": ["anna@acme.example"]}
        answer = http.post(f"/api/runs/{run.id}/deliveries/withdraw", json=whom)
        assert answer.json() == {"withdrawn": 1}
    gone = http.get(f"/d/{token}")
    assert (gone.status_code, "taken back" in gone.text) == (410, True)
    assert http.get(f"/d/{others}").content == b"%PDF"
    assert http.post(f"/api/runs/{run.id}/deliveries/withdraw").json() == {"withdrawn": 1}
    assert http.get(f"/d/{others}").status_code == 410
    nobody = http.post(f"/api/runs/{run.id}/deliveries/withdraw", json={"addresses": ["zoe@acme.example"]})
    assert (nobody.status_code, nobody.json()["field"]) == (422, "addresses")
