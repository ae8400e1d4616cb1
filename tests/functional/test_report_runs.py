"""The report workflow from trigger to inbox, with real processes: what arrives, and what is said when it cannot."""

from __future__ import annotations

import base64
import email
import email.policy
import io
import json
import re
from pathlib import Path

import pytest
from pypdf import PdfReader

from pipeline.models import Door, Run
from pipeline.services import links, optouts
from pipeline.services.audit import Actor
from tests.functional.running import RECIPIENTS, REPORT, Running
from tests.webhook import Webhook, webhook

__all__ = ["webhook"]


def test_each_customer_gets_their_own_shipments_as_a_pdf(pipeline: Running) -> None:
    run = pipeline.run(pipeline.schedule("weekly"))

    assert (run.status, run.error) == ("succeeded", None)
    documents = pipeline.documents(run)
    assert {key: one.status for key, one in documents.items()} == {
        "ACME": "rendered", "BETA": "rendered", "GAMMA": "skipped", "(no key)": "skipped",
    }  # fmt: skip
    assert documents["GAMMA"].error == 'no recipient has the key "GAMMA"'
    deliveries = pipeline.deliveries(run)
    assert {address: one.status for address, one in deliveries.items()} == {
        "ok+acme@example.org": "accepted", "ok+acme2@example.org": "accepted", "ok+beta@example.org": "accepted",
        "ok+omega@example.org": "skipped",
    }  # fmt: skip
    assert deliveries["ok+omega@example.org"].reason == 'no rows for the key "OMEGA" in this period'
    assert sorted(line["recipient"] for line in pipeline.taken(run)) == [
        "ok+acme2@example.org", "ok+acme@example.org", "ok+beta@example.org",
    ]  # fmt: skip
    [data] = [one for one in pipeline.smtp.contents if deliveries["ok+beta@example.org"].message_id.encode() in one]
    message = email.message_from_bytes(data, policy=email.policy.default)
    [attachment] = list(message.iter_attachments())
    pdf = PdfReader(io.BytesIO(attachment.get_content()))
    text = "\n".join(page.extract_text() for page in pdf.pages)
    assert "Your shipments" in text
    assert "BETA" in text
    assert "ACME" not in text
    assert pdf.metadata is not None
    assert pdf.metadata.title
    assert pdf.trailer["/Root"]["/MarkInfo"]["/Marked"]
    readable = pipeline.home / "var" / "reports" / "weekly" / "2026-W46"
    assert sorted(path.name for path in readable.iterdir()) == ["ACME.pdf", "BETA.pdf"]


def test_a_scope_by_hand_narrows_keys_and_people(pipeline: Running) -> None:
    run = pipeline.run(pipeline.schedule("scoped"), "--key", "ACME", "--to", "ok+me@example.org")

    assert set(pipeline.documents(run)) == {"ACME"}
    assert {address: one.status for address, one in pipeline.deliveries(run).items()} == {
        "ok+me@example.org": "accepted"
    }


def test_no_send_renders_and_mails_nobody(pipeline: Running) -> None:
    run = pipeline.run(pipeline.schedule("dry"), "--no-send")

    assert run.status == "succeeded"
    assert pipeline.documents(run)["BETA"].status == "rendered"
    assert {one.status for one in pipeline.deliveries(run).values()} == {"skipped"}
    assert pipeline.taken(run) == []


def test_files_are_delivered_where_the_schedule_says(pipeline: Running, tmp_path: Path) -> None:
    run = pipeline.run(pipeline.schedule("filed", REPORT + f"deliver_to: file://{tmp_path}/{{period}}/\n"))

    assert run.status == "succeeded"
    assert sorted(path.name for path in (tmp_path / "2026-W46").iterdir()) == ["ACME.pdf", "BETA.pdf", "GAMMA.pdf"]
    assert {one.status for one in pipeline.rows_of_deliveries(run)} == {"accepted"}


