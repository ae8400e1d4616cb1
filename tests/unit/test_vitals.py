"""Beat says how it is to whoever asks, and calls a monitor outside as long as it is well."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from pipeline import vitals
from pipeline.db import transaction
from pipeline.endurance import Endurance
from pipeline.errors import TransientError
from pipeline.models import Heartbeat
from pipeline.settings import settings
from tests.conftest import forget_engine
from tests.ports import free_port
from tests.webhook import webhook

__all__ = ["webhook"]
pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def database(database_file):
    """One that can be taken away."""
    return database_file


@pytest.fixture
def set_to(monkeypatch):
    def set_to(**values):
        for name, value in values.items():
            monkeypatch.setenv(f"PIPELINE_{name.upper()}", str(value))
        settings.cache_clear()

    return set_to


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def listening(set_to, port, monkeypatch):
    """Beat's listener; the tests ask it."""
    monkeypatch.setattr(vitals, "GLANCE", 0.02)
    set_to(metrics_port=port)
    stopped = threading.Event()
    threads = vitals.Vitals(Endurance(), stopped).start()
    yield lambda path: ask(port, path)
    stopped.set()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


def ask(port, path):
    for _ in range(200):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except ConnectionRefusedError:  # not yet
            time.sleep(0.02)
        finally:
            connection.close()
    raise AssertionError("nobody listens")


def live(at=None):
    with transaction() as session:
        name = f"beat@{socket.gethostname()}:{os.getpid()}"
        session.merge(Heartbeat(name=name, at=at or datetime.now(UTC), detail=None))


def test_it_is_well_as_long_as_its_signs_of_life_are_young(listening):
    status, said = listening("/healthz")
    assert (status, json.loads(said)["status"]) == (503, "ill")
    live()
    assert listening("/healthz") == (200, '{"status": "ok"}\n')
    live(datetime.now(UTC) - timedelta(minutes=2))
    status, said = listening("/healthz")
    assert status == 503
    trouble = re.fullmatch(r"beat has been silent for (\d+) s", json.loads(said)["trouble"])
    assert trouble
    assert int(trouble[1]) >= 120


def test_metrics_are_what_prometheus_reads_and_nothing_else_is_there(listening):
    status, said = listening("/metrics")
    assert status == 200
    assert "# TYPE pipeline_due_to_fired_seconds histogram" in said
    assert listening("/etc/passwd")[0] == 404


def test_without_its_database_it_says_so_at_once(listening, database):
    listening("/metrics")
    forget_engine()
    (database / "var" / "pipeline.db").unlink()

    assert listening("/metrics")[0] == 503


def test_a_port_that_is_taken_keeps_beat_from_nothing(set_to, webhook):
    set_to(metrics_port=webhook.url.rpartition(":")[2])
    tried = threading.Event()
    told = []

    def safely(work):
        with pytest.raises(vitals.PermanentError) as refused:
            work()
        told.append(str(refused.value))
        tried.set()

    stopped = threading.Event()
    threads = vitals.Vitals(safely, stopped).start()
    assert tried.wait(60)
    stopped.set()
    for thread in threads:
        thread.join(60)

    assert "PIPELINE_METRICS_PORT: 127.0.0.1:" in told[0]
    assert "Address already in use" in told[0]


def test_a_monitor_is_called_while_beat_is_well_and_not_when_it_is_ill(set_to, webhook):
    set_to(heartbeat_url=f"{webhook.url}/ping/{{host}}")
    with pytest.raises(TransientError, match="the monitor is not called: no beat on"):
        vitals.pulse()
    assert webhook.requests == []

    live()
    vitals.pulse()
    assert [(one.method, one.path) for one in webhook.requests] == [("GET", f"/ping/{socket.gethostname()}")]


def test_a_monitor_that_does_not_answer_is_told_without_its_secret(set_to, webhook, monkeypatch):
    set_to(heartbeat_url=f"{webhook.url}/secret")
    live()
    webhook.answer(500)
    with pytest.raises(TransientError, match="PIPELINE_HEARTBEAT_URL answered 500"):
        vitals.pulse()
    monkeypatch.setattr(vitals, "PATIENCE", 0.2)
    webhook.slow = 30.0
    with pytest.raises(TransientError, match="PIPELINE_HEARTBEAT_URL does not answer") as refused:
        vitals.pulse()
    assert "secret" not in str(refused.value)


def test_the_monitor_is_called_every_minute_by_a_thread(set_to, webhook, monkeypatch):
    monkeypatch.setattr(vitals, "MINUTE", 0.02)
    set_to(heartbeat_url=webhook.url)
    live()
    stopped = threading.Event()
    threads = vitals.Vitals(Endurance(), stopped).start()
    deadline = time.monotonic() + 60
    while len(webhook.requests) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    stopped.set()
    for thread in threads:
        thread.join(60)

    assert len(webhook.requests) >= 2


def test_whoever_asks_for_nothing_gets_no_thread(database):
    assert vitals.Vitals(Endurance(), threading.Event()).start() == []
