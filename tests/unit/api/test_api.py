"""Doors over HTTP: who is let in, what is opened, and how a mistake is told."""

import re
import threading
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from pipeline import tasks
from pipeline.db import reading, transaction
from pipeline.errors import Refused
from pipeline.models import ApiToken, Audit, BadFile, Run, Scope
from pipeline.services import api_tokens
from pipeline.services.audit import Actor
from tests.factories import MONDAY, finished_run, make_run, make_schedule, make_step

ANNA = Actor("anna", "cli")


def token(name="shop", scope=Scope.OPERATE, **more):
    with transaction() as session:
        return api_tokens.create(session, name, scope, ANNA, **more)[1]


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


def test_a_run_is_opened_answered_for_at_once_and_published_afterwards(http, published):
    make_schedule()
    answer = http.post("/api/runs", json={"schedule": "shipments", "params": {"region": "us"}}, headers=bearer(token()))
    assert answer.status_code == 202
    with reading() as session:
        run = session.scalar(select(Run))
        assert (run.trigger, run.triggered_by, run.params["region"]) == ("api", "http:shop", "us")
        assert session.scalar(select(Audit).where(Audit.action == "trigger")).by == "shop"
    assert answer.json()["id"] == str(run.id)
    assert published == [run.id]
    assert http.get(answer.headers["Location"], headers=bearer(token("eyes", Scope.READ))).json()["status"] == "queued"


def test_the_same_idempotency_key_opens_no_second_run(http, published):
    make_schedule()
    head = {**bearer(token()), "Idempotency-Key": "order-7"}
    first, second = (http.post("/api/runs", json={"schedule": "shipments"}, headers=head).json() for _ in range(2))
    assert (first["new"], second["new"]) == (True, False)
    assert first["id"] == second["id"]
    other = http.post("/api/runs", json={"schedule": "shipments", "keys": ["ACME"]}, headers=head)
    assert other.status_code == 409
    assert other.json()["detail"] == f'the idempotency key "order-7" was used for another request: run {first["id"]}'
    assert other.json()["run"] == first["id"]
    empty = http.post("/api/runs", json={"schedule": "shipments"}, headers={**head, "Idempotency-Key": ""})
    assert (empty.status_code, empty.json()["detail"]) == (422, "Idempotency-Key must not be empty")
    assert len(published) == 1


@pytest.mark.parametrize(
    ("body", "status", "field", "words"),
    [
        ({"schedule": "shipmets"}, 404, None, "did you mean shipments?"),
        ({"schedule": "shipments", "parms": {}}, 422, "parms", "parms is not a field here: did you mean params?"),
        ({}, 422, "schedule", "schedule is missing"),
        ({"schedule": "shipments", "params": {"limit": "many"}}, 422, "params.limit", "must be a whole number"),
        ({"schedule": "shipments", "params": {"regio": "us"}}, 422, "params.regio", "did you mean region?"),
        ({"schedule": "shipments", "to": ["anna"]}, 422, "to", "is not an e-mail address"),
        ({"schedule": "shipments", "period": "someday"}, 422, "period", 'period "someday" is not known'),
    ],
)
def test_a_mistake_is_told_with_its_field_and_opens_nothing(http, published, body, status, field, words):
    make_schedule()
    answer = http.post("/api/runs", json=body, headers=bearer(token()))
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json().get("field") == field
    assert answer.json().get("pointer") == (field and f"#/{field.replace('.', '/')}")
    assert words in answer.json()["detail"]
    assert published == []


@pytest.mark.parametrize("body", ["nonsense", '{"schedule": '])
def test_what_is_no_json_is_told_so(http, body):
    head = {**bearer(token()), "Content-Type": "application/json"}
    answer = http.post("/api/runs", content=body, headers=head).json()
    assert (answer["field"], answer["detail"]) == ("body", "body is no JSON: Expecting value")


def test_a_schedule_whose_file_is_wrong_is_told_so(http):
    with transaction() as session:
        session.add(
            BadFile(file="schedules/bad.yaml", schedule_key="bad", error="hour 25 is outside 0-23", since=MONDAY)
        )
    answer = http.post("/api/runs", json={"schedule": "bad"}, headers=bearer(token()))
    assert answer.json()["detail"] == 'there is no schedule "bad": its file is wrong: hour 25 is outside 0-23'


def test_only_a_living_token_of_enough_scope_gets_in(http):
    run = make_run()
    assert http.get(f"/api/runs/{run.id}").status_code == 401
    assert http.get(f"/api/runs/{run.id}", headers=bearer("rpt_guess")).status_code == 401
    expired = token("old", expires_in=timedelta(seconds=-1))
    assert http.get(f"/api/runs/{run.id}", headers=bearer(expired)).status_code == 401
    reader = token("eyes", Scope.READ)
    answer = http.post("/api/runs", json={"schedule": "shipments"}, headers=bearer(reader))
    assert (answer.status_code, answer.json()["detail"]) == (
        403,
        "this needs a token of scope operate; this one is of scope read",
    )
    with transaction() as session:
        api_tokens.revoke(session, "eyes", ANNA)
    assert http.get(f"/api/runs/{run.id}", headers=bearer(reader)).status_code == 401


