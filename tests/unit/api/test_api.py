"""Doors over HTTP: who is let in, what is opened, and how a mistake is told."""

from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from pipeline import tasks
from pipeline.api.app import create_app
from pipeline.db import reading, transaction
from pipeline.models import ApiToken, Audit, Run, Scope
from pipeline.services import api_tokens
from pipeline.services.audit import Actor
from tests.factories import finished_run, make_run, make_schedule

ANNA = Actor("anna", "cli")


def token(name="shop", scope=Scope.OPERATE, **more):
    with transaction() as session:
        return api_tokens.create(session, name, scope, ANNA, **more)[1]


@pytest.fixture
def published(monkeypatch):
    """The runs that were handed to the broker, which these tests have none of."""
    found = []
    monkeypatch.setattr(tasks, "publish", found.append)
    return found


@pytest.fixture
def http(shared_database, published):
    with TestClient(create_app()) as client:
        yield client


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
    assert "was used for another request" in other.json()["detail"]
    assert len(published) == 1


@pytest.mark.parametrize(
    ("body", "status", "field", "words"),
    [
        ({"schedule": "shipmets"}, 404, None, "did you mean shipments?"),
        ({"schedule": "shipments", "parms": {}}, 422, "parms", "Extra inputs"),
        ({}, 422, "schedule", "Field required"),
        ({"schedule": "shipments", "params": {"limit": "many"}}, 409, None, "must be a whole number"),
        ({"schedule": "shipments", "period": "someday"}, 409, None, 'period "someday" is not known'),
    ],
)
def test_a_mistake_is_told_with_its_field_and_opens_nothing(http, published, body, status, field, words):
    make_schedule()
    answer = http.post("/api/runs", json=body, headers=bearer(token()))
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json().get("field") == field
    assert words in answer.json()["detail"]
    assert published == []


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


def test_a_token_is_kept_as_a_digest_and_its_use_is_written_down_once_a_minute(http):
    run, secret = make_run(), token()
    for _ in range(3):
        assert http.get(f"/api/runs/{run.id}", headers=bearer(secret)).status_code == 200
    with reading() as session:
        row = session.scalar(select(ApiToken))
        assert row.last_used_at is not None
        assert secret not in {str(value) for value in vars(row).values()}
        assert secret.startswith(row.prefix)


def test_health_needs_no_token(http):
    assert http.get("/healthz").json() == {"status": "ok"}


def test_a_run_that_has_ended_is_rerun_once_however_often_it_is_asked_for(http, published):
    run = finished_run(status="failed")
    secret = bearer(token())
    refused = http.post(f"/api/runs/{run.id}/rerun", json={"from": "nothing"}, headers=secret)
    assert (refused.status_code, 'has no step "nothing"' in refused.json()["detail"]) == (409, True)
    for new in (True, False):
        answer = http.post(f"/api/runs/{run.id}/rerun", json={"all": True, "generation": 1}, headers=secret)
        assert answer.status_code == 202
        assert (answer.json()["status"], answer.json()["generation"], answer.json()["new"]) == ("queued", 2, new)
    assert published == [run.id, run.id]