def test_a_webhook_gets_each_document_beside_the_mail(pipeline: Running, webhook: Webhook) -> None:
    webhook.answer(503, "in a minute", Retry_After="1")
    policy = f"deliver_to: {{webhook: '{webhook.url}/{{key}}'}}\nretry: {{deliver: {{first: 1s}}}}\n"
    run_id = pipeline.trigger(pipeline.schedule("posted", REPORT + RECIPIENTS + policy))
    run = pipeline.until(
        lambda: next((one for one in pipeline.rows(Run, Run.id == run_id) if one.finished_at), None), 60
    )

    assert run.status == "succeeded"
    posted = [one for one in pipeline.rows_of_deliveries(run) if one.channel == "webhook"]
    assert sorted((one.key, one.status) for one in posted) == [(key, "accepted") for key in ("ACME", "BETA", "GAMMA")]
    # One was turned away for a second, and came again under the same key.
    assert len(webhook.requests) == 4
    assert {request.headers["Idempotency-Key"] for request in webhook.requests} == {str(one.id) for one in posted}
    files = {request.json["key"]: base64.b64decode(request.json["files"][0]["content"]) for request in webhook.requests}
    assert {key: data[:5] for key, data in files.items()} == dict.fromkeys(("ACME", "BETA", "GAMMA"), b"%PDF-")
    assert "was handed over to its webhook" in " ".join(pipeline.command("who", "GAMMA").stdout.split())


def test_an_unknown_mailbox_fails_alone_and_is_not_mailed_again(pipeline: Running) -> None:
    people = "recipients: [{email: ok+a@example.org, key: ACME}, {email: 550@example.org, key: BETA}]\n"
    first = pipeline.run(pipeline.schedule("bounced", REPORT + people))
    second = pipeline.run("bounced")

    assert first.status == second.status == "partial" or second.status == "succeeded"
    failed = pipeline.deliveries(first)["550@example.org"]
    assert failed.status == "failed"
    assert "User unknown" in failed.reply
    suppressed = pipeline.deliveries(second)["550@example.org"]
    assert suppressed.status == "suppressed"
    assert "User unknown" in suppressed.reason


def test_a_busy_mailbox_is_tried_again_later(pipeline: Running) -> None:
    people = "recipients: [{email: 451x1@example.org, key: ACME}]\nretry: {deliver: {first: 1s}}\n"
    run_id = pipeline.trigger(pipeline.schedule("busy", REPORT + people))
    run = pipeline.until(
        lambda: next((one for one in pipeline.rows(Run, Run.id == run_id) if one.finished_at), None), 60
    )

    assert run.status == "succeeded"
    delivery = pipeline.deliveries(run)["451x1@example.org"]
    assert (delivery.status, delivery.deferrals) == ("accepted", 1)
    assert [one.event for one in pipeline.history(delivery)] == ["deferred", "dot", "accepted"]
    assert len(pipeline.taken(run)) == 1


def test_one_message_with_links_to_all_documents_of_an_address_until_it_unsubscribes(pipeline: Running) -> None:
    people = "recipients: [{email: ok+both@example.org, key: ACME}, {email: ok+both@example.org, key: BETA}]\n"
    policy = "combine: true\nmessage: {link_above: 0, unsubscribe: true}\n"
    run = pipeline.run(pipeline.schedule("combined", REPORT + people + policy))

    assert run.status == "succeeded"
    (message,) = pipeline.mails(run)
    assert message["Subject"].startswith("Your shipments \N{EN DASH} ACME, BETA")
    text = message.get_body(("plain",)).get_content()
    found = re.findall(r"https://reports.example.net/d/(\S+)", text)
    keys = [(pipeline.home / "var" / "secret.key").read_bytes().strip()]
    with pipeline.transaction() as session:
        names = [links.shared_file(session, keys, token).name for token in found]
        token = message["List-Unsubscribe"].strip("<>").rpartition("/")[2]
        optouts.unsubscribe(session, keys, token, Actor("reader", Door.HTTP))
    assert names == ["combined-ACME-2026-W46.pdf", "combined-BETA-2026-W46.pdf"]

    again = pipeline.run("combined")
    assert pipeline.mails(again) == []
    (delivery,) = pipeline.deliveries(again).values()
    assert (delivery.key, delivery.status) == ("*", "suppressed")
    assert delivery.reason.startswith("unsubscribed on 20")


