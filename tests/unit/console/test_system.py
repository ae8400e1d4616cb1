"""System: what is at work and waits, what is wrong, and the brake."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pipeline.console import system
from pipeline.db import clock, reading, transaction
from pipeline.embedded.state import State, TreeLock
from pipeline.models import BadFile, Heartbeat, Relay, Scope
from pipeline.services import api_tokens, relays
from pipeline.services.audit import Actor
from pipeline.settings import settings
from tests.factories import make_run, make_step
from tests.unit.console.visits import logged_in, send, text_of


def test_beats_queues_and_bad_files_are_told_as_the_rows_have_them(http):
    now = datetime.now(UTC)
    run = make_run(due_at=now, status="running")
    make_step(run, "render:0", status="running", attempts=("running",), queue="render", lease_owner="host-7/a/1/2")
    make_step(run, "render:1", status="queued", queue="render", not_before=now + timedelta(hours=1))
    with transaction() as session:
        session.add(Heartbeat(name="beat@host-1:77", at=now))
        session.add(Heartbeat(name="beat@host-2:78", at=now - timedelta(minutes=5)))
        session.add(Heartbeat(name="beat@long-gone:1", at=now - timedelta(days=9)))
        session.add(BadFile(file="schedules/weekly.yaml", schedule_key="weekly", error="hour <25>", since=now))
    said = text_of(http.get("/system").text)
    assert "well host-1:77" in said
    assert "silent host-2:78" in said
    assert "long-gone" not in said
    assert "render 1 0 1" in said
    assert "host-7 is at 1 step" in said
    assert "schedules/weekly.yaml" in said
    assert "hour <25>" in said


def test_all_mail_is_stopped_and_let_go_on(http):
    for do, words, stopped in (
        ("stop", "All mail is stopped", True),
        ("stop", ": wrong prices. Nothing was changed. All mail is stopped", True),
        ("start", "Mail goes on.", False),
    ):
        send(http, "/system", "/system/mail", do=do, reason="wrong prices")
        assert words in text_of(http.get("/system").text)
        with reading() as session:
            row = session.get_one(Relay, "*")
            assert (row.stopped_at is not None) is stopped


def test_mail_is_told_as_the_tree_that_runs_has_it(http):
    lock, tree = TreeLock(settings().var / "run"), State.mine()
    lock.take()
    tree.status, tree.mail = "running", "live"
    tree.write(lock.state_path)
    assert "Mail live" in text_of(http.get("/system").text)
    lock.release()
    assert "Mail catch" in text_of(http.get("/system").text)


def test_a_relay_that_is_blocked_is_let_go_on_from_here(http):
    assert "Let mail go on" not in http.get("/system").text
    with transaction() as session:
        relays.block(session, "127.0.0.1:2525", "535 bad password", clock(session))
    assert "Let mail go on" in http.get("/system").text
    send(http, "/system", "/system/mail", do="start")
    assert "Let mail go on" not in http.get("/system").text


def test_tokens_and_users_are_for_admins_to_see(stranger):
    with transaction() as session:
        api_tokens.create(session, "shop", Scope.OPERATE, Actor("anna", "cli"))
    assert "shop" not in text_of(logged_in(stranger, Scope.OPERATE).get("/system").text).partition("Tokens")[2]
    stranger.cookies.clear()
    assert "shop" in text_of(logged_in(stranger).get("/system").text).partition("Tokens")[2]


def test_workers_are_asked_for_apart_and_a_dead_broker_is_a_sentence(http, monkeypatch):
    found = [{"name": "celery@host", "processes": 4, "queues": ["default", "render"], "uptime": 125}]
    for answer, words in ((found, "4 processes"), ([], "No worker answers"), (None, "The broker does not answer")):
        monkeypatch.setattr(system, "_answering", lambda answer=answer: answer)
        assert words in text_of(http.get("/system/workers").text)


def test_flower_is_linked_where_the_settings_say_it_is(http, monkeypatch):
    assert "Flower" not in text_of(http.get("/system").text)
    monkeypatch.setenv("PIPELINE_FLOWER_URL", "https://flower.example.com")
    settings.cache_clear()
    assert 'href="https://flower.example.com"' in http.get("/system").text
