"""`pipeline notices` and `pipeline notify`, as people and machines type them."""

from __future__ import annotations

import pytest

from pipeline import notifier
from pipeline.db import transaction
from pipeline.notice import Kind
from pipeline.services import notices
from pipeline.settings import settings
from tests.factories import make_run, make_schedule
from tests.smtp_server import smtp_server
from tests.webhook import webhook

__all__ = ["smtp_server", "webhook"]
pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def live(smtp_server, monkeypatch):
    monkeypatch.setenv("PIPELINE_SMTP_URL", smtp_server.url)
    monkeypatch.setenv("PIPELINE_MAIL", "live")
    settings.cache_clear()
    return smtp_server


def tell(kind=Kind.RUN_FAILED, episode="1", *targets):
    run = make_run()
    with transaction() as session:
        subject = notices.about_schedule("shipments")
        facts = {"reason": "fetch: the warehouse is away"}
        notices.tell(session, kind, subject, episode, run=run, facts=facts, targets=targets)


def test_what_was_told_and_what_is_still_to_be_told(typed, webhook):
    tell(Kind.RUN_FAILED, "1", webhook.url, "ops@example.org")
    notifier.send_next(mail=False)
    said = " ".join(typed("notices").stdout.split())

    assert "Failed: shipments for 2026-W46" in said
    assert "(goes on)" in said
    assert "json webhook 127.0.0.1" in said
    assert "sent" in said
    assert "ops@example.org waiting" in said


def test_for_machines(as_json, webhook):
    tell(Kind.RUN_FAILED, "1", f"{webhook.url}/very/secret")
    notifier.send_next(mail=False)
    (found,) = as_json("notices", "shipments")

    assert (found["kind"], found["open"], found["kept_back"], found["schedule"]) == (
        "run_failed",
        True,
        False,
        "shipments",
    )
    assert found["facts"]["reason"] == "fetch: the warehouse is away"
    assert (found["to"][0]["status"], found["to"][0]["answer"]) == ("sent", "200 ok")
    assert "very" not in found["to"][0]["target"]


def test_open_is_what_goes_on_or_has_not_reached_everybody(as_json, webhook):
    tell(Kind.TEST, "1", webhook.url)
    notifier.send_next(mail=False)
    assert as_json("notices", "--open") == []

    tell(Kind.TEST, "2", "ops@example.org")
    tell(Kind.RUN_FAILED, "3")
    assert [one["episode"] for one in as_json("notices", "--open")] == ["3", "2"]


def test_what_was_kept_back_is_shown_to_those_who_ask(as_json):
    tell(Kind.RUN_FAILED, "1", "ops@example.org")
    tell(Kind.RUN_FAILED, "2", "ops@example.org")

    assert [one["episode"] for one in as_json("notices")] == ["1"]
    assert [(one["episode"], one["kept_back"]) for one in as_json("notices", "--all")] == [("2", True), ("1", False)]


def test_nothing_told_yet(typed):
    assert "Nobody has been told anything." in typed("notices").stdout
    assert "Nothing is open." in typed("notices", "--open").stdout


def test_who_is_told_and_named_by_whom(as_json, monkeypatch):
    monkeypatch.setenv("PIPELINE_NOTIFY", "ops@example.org")
    settings.cache_clear()
    make_schedule("shipments", notify=["ops@example.org", "https://hooks.slack.com/services/T1/B2/secret"])

    assert [(one["target"], one["shape"], one["named_by"]) for one in as_json("notify")] == [
        ("ops@example.org", "mail", ["PIPELINE_NOTIFY", "shipments"]),
        ("slack webhook hooks.slack.com …cret", "slack", ["shipments"]),
    ]


def test_a_test_reaches_everybody_or_says_who_is_not(typed, live, webhook, monkeypatch):
    monkeypatch.setenv("PIPELINE_NOTIFY", f"ops@example.org,{webhook.url}/hook")
    settings.cache_clear()
    assert typed("notify", "--test").exit_code == 0
    assert [line["recipient"] for line in live.taken()] == ["ops@example.org"]
    assert webhook.requests[0].json["title"] == "Test: notices reach you"

    webhook.answer(404, "no_service")
    result = typed("notify", "--test")
    assert result.exit_code == 1
    assert "404 no_service" in " ".join(result.stdout.split())


def test_one_target_can_be_tried_before_it_is_named_anywhere(typed, webhook):
    assert typed("notify", "--test", webhook.url).exit_code == 0
    assert len(webhook.requests) == 1

    refused = typed("notify", "--test", "ops at example.org")
    assert refused.exit_code == 2
    assert "neither an e-mail address nor a webhook" in " ".join(refused.stderr.split())


def test_it_says_where_mail_goes_while_it_is_caught(typed):
    assert "PIPELINE_MAIL=catch: mail to them is kept by the catcher" in typed("notify", "ops@example.org").stdout


def test_nobody_is_named(typed):
    assert "set PIPELINE_NOTIFY, or `notify:` in a schedule file" in " ".join(typed("notify").stdout.split())
