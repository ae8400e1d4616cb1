"""Documents on their way to a webhook: what arrives, what the rows say, and that mail has nothing to do with it."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import timedelta

import pytest

from pipeline.adapters.documents import bundle
from pipeline.db import clock, reading, transaction
from pipeline.errors import Blocked, NotFound, Waiting
from pipeline.handle import RunHandle
from pipeline.models import Delivery, Door, Relay, Run, Step
from pipeline.services import answers, ledger, relays, repeating, settling
from pipeline.services.audit import Actor
from pipeline.settings import settings
from pipeline.workflows.report import reopening, sending
from tests.factories import make_delivery, make_run, make_schedule, make_step
from tests.smtp_server import smtp_server
from tests.unit.services import acts
from tests.unit.workflows.batches import events, forget, of, send, use
from tests.unit.workflows.test_composing import with_file
from tests.webhook import webhook

__all__ = ["smtp_server", "webhook"]
ANNA = Actor("anna", Door.CLI)


@pytest.fixture
def shop(database, webhook, monkeypatch):
    """A shop's server that is told for real, and the name its URL has in schedule files."""
    use(monkeypatch, MAIL="live", SMTP_URL="smtp://127.0.0.1:9", HOOK_SHOP_URL=f"{webhook.url}/t0ps3cret")
    monkeypatch.setenv("SHOP_SECRET", "s3cret")
    yield webhook
    forget()


def make_batch(*keys, size=2_000, **fields):
    """A run whose deliver step posts a document to the shop for every key."""
    make_schedule(deliver_to=[{"webhook": "hook:shop", "secret": "$SHOP_SECRET", **fields}])
    run = make_run(status="running")
    make_step(run, "deliver:0", status="queued", queue="deliver", published_at=None)
    step = acts.claim(run, "start")
    with RunHandle(step) as handle:
        handle.put("bundle", bundle(settings().home / "templates", "shipments"), kind="bundle", suffix=".zip")
    for key in keys:
        document, _ = with_file(run, key, size)
        make_delivery(
            run,
            "hook:shop",
            key,
            status="queued",
            channel="webhook",
            document_id=document.id,
            message_id=None,
            relay=None,
            reply=None,
        )
    return run


def send_again(run):
    """Later: what was deferred is due, and whatever was down may be tried."""
    with transaction() as session:
        step = acts.step(run, "deliver:0")
        row = session.get_one(Step, step.id)
        row.status, row.not_before, row.published_at = "queued", None, None
        session.query(Relay).update({"open_until": None, "paced_at": None, "pace": None})
        session.query(Delivery).update({"not_before": None})
    return send(run)


def rows(run):
    return {one.key: one for one in of(run)}


def statuses(run):
    return {name: row.status for name, row in rows(run).items()}


def history(run, key):
    return events(rows(run)[key])


def now():
    with reading() as session:
        return clock(session)


def keys_of(shop):
    return [request.headers["Idempotency-Key"] for request in shop.requests]


def test_each_document_is_posted_once_with_its_files_and_what_they_are_about(shop):
    run = make_batch("ACME", "Globex")

    assert send(run) is None
    assert statuses(run) == {"ACME": "accepted", "Globex": "accepted"}
    first = shop.requests[0].json
    row = rows(run)["ACME"]
    assert (first["delivery"], first["schedule"], first["key"]) == (str(row.id), run.schedule_key, "ACME")
    assert first["period"]["label"] == run.period["label"]
    (file,) = first["files"]
    assert (file["format"], file["media_type"], file["size"]) == ("pdf", "application/pdf", 2_000)
    assert hashlib.sha256(base64.b64decode(file["content"])).hexdigest() == file["sha256"]
    assert keys_of(shop) == [str(rows(run)[key].id) for key in ("ACME", "Globex")]
    assert (row.reply, row.relay, history(run, "ACME")) == ("200 OK ok", shop.url, ["dot", "accepted"])
    with reading() as session:
        (said,) = [one.sentence for one in answers.who(session, "ACME").answers]
        opened = reopening.reopen(session.get_one(Run, run.id), row, ledger.sent_digest(session, row.id))
    assert "was handed over to its webhook" in said
    assert (opened.data, opened.exact) == (shop.requests[0].body, True)