def test_subscribers_get_theirs_until_they_follow_the_link(pipeline: Running) -> None:
    people = "recipients: {subscriptions: true, people: [{email: ok+desk@example.org, key: ACME}]}\n"
    pipeline.schedule("subscribed", REPORT + people)
    (pipeline.home / "people.csv").write_text(
        "email,key,name\nok+anna@example.org,ACME,Anna\nok+desk@Example.org,ACME,Desk\nok+bob@example.org,BETA,Bob\n"
    )
    pipeline.command("sync", check=True)
    pipeline.command("subscribe", "subscribed", "--import", "people.csv", check=True)

    run = pipeline.run("subscribed")
    assert run.status == "succeeded"
    assert {address: one.context["name"] for address, one in pipeline.deliveries(run).items()} == {
        "ok+anna@example.org": "Anna", "ok+bob@example.org": "Bob", "ok+desk@example.org": None,
    }  # fmt: skip
    (message,) = [one for one in pipeline.mails(run) if "anna" in one["To"]]
    keys = [(pipeline.home / "var" / "secret.key").read_bytes().strip()]
    with pipeline.transaction() as session:
        token = message["List-Unsubscribe"].strip("<>").rpartition("/")[2]
        optouts.unsubscribe(session, keys, token, Actor("reader", Door.HTTP))
    pipeline.command("unsubscribe", "subscribed", "ok+desk@example.org", check=True)

    again = pipeline.run("subscribed")
    found = {address: one.status for address, one in pipeline.deliveries(again).items()}
    assert found == {"ok+bob@example.org": "accepted", "ok+desk@example.org": "suppressed"}


def test_a_recipient_over_whom_the_server_hangs_up_holds_nobody_else_up(pipeline: Running) -> None:
    people = "recipients: [{email: 421@example.org, key: ACME}, {email: ok+later@example.org, key: BETA}]\n"
    policy = "retry: {deliver: {first: 1s, give_up_after: 1s}}\n"
    run_id = pipeline.trigger(pipeline.schedule("goodbye", REPORT + people + policy))
    run = pipeline.until(
        lambda: next((one for one in pipeline.rows(Run, Run.id == run_id) if one.finished_at), None), 60
    )

    assert run.status == "partial"
    found = pipeline.deliveries(run)
    assert {address: one.status for address, one in found.items()} == {
        "421@example.org": "expired",
        "ok+later@example.org": "accepted",
    }
    assert "421 4.3.2 Service not available" in found["421@example.org"].reply
    assert {one.outcome for one in pipeline.rows_of_attempts(run.id)} == {"succeeded"}


def test_a_dead_relay_parks_the_deliveries_until_it_is_back(pipeline: Running) -> None:
    pipeline.schedule("patient", REPORT + RECIPIENTS + "retry: {deliver: {first: 1s}}\n")
    port = pipeline.smtp.port
    pipeline.smtp.stop()
    try:
        run_id = pipeline.trigger("patient")
        pipeline.until(lambda: any(one.outcome == "parked" for one in pipeline.rows_of_attempts(run_id)), 60)
        assert {one.status for one in pipeline.rows_of_deliveries(run_id)} <= {"queued", "sending", "skipped"}
        assert pipeline.one(Run, Run.id == run_id).status == "running"
    finally:
        pipeline.smtp.port = port
        pipeline.smtp.start()
    run = pipeline.finished(run_id, timeout=90)

    assert run.status == "succeeded"
    assert len(pipeline.taken(run)) == 3
    outcomes = {one.outcome for one in pipeline.rows_of_attempts(run_id)}
    assert "parked" in outcomes
    assert "failed" not in outcomes


def test_a_recipient_with_a_line_break_in_the_address_gets_nothing_and_the_others_do(pipeline: Running) -> None:
    evil = '{email: "evil@example.org\\nBcc: all@example.org", key: ACME}'
    people = f"recipients: [{evil}, {{email: ok+b@example.org, key: BETA}}]\n"
    run = pipeline.run(pipeline.schedule("injected", REPORT + people))

    assert run.status == "partial"
    [bad] = [one for one in pipeline.deliveries(run).values() if one.status == "failed"]
    assert "line break" in bad.reason
    assert [line["recipient"] for line in pipeline.taken(run)] == ["ok+b@example.org"]


@pytest.mark.parametrize(
    ("name", "template", "said"),
    [
        ("undefined", "{{ custmer_name }}", "custmer_name"),
        ("missing", '<img src="logo.png" alt="logo">', "logo.png"),
        ("local", '<img src="file:///etc/passwd" alt="x">', "file:"),
        ("remote", '<img src="http://127.0.0.1:9/x.png" alt="x">', "http:"),
    ],
)
def test_a_template_that_cannot_be_meant_sends_nothing(pipeline: Running, name: str, template: str, said: str) -> None:
    files = {f"templates/broken_{name}/document.html": f"<html lang=en><title>x</title><body>{template}</body></html>"}
    run = pipeline.run(pipeline.schedule(f"broken_{name}", **files))

    assert run.status == "failed"
    assert "nothing was sent" in run.error
    assert said in run.error
    assert said in pipeline.documents(run)["ACME"].error
    assert pipeline.taken(run) == []
    assert {one.status for one in pipeline.deliveries(run).values()} <= {"cancelled", "skipped"}


