"""Whether runs would be carried out: each part that is needed says how it is, and nothing that is secret."""

import pytest
from sqlalchemy.exc import OperationalError

from pipeline import migrating
from pipeline.api import health
from pipeline.db import clock, transaction
from pipeline.errors import TransientError
from pipeline.models import Heartbeat, Scope
from tests.factories import make_run


@pytest.fixture
def all_well(http, monkeypatch):
    """Everything is there, without a broker or worker that really are."""
    monkeypatch.setattr(health, "_last", None)
    monkeypatch.setattr(health, "TRUE_FOR", 0)
    monkeypatch.setattr(health.broker, "ask", lambda _: None)
    monkeypatch.setattr(health.celery.control, "ping", lambda **_: [{"worker@host": {"ok": "pong"}}])
    monkeypatch.setattr(migrating, "is_migrated", lambda: True)
    with transaction() as session:
        session.add(Heartbeat(name="beat@elsewhere:7", at=clock(session)))
    return monkeypatch


def stands(http):
    answer = http.get("/readyz")
    return answer.status_code, {name: part["detail"] for name, part in answer.json()["parts"].items()}


def test_it_lives_whatever_else_is_away(http):
    assert http.get("/healthz").json() == {"status": "ok"}


def test_it_is_ready_when_all_is_there(http, all_well):
    assert stands(http) == (200, dict.fromkeys(("database", "broker", "beat", "worker"), "answers"))


def test_what_is_away_is_named_without_its_address(http, all_well):
    def away(url):
        raise TransientError("broker redis://user:hunter2@host does not answer")

    all_well.setattr(health.broker, "ask", away)
    status, parts = stands(http)
    assert (status, parts["broker"], parts["worker"]) == (503, "does not answer", "the broker would know")
    all_well.setattr(health, "_broker", lambda: None)
    all_well.setattr(health.celery.control, "ping", lambda **_: [])
    assert stands(http) == (503, {**parts, "broker": "answers", "worker": "no worker answers"})


def test_no_beat_and_no_database(http, all_well):
    with transaction() as session:
        session.query(Heartbeat).delete()
    assert stands(http)[1]["beat"] == "no beat shows itself in the database"

    def gone():
        raise OperationalError("SELECT", {}, OSError("connection to db.internal refused"))

    all_well.setattr(migrating, "is_migrated", gone)
    status, parts = stands(http)
    assert (status, parts["database"], parts["beat"]) == (503, "does not answer", "the database would know")
    all_well.setattr(migrating, "is_migrated", lambda: False)
    assert stands(http)[1]["database"] == "its tables are of another version: `pipeline migrate`"


def test_an_answer_counts_for_a_moment(http, all_well):
    all_well.setattr(health, "TRUE_FOR", 60)
    assert stands(http)[0] == 200
    all_well.setattr(health.celery.control, "ping", lambda **_: [])
    assert stands(http)[0] == 200


def test_metrics_are_for_who_may_read(as_):
    make_run()
    http = as_(Scope.READ)
    answer = http.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'pipeline_runs{status="queued",waiting_for=""} 1.0' in answer.text