@pytest.mark.parametrize(
    ("code", "status", "reply"),
    [(503, "deferred", "503 Service Unavailable busy"), (429, "deferred", "429 Too"), (404, "failed", "404 Not Found")],
)
def test_each_answer_is_a_row(shop, code, status, reply):
    run = make_batch("ACME")
    shop.answer(code, "busy", Retry_After="600")
    send(run)

    row = rows(run)["ACME"]
    assert row.status == status
    assert row.reply.startswith(reply)
    if status == "deferred":
        assert row.not_before - now() > timedelta(seconds=500)
        send_again(run)
        assert statuses(run) == {"ACME": "accepted"}
        assert len(set(keys_of(shop))) == 1
        assert shop.requests[0].body == shop.requests[1].body


def test_what_was_lost_is_repeated_under_its_key_and_held_only_where_the_file_says_so(shop):
    run = make_batch("ACME")
    shop.answer(0)
    send(run)
    assert statuses(run) == {"ACME": "deferred"}
    send_again(run)
    assert history(run, "ACME") == ["dot", "uncertain", "dot", "accepted"]
    assert len(shop.requests) == 2
    assert len(set(keys_of(shop))) == 1


def test_what_was_lost_is_held_for_a_person_where_the_file_says_so(shop):
    run = make_batch("ACME", on_uncertain="hold")
    shop.answer(504, "no answer from behind")
    send(run)

    assert statuses(run) == {"ACME": "uncertain"}
    with transaction() as session:
        settling.resolve(session, ANNA, settling.lock(session, session.get_one(Run, run.id)), [], sent=True)
    assert statuses(run) == {"ACME": "accepted"}


def test_a_server_that_is_down_is_left_alone_and_nothing_of_the_batch_is_burnt(shop, monkeypatch):
    use(monkeypatch, HOOK_SHOP_URL="http://127.0.0.1:9")
    run = make_batch("ACME", "Globex")

    waits = send(run)
    assert isinstance(waits, Waiting)
    assert str(waits).startswith("webhook http://127.0.0.1:9 is down: cannot be reached: ")
    assert statuses(run) == {"ACME": "queued", "Globex": "queued"}


def test_three_answers_of_a_server_in_trouble_are_enough(shop):
    run = make_batch(*(f"K{n}" for n in range(6)))
    for _ in range(6):
        shop.answer(500)

    assert isinstance(send(run), Waiting)
    assert sorted(statuses(run).values()) == ["deferred"] * 3 + ["queued"] * 3
    assert len(shop.requests) == 3


def test_ten_refusals_in_the_same_words_block_the_webhook_and_a_new_secret_lets_it_go_on(shop, monkeypatch):
    run = make_batch(*(f"K{n:02}" for n in range(12)))
    for _ in range(10):
        shop.answer(401, "bad signature")

    assert isinstance(send(run), Blocked)
    assert sorted(statuses(run).values()) == ["failed"] * 10 + ["queued"] * 2
    monkeypatch.setenv("SHOP_SECRET", "another")
    assert send_again(run) is None
    assert list(statuses(run).values())[-2:] == ["accepted", "accepted"]


def test_a_secret_that_is_not_set_loses_nothing(shop, monkeypatch):
    monkeypatch.delenv("SHOP_SECRET")
    run = make_batch("ACME")

    assert "set SHOP_SECRET in the environment" in str(send(run))
    assert statuses(run) == {"ACME": "queued"}
    assert acts.reread(run).waiting_for == "blocked"
    assert shop.requests == []


def test_a_slow_server_keeps_no_worker_for_itself(shop, monkeypatch):
    run = make_batch("ACME", "Globex", "Initech")
    monkeypatch.setattr(sending, "TURN", 0.2)
    shop.slow = 0.3

    waits = send(run)
    assert (str(waits), waits.again_in) == ("lets others have their turn", 0)
    assert list(statuses(run).values()) == ["accepted", "queued", "queued"]


