"""Notices go out though the broker and every worker are dead, and although senders are killed with -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from pipeline import db, failpoints, notifier
from pipeline.db import transaction
from pipeline.models import Base, NoticeDelivery
from pipeline.notice import Kind
from pipeline.services import notices
from pipeline.settings import settings
from tests.conftest import forget_engine
from tests.smtp_server import ScriptedServer, smtp_server
from tests.webhook import Webhook, webhook

__all__ = ["smtp_server", "webhook"]
POINTS, KILLS, TARGETS = ("notice.taken", "notice.sent"), 8, 24


def test_a_beat_alone_without_broker_and_workers_tells_by_mail_and_webhook(
    home: Path, smtp_server: ScriptedServer, webhook: Webhook
) -> None:
    environment = {
        **os.environ,
        "PIPELINE_HOME": str(home),
        "PIPELINE_BROKER_URL": "redis://127.0.0.1:1/0",
        "PIPELINE_WATCH_SCHEDULES": "true",
        "PIPELINE_NOTIFY": f"ops@example.org,{webhook.url}/hook",
        "PIPELINE_MAIL": "live",
        "PIPELINE_SMTP_URL": smtp_server.url,
        "PIPELINE_HEARTBEAT_URL": f"{webhook.url}/pulse",
    }
    (home / "schedules" / "wrong.yaml").write_text("when: '0 25 * * *'\n")
    command = [str(Path(sys.executable).with_name("pipeline")), "migrate"]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
    words = [sys.executable, "-m", "celery", "-A", "pipeline", "beat", "--pidfile="]
    with (
        (home / "beat.log").open("wb") as log,
        subprocess.Popen(words, env=environment, stdout=log, stderr=log) as beat,
    ):
        try:
            until(lambda: smtp_server.taken() and any(one.path == "/hook" for one in webhook.requests), home)
            until(lambda: any(one.path == "/pulse" for one in webhook.requests), home)
        finally:
            beat.terminate()

    # One whose answer took long is sent again, under the same key.
    (told,) = {one.headers["Idempotency-Key"]: one for one in webhook.requests if one.path == "/hook"}.values()
    assert told.json["title"] == "Refused: schedules/wrong.yaml"
    assert [line["recipient"] for line in smtp_server.taken()] == ["ops@example.org"]


def until(look, home: Path, patience: float = 60) -> None:
    end = time.monotonic() + patience
    while not look():
        assert time.monotonic() < end, (home / "beat.log").read_text()[-3000:]
        time.sleep(0.1)


@pytest.mark.postgresql
def test_senders_are_killed_and_each_letter_arrives_repeated_at_most_once_a_kill_under_its_own_key(
    home: Path, postgresql_url: str, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_DATABASE_URL", postgresql_url)
    settings.cache_clear()
    forget_engine()
    engine = db.engine()
    Base.metadata.create_all(engine)
    with transaction() as session:
        for number in range(TARGETS):
            notices.tell(session, Kind.TEST, f"matter {number}", "1", targets=[f"{webhook.url}/{number}"])
    kills = 0
    senders = [start(engine, kills) for _ in range(2)]
    while senders:
        for sender in list(senders):
            pid, status = os.waitpid(sender, os.WNOHANG)
            if pid:
                senders.remove(pid)
                if os.waitstatus_to_exitcode(status) == -signal.SIGKILL:
                    kills += 1
                    senders.append(start(engine, kills))
        time.sleep(0.02)
    with db.reading() as session:
        states = Counter(row.status for row in session.query(NoticeDelivery))
    forget_engine()

    came = Counter(one.path for one in webhook.requests)
    keys = {(one.path, one.headers["Idempotency-Key"]) for one in webhook.requests}
    assert kills >= KILLS
    assert states == {"sent": TARGETS}
    assert len(came) == len(keys) == TARGETS
    assert 0 < came.total() - TARGETS <= kills


def start(engine, kills: int) -> int:
    """A sender in a process of its own, killed at its second letter until there were enough of that; its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        engine.dispose(close=False)
        db._engine = (os.getpid(), engine)
        if kills < KILLS:
            failpoints.arm(POINTS[kills % 2], lambda: os.kill(os.getpid(), signal.SIGKILL), passes=2)
        while True:
            if not notifier.send_next(mail=False):
                with transaction() as session:
                    waiting = session.query(NoticeDelivery).filter_by(status="waiting").count()
                if not waiting:
                    os._exit(0)
                time.sleep(0.02)
    finally:
        os._exit(1)
