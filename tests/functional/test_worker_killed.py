"""A worker is killed with what it had fetched and not begun: Redis lays that aside, and beat puts it back."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from redis import Redis

from pipeline.celery import QUEUES
from pipeline.models import Run, RunEvent
from tests.functional.running import Running

ECHO = """
command: [/bin/echo, done]
overlap: allow
"""


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def laid_aside(broker: Redis) -> set[str]:
    """The tasks of which a worker of ours has the messages; what a foreign one left, others look after."""
    laid = [json.loads(one) for one in broker.hvals("unacked")]
    return {message["headers"]["task"] for message, _, queue in laid if queue in QUEUES}


def test_what_a_killed_worker_had_fetched_is_carried_out_by_the_next_one(sqlite_pipeline: Running) -> None:
    up = sqlite_pipeline
    up.schedule("fetched", ECHO)
    assert up.run("fetched").status == "succeeded"
    # Its children, also one that was just started, take their messages, and do no more with them.
    up.until(lambda: len(children(up.processes["worker"].pid)) >= 2, 30)
    with Redis(unix_socket_path=str(up.home / "var" / "broker.sock")) as broker:
        # A step has ended before its message is answered, and each of the two counts for all that a worker may fetch;
        # what other tests have begun goes on.
        up.until(lambda: not up.rows(Run, Run.status.in_(["queued", "running", "cancelling"])), 60)
        up.until(lambda: not laid_aside(broker), 60)
        up.kill("beat")  # one that has just begun puts back what it finds laid aside
        for child in children(up.processes["worker"].pid):
            os.kill(child, signal.SIGSTOP)
        run_id = up.trigger("fetched")
        up.celery("call", "run.start", "--kwargs", '{"schedule": "fetched"}')
        up.until(lambda: laid_aside(broker) == {"run.expand", "run.start"}, 60)
    up.kill("worker")
    for part in ("worker", "beat"):
        up.start(part)
    assert up.finished(run_id).status == "succeeded"
    # Else it would be an hour until somebody hears of it.
    called = up.until(lambda: up.rows(Run, Run.schedule_key == "fetched", Run.trigger == "api"), 60)
    assert up.finished(called[0].id).status == "succeeded"
    healed = [one.text for one in up.rows(RunEvent, RunEvent.run_id == run_id, RunEvent.kind == "healed")]
    assert set(healed) == {"start: fetched by a worker whose connection ended; put back"}