def test_large_files_are_links_or_fail_with_their_size(shop, monkeypatch):
    run = make_batch("ACME", link_above=1_000)
    send(run)
    assert statuses(run) == {"ACME": "failed"}
    assert rows(run)["ACME"].reason.startswith("its files have 2,000 bytes, more than link_above (1,000)")

    use(monkeypatch, PUBLIC_URL="https://reports.example.com")
    again = make_batch("Globex", link_above=1_000)
    send(again)
    (file,) = shop.requests[0].json["files"]
    assert file["url"].startswith("https://reports.example.com/d/")
    assert "content" not in file


@pytest.mark.parametrize("mode", ["catch", "redirect:me@example.com"])
def test_nothing_is_posted_unless_mail_is_live(shop, monkeypatch, mode):
    use(monkeypatch, MAIL=mode)
    run = make_batch("ACME")
    send(run)

    row = rows(run)["ACME"]
    assert (row.status, row.relay, shop.requests) == ("accepted", "outbox", [])
    (kept,) = (settings().var / "outbox").iterdir()
    assert row.reply == f"kept as {kept.name}"
    assert json.loads(kept.read_bytes().partition(b"\r\n\r\n")[2])["delivery"] == str(row.id)
    with reading() as session:
        (answer,) = answers.who(session, "ACME").answers
    assert "for hook:shop was kept as" in answer.sentence
    assert "nothing left this machine" in answer.sentence


def test_the_brake_stops_webhooks_too(shop):
    run = make_batch("ACME")
    with transaction() as session:
        row = relays.find(session, relays.ALL)
        row.stopped_at, row.stopped_by = now(), "anna"

    assert isinstance(send(run), Blocked)
    assert (statuses(run), shop.requests) == ({"ACME": "queued"}, [])


@pytest.mark.parametrize("posted", ["queued", "accepted"])
def test_mail_that_is_in_a_webhooks_batch_goes_by_its_relay(shop, smtp_server, monkeypatch, posted):
    """As when a plan is made anew by a host that has more processes, and cuts it otherwise."""
    use(monkeypatch, SMTP_URL=smtp_server.url)
    run = make_batch("ACME")
    with transaction() as session:
        session.query(Delivery).update({"status": posted})
    document = rows(run)["ACME"].document_id
    make_delivery(run, "ok@acme.example", "ACME", status="queued", document_id=document, relay=None, reply=None)

    assert send(run) is None
    assert {(row.channel, row.status) for row in of(run)} == {("email", "accepted"), ("webhook", "accepted")}
    assert (len(smtp_server.taken()), len(shop.requests)) == (1, int(posted == "queued"))


def test_a_webhook_that_is_down_holds_up_no_mail_of_its_batch(shop, smtp_server, monkeypatch):
    use(monkeypatch, SMTP_URL=smtp_server.url, HOOK_SHOP_URL="http://127.0.0.1:9/")
    run = make_batch("ACME")
    document = rows(run)["ACME"].document_id
    make_delivery(run, "ok@acme.example", "Globex", status="queued", document_id=document, relay=None, reply=None)

    assert isinstance(send(run), Waiting)
    assert statuses(run) == {"ACME": "queued", "Globex": "accepted"}


def test_an_intended_repeat_has_a_key_of_its_own(shop):
    run = make_batch("ACME")
    send(run)
    with transaction() as session:
        row = session.get_one(Run, run.id)
        (again,) = repeating.resend(session, ANNA, row, ["ACME"], reason="their disk was full")
        assert (again.channel, again.address, again.message_id) == ("webhook", "hook:shop", None)
    send_again(run)

    with transaction() as session:
        row = session.get_one(Run, run.id)
        with pytest.raises(NotFound, match=r'nobody was to be mailed the key "ACME" in run .*: it went to hook:shop'):
            repeating.resend(session, ANNA, row, ["ACME"], to="anna@acme.example")
        with pytest.raises(NotFound, match="the run posts nothing to hook:shp: it does to hook:shop"):
            repeating.resend(session, ANNA, row, ["ACME"], to="hook:shp")
    first, second = shop.requests
    assert first.headers["Idempotency-Key"] != second.headers["Idempotency-Key"]
    assert second.json["repeat_of"] == first.json["delivery"]