def test_sql_that_fails_is_told_with_the_server_s_words(pipeline: Running) -> None:
    run = pipeline.run(pipeline.schedule("bad_sql", REPORT.replace("parcels, weight", "parcells, weight") + RECIPIENTS))

    assert run.status == "failed"
    assert "no such column: parcells" in run.error
    assert "warehouse" in run.error
    [attempt] = pipeline.attempts(pipeline.steps(run)["fetch:rows"])
    assert attempt.outcome == "failed"
    assert "Traceback" in attempt.traceback


@pytest.mark.parametrize(("policy", "status"), [("fail", "failed"), ("skip", "skipped")])
def test_no_rows_end_the_run_as_on_empty_says(pipeline: Running, policy: str, status: str) -> None:
    text = REPORT.replace("2026-W46", "2020-W01") + RECIPIENTS + f"on_empty: {policy}\n"
    run = pipeline.run(pipeline.schedule(f"empty_{policy}", text))

    assert run.status == status
    assert "gave no rows" in run.error
    assert pipeline.taken(run) == []


def test_a_key_column_that_is_not_there_is_named(pipeline: Running) -> None:
    run = pipeline.run(
        pipeline.schedule("no_key", REPORT.replace("split_by: customer", "split_by: custmer") + RECIPIENTS)
    )

    assert run.status == "failed"
    assert "custmer" in run.error
    assert "customer" in run.error


def test_one_document_that_fails_is_allowed_when_the_schedule_says_so(pipeline: Running) -> None:
    build = "def build(rows, period):\n    return {'first': 1 / (len(rows) - 2)}\n"
    files = {"reports/tolerant.py": build}
    strict = pipeline.run(pipeline.schedule("tolerant", **files))
    lenient = pipeline.run(pipeline.schedule("tolerant", REPORT + RECIPIENTS + "allow_failed: 60%\n"))

    assert (strict.status, lenient.status) == ("failed", "partial")
    assert "ZeroDivisionError" in pipeline.documents(strict)["BETA"].error
    assert pipeline.taken(strict) == []
    assert len(pipeline.taken(lenient)) == 2
    assert pipeline.deliveries(lenient)["ok+beta@example.org"].reason == "its document could not be rendered"


def test_celery_call_opens_a_run_that_every_command_knows_by_its_task_id(pipeline: Running) -> None:
    pipeline.schedule("called")
    pipeline.command("sync", check=True)
    done = pipeline.celery("call", "run.start", "--kwargs", json.dumps({"schedule": "called", "send": False}))
    task_id = done.stdout.strip()

    run = pipeline.until(lambda: next(iter(pipeline.rows(Run, Run.idempotency_key == task_id)), None), 60)
    assert pipeline.finished(run.id).status == "succeeded"
    shown = json.loads(pipeline.command("show", task_id, "--json").stdout)
    assert shown["run"]["id"] == str(run.id)
    assert str(run.id) in pipeline.celery("result", task_id).stdout


def test_celery_call_for_an_unknown_schedule_is_a_failure_with_the_sentence(pipeline: Running) -> None:
    pipeline.schedule("customer_weekly")
    pipeline.command("sync", check=True)
    task_id = pipeline.celery("call", "run.start", "--kwargs", '{"schedule": "custmer_weekly"}').stdout.strip()

    def traceback() -> str:
        """Nothing yet, perhaps: asked for it, Celery does not wait for the task."""
        return pipeline.celery("result", "--traceback", task_id).stdout.strip()

    assert "did you mean customer_weekly?" in pipeline.until(traceback, 60)


def test_a_slot_fires_by_itself_and_reports_on_its_own_period(pipeline: Running) -> None:
    pipeline.schedule("often", REPORT + RECIPIENTS + "when: {every: 3s}\n")
    [first, *_] = pipeline.until(
        lambda: pipeline.rows(Run, Run.schedule_key == "often", Run.finished_at.is_not(None)), 60
    )
    (pipeline.home / "schedules" / "often.yaml").unlink()

    assert first.trigger == "schedule"
    assert first.status == "succeeded"
    assert first.due_at.timestamp() % 3 == 0
