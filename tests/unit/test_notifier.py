"""Beat tells people, over a real relay and real webhooks, whatever is dead and however many beats there are."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest
from freezegun import freeze_time
from sqlalchemy import select

from pipeline import failpoints, notifier
from pipeline.db import clock, reading, transaction
from pipeline.models import NoticeDelivery
from pipeline.notice import Kind
from pipeline.services import notices
from pipeline.services.notices import outbox, reminders
from pipeline.settings import settings
from tests.factories import MONDAY
from tests.smtp_server import smtp_server
from tests.webhook import webhook

__all__ = ["smtp_server", "webhook"]
OPS = "ops@example.org"
SHIPMENTS = notices.about_schedule("shipments")


@pytest.fixture(scope="module")
def frozen():
    with freeze_time(MONDAY, ignore=["tests.webhook"]) as frozen:
        yield frozen


@pytest.fixture
def time(database, frozen):
    frozen.move_to(MONDAY)
    return frozen


@pytest.fixture(autouse=True)
def _live(time, smtp_server, monkeypatch):
    monkeypatch.setenv("PIPELINE_SMTP_URL", smtp_server.url)
    monkeypatch.setenv("PIPELINE_MAIL", "live")
    settings.cache_clear()


class Killed(BaseException):
    """Stands for kill -9: nothing that is written for an Exception runs."""


def die():
    raise Killed


def tell(*targets, kind=Kind.TEST, episode="1", subject=SHIPMENTS, **facts):
    with transaction(durable=False) as session:
        return notices.tell(
            session,
            kind,
            subject,
            episode,
            schedule_key="shipments",
            targets=targets,
            facts={"reason": "late", **facts},
        )


def send(*, mail=True):
    """Everything that one look finds; how many letters."""
    count = 0
    while notifier.send_next(mail=mail):
        count += 1
    return count


def states():
    with reading() as session:
        rows = session.scalars(select(NoticeDelivery).order_by(NoticeDelivery.id))
        return [(row.status, row.attempts, row.answer) for row in rows]


def test_each_target_hears_once_by_its_own_way(smtp_server, webhook):
    tell(OPS, webhook.url)

    assert [send(mail=True), send(mail=False), send(mail=True), send(mail=False)] == [1, 1, 0, 0]
    assert [line["recipient"] for line in smtp_server.taken()] == [OPS]
    assert [request.json["title"] for request in webhook.requests] == ["Test: notices reach you"]
    assert [status for status, *_ in states()] == ["sent", "sent"]
    assert states()[1][2] == "200 ok"


def test_approvers_are_told_why_it_is_they_who_are_told(smtp_server):
    tell(OPS, kind=Kind.APPROVAL_WANTED)
    send()
    (content,) = smtp_server.contents
    assert b"because `approvers` or `notify` of shipments" in content.replace(b"=\r\n", b"")


def test_a_webhook_by_name_is_a_webhook(webhook, monkeypatch):
    monkeypatch.setenv("PIPELINE_HOOK_OPS_URL", f"{webhook.url}/secret")
    tell("hook:ops")

    assert [send(mail=True), send(mail=False)] == [0, 1]
    assert webhook.requests[0].path == "/secret"


def test_what_comes_within_a_minute_is_gathered_in_one_letter(time, webhook):
    tell(webhook.url)
    send(mail=False)
    for number in range(2, 32):
        time.tick(1)
        tell(webhook.url, episode=str(number))
        assert send(mail=False) == 0
    time.tick(30)

    assert send(mail=False) == 1
    first, second = webhook.requests
    assert (len(first.json["notices"]), len(second.json["notices"]), len(second.json["more"])) == (1, 10, 20)
    assert second.json["title"] == "Test: notices reach you (and 29 more)"


def test_where_the_relay_is_what_failed_the_webhook_goes_out_and_mail_waits(time, smtp_server, webhook):
    smtp_server.stop()
    tell(OPS, webhook.url)

    assert [send(mail=True), send(mail=False)] == [1, 1]
    (status, attempts, answer), (other, *_) = states()
    assert (status, attempts, other) == ("waiting", 1, "sent")
    assert "cannot be reached" in answer
    assert send() == 0

    smtp_server.start()
    time.tick(31)
    assert send() == 1
    assert states()[0][:2] == ("sent", 2)
    assert len(smtp_server.taken()) == 1


def test_mail_that_waits_for_its_relay_is_tried_less_and_less_often_and_given_up_after_three_days(time, smtp_server):
    smtp_server.stop()
    tell(OPS)
    tries, start = 0, datetime.now(UTC)
    while states()[0][0] == "waiting":
        tries += send()
        time.tick(timedelta(hours=2))

    assert states()[0][0] == "failed"
    assert 30 < tries < 40  # every fifteen minutes, were somebody to look
    assert timedelta(days=2.9) < datetime.now(UTC) - start < timedelta(days=3.2)
    smtp_server.start()


def test_what_a_webhook_refuses_for_good_is_not_repeated(webhook):
    webhook.answer(404, "no_service")
    tell(webhook.url)

    assert send(mail=False) == 1
    assert states() == [("failed", 1, f"json webhook 127.0.0.1 …{webhook.url[-4:]} answered 404 no_service")]


def test_two_senders_at_once_send_each_letter_once(webhook):
    for number in range(12):
        tell(f"{webhook.url}/{number}", episode=str(number))
    webhook.slow = 0.02
    senders = [threading.Thread(target=send, kwargs={"mail": False}) for _ in range(3)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()

    assert sorted(request.path for request in webhook.requests) == sorted(f"/{number}" for number in range(12))


def test_a_sender_killed_before_it_sends_loses_nothing(time, webhook):
    tell(webhook.url)
    failpoints.arm("notice.taken", die)
    with pytest.raises(Killed):
        send(mail=False)
    assert send(mail=False) == 0  # it may be at work: its lease tells

    time.tick(outbox.LEASE)
    assert send(mail=False) == 1
    assert len(webhook.requests) == 1


def test_a_sender_killed_before_it_records_repeats_one_letter_under_the_same_key(time, webhook):
    tell(webhook.url)
    failpoints.arm("notice.sent", die)
    with pytest.raises(Killed):
        send(mail=False)
    tell(webhook.url, episode="2")
    time.tick(outbox.LEASE)

    assert send(mail=False) == 1
    first, second = webhook.requests
    assert (first.headers["Idempotency-Key"], first.body) == (second.headers["Idempotency-Key"], second.body)


def test_a_dead_sender_on_this_host_is_noticed_at_once(webhook, monkeypatch):
    tell(webhook.url)
    monkeypatch.setattr(outbox.owners, "owner", lambda: outbox.owners.owner_of(2**22 + 1))  # a process that never was
    failpoints.arm("notice.taken", die)
    with pytest.raises(Killed):
        send(mail=False)
    monkeypatch.undo()

    assert outbox.owners.is_dead(outbox.owners.owner_of(2**22 + 1))
    assert send(mail=False) == 1


def test_mail_of_one_matter_its_reminder_and_its_end_is_one_thread(time, smtp_server):
    tell(OPS, kind=Kind.RUN_BLOCKED, episode="1")
    send()
    time.tick(timedelta(hours=2))
    with transaction(durable=False) as session:
        reminders.remind(session, clock(session))
    send()
    time.tick(timedelta(minutes=2))
    with transaction(durable=False) as session:
        notices.settle(session, SHIPMENTS)
    send()

    references = [
        line for content in smtp_server.contents for line in content.split(b"\r\n") if line.startswith(b"References")
    ]
    assert len(references) == 3
    assert len(set(references)) == 1


def test_notices_go_out_while_the_threads_run(webhook, monkeypatch):
    monkeypatch.setattr(notifier, "LOOK", 0.05)
    stopped = threading.Event()
    threads = notifier.Notifier(lambda work: work(), stopped).start()
    tell(webhook.url)
    deadline = monotonic() + 60
    while not webhook.requests and monotonic() < deadline:
        stopped.wait(0.05)
    stopped.set()
    for thread in threads:
        thread.join(60)

    assert len(webhook.requests) == 1
