"""Approving and rejecting from a terminal, by a task, and over HTTP: one answer, whichever door it came by."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from pipeline import tasks
from pipeline.api.app import create_app
from pipeline.db import transaction
from pipeline.errors import Refused
from pipeline.models import Scope
from pipeline.publisher import Publisher
from pipeline.services import api_tokens, approvals
from pipeline.services.answers import wording
from pipeline.services.audit import Actor
from tests import factories
from tests.unit.services import acts

pytestmark = pytest.mark.usefixtures("database", "broker")
WHY = "every run of it is approved first (approval: required)"


@pytest.fixture
def run():
    """A run that waits for an approval, all of it being rendered."""
    factories.make_schedule("shipments", approval="required")
    run = factories.make_run(status="running")
    factories.make_step(run, "gate", status="queued", published_at=None, not_before=factories.MONDAY.replace(year=2099))
    acts.carry_out(run, "start")
    document = factories.make_document(run)
    factories.make_delivery(run, document_id=document.id, status="planned", relay=None, reply=None, sent_at=None)
    factories.make_delivery(run, "no address", status="failed", relay=None, reply=None, sent_at=None)
    with transaction() as session:
        approvals.ask(session, approvals.runs.lock(session, run.id), WHY, {"counts": "42 rows"})
    return acts.reread(run)


def words(result):
    return " ".join(result.stdout.split())


def test_show_says_what_it_waits_for_and_what_to_type(typed, as_json, run):
    said = words(typed("show", "shipments"))
    assert f"waits {WHY}" in said
    assert "next try" not in said
    assert "sends them, `pipeline reject" in said
    assert "without an answer it is rejected at the schedule's next slot" in said
    assert tasks.status(str(run.id))["held_up"] is None


def test_it_is_approved_once_and_the_second_is_told_by_whom(typed, as_json, run):
    said = words(typed("approve", "shipments", "--by", "Anna", "--note", "checked"))
    assert "of shipments is approved: Your shipments" in said
    assert "; 1 delivery to make." in said

    again = typed("reject", "shipments", "--by", "Bob")
    assert again.exit_code == 2
    assert "is answered already: approved by cli:Anna on" in again.stderr
    assert acts.reread(run).status == "running"
    assert [(one["action"], one["by"]) for one in as_json("audit", str(run.id))] == [("approve", "Anna")]


def test_it_is_rejected(typed, as_json, run):
    assert as_json("reject", "shipments", "--by", "Anna", "--note", "wrong week")["status"] == "rejected"
    assert acts.reread(run).error == "rejected by Anna: wrong week"
    assert "it is rejected" not in words(typed("show", "shipments"))


def test_a_run_that_waits_for_nothing_says_which_one_does(typed, run):
    factories.make_run(due_at=factories.MONDAY.replace(day=23))
    refused = typed("approve", "shipments@2026-W47")
    assert refused.exit_code == 2
    waits = f"run {wording.short(run.id)} for 2026-W46 does"
    assert f"waits for no approval: it is queued; {waits}" in " ".join(refused.stderr.split())


def test_an_application_answers_by_a_task(run):
    assert tasks.approve(run="shipments", note="fine", by="shop") == {"id": str(run.id), "status": "running"}
    with pytest.raises(Refused, match=r"is answered already: approved by celery:shop on .*: fine"):
        tasks.reject(run="shipments")


def test_the_record_says_which_process_sent_the_task_not_which_worker_carried_it_out(as_json, run):
    tasks.reject.push_request(origin="gen7@web1", hostname="celery@worker2")
    try:
        tasks.reject(run="shipments")
    finally:
        tasks.reject.pop_request()
    assert [(one["by"], one["address"]) for one in as_json("audit", str(run.id))] == [("gen7@web1", "gen7@web1")]


def test_over_http_it_takes_the_right_to_operate(run, monkeypatch):
    published = []
    monkeypatch.setattr(Publisher, "put", lambda _self, run_ids: published.extend(run_ids))
    with transaction() as session:
        secrets = [
            api_tokens.create(session, scope, scope, Actor("anna", "cli"))[1] for scope in (Scope.READ, Scope.OPERATE)
        ]
    with TestClient(create_app()) as http:
        answers = [
            http.post(f"/api/runs/{run.id}/approve", json={"note": "ok"}, headers={"Authorization": f"Bearer {secret}"})
            for secret in (*secrets, secrets[1])
        ]
    assert [one.status_code for one in answers] == [403, 200, 409]
    assert answers[1].json()["status"] == "running"
    assert published == [run.id]
    assert "approved by http:operate" in answers[2].json()["detail"]
