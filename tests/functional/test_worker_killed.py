"""A worker is killed with what it had fetched and not begun: Redis lays that aside, and beat puts it back."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from uuid import UUID

from redis import Redis

from pipeline.models import Run, RunEvent
from tests.functional.running import Running

ECHO = """
command: [/bin/echo, done]
overlap: allow
"""


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def laid_aside(broker: Redis, run_id: UUID) -> set[str]:
    """The tasks of this run, and those that applications call, of which a worker has the messages."""
    laid = [json.loads(one)[0]["headers"] for one in broker.hvals("unacked")]
    return {one["task"] for one in laid if one.get("run") in {None, str(run_id)}}


def test_what_a_killed_worker_had_fetched_is_carried_out_by_the_next_one(sqlite_pipeline: Running) -> None:
    up = sqlite_pipeline
    up.schedule("fetched", ECHO)
    assert up.run("fetched").status == "succeeded"
    # Its children, also one that was just started, take their messages, and do no more with them.
    up.until(lambda: len(children(up.processes["worker"].pid)) >= 2, 30)
    for child in children(up.processes["worker"].pid):
        os.kill(child, signal.SIGSTOP)
    run_id = up.trigger("fetched")
    up.celery("call", "run.start", "--kwargs", '{"schedule": "fetched"}')
    with Redis(unix_socket_path=str(up.home / "var" / "broker.sock")) as broker:
        # A beat that has just begun may put back the one before the other is there.
        seen: list[str] = []
        up.until(lambda: seen.extend(laid_aside(broker, run_id)) or {"run.expand", "run.start"} <= set(seen), 30)
    for part in ("worker", "beat"):
        up.kill(part)
    for part in ("worker", "beat"):
        up.start(part)
    assert up.finished(run_id).status == "succeeded"
    # Else it would be an hour until somebody hears of it.
    called = up.until(lambda: up.rows(Run, Run.schedule_key == "fetched", Run.trigger == "api"), 60)
    assert up.finished(called[0].id).status == "succeeded"
    healed = [one.text for one in up.rows(RunEvent, RunEvent.run_id == run_id, RunEvent.kind == "healed")]
    assert set(healed) == {"start: fetched by a worker whose connection ended; put back"}