def test_a_token_is_kept_as_a_digest_and_its_use_is_written_down_once_a_minute(http, monkeypatch):
    run, secret = make_run(), token()
    written, used = [], api_tokens.used
    monkeypatch.setattr(api_tokens, "used", lambda session, row: written.append(used(session, row)))
    for _ in range(3):
        assert http.get(f"/api/runs/{run.id}", headers=bearer(secret)).status_code == 200
    with reading() as session:
        row = session.scalar(select(ApiToken))
        assert row.last_used_at is not None
        assert len(written) == 1
        assert secret not in {str(value) for value in vars(row).values()}
        assert secret.startswith(row.prefix)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101])
def test_a_token_has_a_name_that_can_stand_in_a_record(http, name):
    with pytest.raises(Refused, match="a token needs a name"):
        token(name)


def test_what_is_opened_is_published_behind_the_answer(app, database, monkeypatch):
    """By the thread of the application: nobody waits for the broker, and many are published together."""
    make_schedule()
    handed, published = [], threading.Event()

    def publish_all(run_ids):
        handed.extend(run_ids)
        published.set()

    monkeypatch.setattr(tasks, "publish_all", publish_all)
    with TestClient(app) as http:
        opened = http.post("/api/runs", json={"schedule": "shipments"}, headers=bearer(token())).json()
        assert published.wait(60)
    assert [str(one) for one in handed] == [opened["id"]]


def test_one_at_a_time_is_told_with_the_run_that_is_at_work(http, published):
    make_schedule(overlap="skip")
    secret = bearer(token())
    first = http.post("/api/runs", json={"schedule": "shipments"}, headers=secret).json()
    second = http.post("/api/runs", json={"schedule": "shipments"}, headers=secret)
    assert (second.status_code, second.json()["run"]) == (409, first["id"])
    assert second.json()["status_url"] == first["status_url"]
    again = http.post(f"/api/runs/{first['id']}/rerun", headers=secret)
    assert (again.status_code, "wait for its end" in again.json()["detail"]) == (409, True)


def test_another_token_may_use_the_same_idempotency_key(http, published):
    make_schedule(overlap="allow")
    found = [
        http.post("/api/runs", json={"schedule": "shipments"}, headers={**bearer(token(name)), "Idempotency-Key": "7"})
        for name in ("shop", "till")
    ]
    assert [one.json()["new"] for one in found] == [True, True]


def test_where_the_code_failed_is_for_who_may_operate(http):
    run = finished_run(status="failed", error="it did not work")
    make_step(run, "fetch:rows", status="failed", attempts=("failed",))
    seen = {}
    for scope in (Scope.READ, Scope.OPERATE):
        secret = bearer(token(scope, scope))
        standing = http.get(f"/api/runs/{run.id}", headers=secret).json()
        whole = http.get(f"/api/runs/{run.id}/steps", headers=secret).json()
        seen[scope] = (standing["traceback"], whole["attempts"][-1]["traceback"], standing["error"])
    assert seen[Scope.READ] == (None, None, "it did not work")
    assert all("TransientError" in trace for trace in seen[Scope.OPERATE][:2])


def test_what_a_workflow_returned_is_its_runs_result(http):
    run = finished_run(workflow="nightly")
    make_step(run, "load:1", attempts=("succeeded",), result={"rows": 42})
    assert http.get(f"/api/runs/{run.id}", headers=bearer(token())).json()["result"] == {"rows": 42}


@pytest.mark.parametrize(
    ("path", "body", "action"),
    [
        ("runs/{run}/cancel", {"reason": "wrong"}, "cancel"),
        ("schedules/shipments/pause", {"note": "moving"}, "pause"),
        ("schedules/shipments/backfills", {"from": "2026-11-01T00:00:00Z"}, "backfill"),
    ],
)
def test_whatever_changes_something_is_recorded_with_the_tokens_name_and_address(http, path, body, action):
    run = make_run(due_at=MONDAY)
    answer = http.post(f"/api/{path.format(run=run.id)}", json=body, headers=bearer(token()))
    assert answer.is_success, answer.text
    with reading() as session:
        row = session.scalars(select(Audit).where(Audit.action == action)).one()
    assert (row.by, row.source, row.address) == ("shop", "http", "testclient")


def test_every_endpoint_but_health_and_links_needs_a_token(http):
    open_ones = {"/healthz", "/readyz"}
    for path, operations in http.get("/api/openapi.json").json()["paths"].items():
        for method in operations:
            answer = http.request(method, re.sub(r"{\w+}", "x", path))
            assert (answer.status_code == 401) == (path not in open_ones), (method, path, answer.status_code)


def test_a_run_that_has_ended_is_rerun_once_however_often_it_is_asked_for(http, published):
    run = finished_run(status="failed")
    secret = bearer(token())
    refused = http.post(f"/api/runs/{run.id}/rerun", json={"from": "nothing"}, headers=secret)
    assert (refused.status_code, refused.json()["field"]) == (422, "from")
    for new in (True, False):
        answer = http.post(f"/api/runs/{run.id}/rerun", json={"all": True, "generation": 1}, headers=secret)
        assert answer.status_code == 202
        assert (answer.json()["status"], answer.json()["generation"], answer.json()["new"]) == ("queued", 2, new)
    assert published == [run.id, run.id]
