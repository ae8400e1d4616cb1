"""A worker is killed with what it had fetched and not begun: Redis lays that aside, and beat puts it back."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from redis import Redis

from pipeline.models import Run, RunEvent
from tests.functional.running import Running

ECHO = """
command: [/bin/echo, done]
overlap: allow
"""


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def laid_aside(broker: Redis) -> dict[bytes, str]:
    """The tasks of which workers have the messages, living or dead, by the messages' tags."""
    return {tag: json.loads(laid)[0]["headers"]["task"] for tag, laid in broker.hgetall("unacked").items()}


def test_what_a_killed_worker_had_fetched_is_carried_out_by_the_next_one(sqlite_pipeline: Running) -> None:
    up = sqlite_pipeline
    up.schedule("fetched", ECHO)
    assert up.run("fetched").status == "succeeded"
    # What other tests have begun goes on.
    up.until(lambda: not up.rows(Run, Run.status.in_(["queued", "running", "cancelling"])), 60)
    # Beat puts back what it finds laid aside, and each message counts for what a worker may fetch: a new one has none.
    for part in ("beat", "worker"):
        up.kill(part)
    log = up.home / "worker.log"
    starts = log.read_text().count("ready.")
    up.start("worker")
    up.until(lambda: log.read_text().count("ready.") > starts, 60)
    # Its children, also one that was just started, take their messages, and do no more with them.
    up.until(lambda: len(children(up.processes["worker"].pid)) >= 2, 30)
    for child in children(up.processes["worker"].pid):
        os.kill(child, signal.SIGSTOP)
    with Redis(unix_socket_path=str(up.home / "var" / "broker.sock")) as broker:
        before = laid_aside(broker).keys()
        run_id = up.trigger("fetched")
        up.celery("call", "run.start", "--kwargs", '{"schedule": "fetched"}')
        now = ["run.expand", "run.start"]
        up.until(lambda: sorted(task for tag, task in laid_aside(broker).items() if tag not in before) == now, 60)
    up.kill("worker")
    for part in ("worker", "beat"):
        up.start(part)
    assert up.finished(run_id).status == "succeeded"
    # Else it would be an hour until somebody hears of it.
    called = up.until(lambda: up.rows(Run, Run.schedule_key == "fetched", Run.trigger == "api"), 60)
    assert up.finished(called[0].id).status == "succeeded"
    healed = [one.text for one in up.rows(RunEvent, RunEvent.run_id == run_id, RunEvent.kind == "healed")]
    assert set(healed) == {"start: fetched by a worker whose connection ended; put back"}
