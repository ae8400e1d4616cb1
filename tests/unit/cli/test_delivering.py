"""The commands about mail: single deliveries, what a person decides about them, and the emergency brake."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from pipeline.adapters.secret_keys import secret_keys
from pipeline.db import clock, transaction
from pipeline.models import Delivery
from pipeline.services import blocks, deliveries, links, relays, runs
from pipeline.settings import settings
from tests.factories import (
    MONDAY,
    finished_run,
    make_delivery,
    make_delivery_attempt,
    make_document,
    make_run,
    make_step,
)

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def run(database):
    """A run with one message handed over, one uncertain and one refused."""
    run = finished_run(status="partial", error="of the deliveries: 1 failed, 1 uncertain")
    document = make_document(run)
    make_delivery(run, "anna@acme.example", document_id=document.id)
    nothing = {"relay": "smtp.example", "sent_at": None, "document_id": document.id}
    why = "its process died between the final dot and the answer"
    doubtful = make_delivery(run, "bob@acme.example", status="uncertain", reason=why, **nothing)
    make_delivery_attempt(doubtful, "dot", relay="smtp.example")
    make_delivery_attempt(doubtful, "uncertain", MONDAY + timedelta(minutes=1), text=why)
    refused = "550 5.1.1 no such user"
    make_delivery(run, "cid@acme.example", status="failed", reason=refused, reply=refused, **nothing)
    return run


def test_deliveries_are_listed_with_what_the_server_said_last(typed, run):
    shown = typed("deliveries").stdout

    assert "1 failed, 1 uncertain, 1 accepted" in " ".join(shown.split()) or "1 accepted" in shown
    assert "250 2.0.0 queued as" in " ".join(shown.split())
    assert shown.index("cid@acme.exam") < shown.index("bob@acme.exam") < shown.index("anna@acme.exam")
    assert "pipeline resolve" in shown


def test_they_can_be_narrowed_and_read_by_machines(typed, as_json, run):
    found = as_json("deliveries", run.id, "--status", "uncertain", "--key", "ACME", "--history")

    assert found["counts"] == {"uncertain": 1}
    (bob,) = found["deliveries"]
    assert (bob["address"], bob["repeat"], [one["event"] for one in bob["history"]]) == (
        "bob@acme.example", 0, ["dot", "uncertain"],
    )  # fmt: skip
    assert as_json("deliveries", "--limit", 1)["more"] == 2
    assert as_json("deliveries") == as_json("deliveries", "--limit", 3)
    assert as_json("deliveries", "--key", "NOBODY")["deliveries"] == []
    assert "No delivery fits" in typed("deliveries", "--key", "NOBODY").stdout
    wrong = typed("deliveries", "--status", "uncertian")
    assert (wrong.exit_code, wrong.stderr) == (2, 'no delivery has the status "uncertian": did you mean uncertain?\n')


def test_what_is_uncertain_is_settled_by_who_has_looked(typed, as_json, run):
    assert "say what became of them: either --sent or --resend" in typed("resolve", run.id).stderr
    settled = as_json("resolve", run.id, "bob@acme.example", "--sent", "--by", "anna")

    assert [(one["address"], one["status"]) for one in settled["deliveries"]] == [("bob@acme.example", "accepted")]
    assert "it was sent, says anna" in settled["deliveries"][0]["reason"]
    assert as_json("audit", run.id)[0]["action"] == "resolve"
    assert "is uncertain" in typed("resolve", run.id, "--sent").stderr
    said = " ".join(typed("who", "bob@acme.example", "--since", "4000d").stdout.split())
    assert "counts as handed over to relay smtp.example" in said


def test_a_document_is_sent_once_more_to_somebody_else(typed, as_json, run):
    made = as_json("resend", run.id, "--key", "ACME", "--to", "boss@acme.example", "--reason", "asked by phone")

    (one,) = made["deliveries"]
    assert (one["address"], one["repeat"], one["status"]) == ("boss@acme.example", 1, "deferred")
    assert "asked by phone" in one["reason"]
    assert typed("resend", run.id, "--key", "ACMF").stderr.rstrip().endswith("did you mean ACME?")
    said = " ".join(typed("who", "boss@acme.example", "--since", "4000d").stdout.split())
    assert "is to be sent once more" in said


def test_somebody_is_skipped(typed, as_json, database):
    run = make_run(status="running")
    make_delivery(run, status="queued")
    assert as_json("skip", run.id, "anna@acme.example")["counts"] == {"skipped": 1}
    assert "is skipped" in typed("skip", run.id, "anna@acme.example").stderr


def test_who_was_skipped_after_a_relay_had_turned_them_away_is_shown_as_skipped(typed, database):
    greylisted = "451 4.7.1 Greylisted, try again later"
    run = make_run(status="waiting", waiting_for="deferred")
    make_delivery(run, status="deferred", relay="relay.example:25", reply=greylisted, reason=greylisted)
    assert f"relay relay.example:25: {greylisted}" in " ".join(typed("show", run.id).stdout.split())

    typed("skip", run.id, "anna@acme.example", "--reason", "asked by phone")
    said = " ".join(typed("show", run.id).stdout.split())
    assert "asked by phone" in said
    assert greylisted not in said


def test_links_in_messages_are_taken_back(typed, as_json, run):
    """By whom they went to, all of a run, or one by its address; what would be all is never taken for granted."""
    found = as_json("withdraw", run.id, "anna@acme.example", "--reason", "to the wrong one", "--by", "eve")
    assert found == {"withdrawn": 1}
    (kept,) = as_json("audit", run.id)
    assert (kept["action"], kept["by"], kept["detail"]["reason"]) == ("withdraw", "eve", "to the wrong one")
    nothing = typed("withdraw", run.id)
    assert (nothing.exit_code, nothing.stderr) == (2, "say in which messages: ADDRESS … or --all\n")
    assert "nothing is for zoe@acme.example" in typed("withdraw", run.id, "zoe@acme.example").stderr
    assert typed("withdraw", run.id, "--all").stdout == "The links in 2 messages lead nowhere any more.\n"
    assert typed("withdraw", run.id, "--all").stdout == "Nothing new: it had been taken back before.\n"


def test_one_link_is_taken_back_by_its_address(typed, as_json, run):
    with transaction() as session:
        sent = session.scalars(select(Delivery).where(Delivery.address == "anna@acme.example")).one()
        later = clock(session) + timedelta(days=1)
        token = links.document_token(secret_keys(settings()), sent.id, sent.document_id, "pdf", later)
    link = f"https://reports.example.com/d/{token}"
    assert "a link is taken back alone" in typed("withdraw", link, "--all").stderr
    assert as_json("withdraw", link) == {"withdrawn": 1}
    assert as_json("withdraw", run.id, "anna@acme.example") == {"withdrawn": 0}
    assert typed("withdraw", f"{link}x").exit_code == 2


# ---- the brake


def test_mail_is_stopped_and_started(typed, as_json, database):
    stopped = as_json("mail", "stop", "--reason", "wrong numbers", "--by", "anna")
    assert (stopped["stopped_by"], stopped["stop_reason"]) == ("anna", "wrong numbers")
    assert "All mail was stopped by anna" in typed("mail", "status").stdout
    assert as_json("mail", "start")["stopped_at"] is None
    assert [one["action"] for one in as_json("audit")][:2] == ["mail start", "mail stop"]


def test_who_stops_mail_after_somebody_else_is_told_what_that_does(typed, as_json, database):
    first = as_json("mail", "stop", "--reason", "wrong numbers", "--by", "anna")
    again = " ".join(typed("mail", "stop", "--by", "bob").stdout.split())
    assert again.startswith("It was stopped already by anna on ")
    assert ": wrong numbers. Nothing was changed. All mail was stopped by anna on" in again
    assert [one["action"] for one in as_json("audit")] == ["mail stop"]

    other = " ".join(typed("mail", "stop", "--by", "bob", "--reason", "wrong people").stdout.split())
    assert ": wrong numbers. That is replaced. All mail was stopped by bob on" in other
    said = as_json("mail", "status")
    assert (said["stop_reason"], said["stopped_at"]) == ("wrong people", first["stopped_at"])


def test_one_relay_is_stopped_by_its_host(typed, as_json, database):
    found = as_json("mail", "stop", "--relay", "127.0.0.1")
    assert [(one["name"], one["state"]) for one in found["relays"]] == [("127.0.0.1:2525", "stopped")]
    unknown = typed("mail", "start", "--relay", "smtp.example.com")
    assert (unknown.exit_code, unknown.stderr) == (
        2, 'there is no relay "smtp.example.com": there are 127.0.0.1:2525\n',
    )  # fmt: skip


def test_what_is_blocked_is_told_and_goes_on_with_mail(typed, as_json, database):
    run = make_run(status="running")
    with transaction() as session:
        relays.block(session, "127.0.0.1:2525", "535 bad password", MONDAY)
        blocks.block(session, runs.lock(session, run.id), "relay 127.0.0.1:2525 is blocked: 535 …", tell=True)
    shown = " ".join(typed("mail", "status").stdout.split())
    assert "127.0.0.1:2525 blocked" in shown
    assert "535 bad password" in shown
    assert "shipments: relay 127.0.0.1:2525 is blocked" in shown
    assert "`pipeline mail start`" in typed("show", run.id).stdout

    started = as_json("mail", "start")
    assert (started["blocked"], started["relays"][0]["state"]) == ([], "ready")
    with transaction() as session:
        assert session.query(Delivery).count() == 0
    assert as_json("show", run.id)["run"]["status"] == "running"


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        (["queued"], "Nothing had gone out."),
        (["sending", "queued"], "Nothing had gone out for certain; 1 may have."),
        (["accepted", "accepted", "sending", "uncertain"], "2 deliveries had gone out; 2 more may have."),
    ],
)
def test_a_cancel_says_what_had_gone_out_and_what_may_have(typed, database, statuses, said):
    run = make_run(status="running")
    make_step(run, "deliver:0", status="running", attempts=("running",))
    for number, status in enumerate(statuses):
        make_delivery(run, f"p{number}@x.example", status=status, phase="dot" if status == "sending" else None)
    assert said in " ".join(typed("cancel", str(run.id)).stdout.split())


def test_a_cancel_of_very_many_says_who_takes_them_back(typed, database, monkeypatch):
    monkeypatch.setattr(deliveries, "MANY", 1)
    run = make_run(status="running")
    for number in range(2):
        make_delivery(run, f"p{number}@x.example", status="queued")
    told = " ".join(typed("cancel", str(run.id)).stdout.split())
    assert "is being cancelled: beat takes back what was to be sent, some at a time. Nothing had gone out." in told
