"""Runs that wait, with real processes: nobody is held up, and they go on when what they wait for comes."""

from __future__ import annotations

import json
import sqlite3
import textwrap
from uuid import UUID

from pipeline.models import Run
from tests.functional.running import Running

FIRST = """
    command: [/bin/sh, -c, "until [ -e {flag} ]; do sleep 0.1; done"]
    period: 2026-W46
"""
SECOND = """
    command: [/bin/echo, "{{period}} is loaded"]
    period: 2026-W46
    after: {first}
    ready_when: {{database: warehouse, query: select count(*) from {table} where day >= :start, time: date, every: 1s}}
"""


def waits(pipeline: Running, run_id: UUID, said: str) -> Run:
    def look() -> Run | None:
        run = pipeline.one(Run, Run.id == run_id)
        return run if run.status == "waiting" and said in str(run.error) else None

    return pipeline.until(look, 60, lambda: str(vars(pipeline.one(Run, Run.id == run_id))))


def test_a_run_waits_for_another_and_then_for_its_data(pipeline: Running) -> None:
    database = pipeline.engine.dialect.name
    first, second, flag, table = (f"{name}_{database}" for name in ("first", "second", "flag", "loaded"))
    with sqlite3.connect(pipeline.home / "warehouse.db") as warehouse:
        warehouse.execute(f"create table {table} (day text)")
    pipeline.schedule(first, textwrap.dedent(FIRST).format(flag=flag))
    pipeline.schedule(second, textwrap.dedent(SECOND).format(first=first, table=table))
    earlier, later = pipeline.trigger(first), pipeline.trigger(second)
    run = waits(pipeline, later, f"waits for {first}, whose run for ")
    assert run.waiting_for == "data"
    shown = json.loads(pipeline.command("show", second, "--json").stdout)
    (ready,) = [step for step in shown["steps"] if step["name"] == "ready"]
    assert (ready["status"], shown["run"]["waiting_for"]) == ("queued", "data")
    assert ready["next_try_at"]

    (pipeline.home / flag).touch()
    assert pipeline.finished(earlier).status == "succeeded"
    waits(pipeline, later, 'its query of "warehouse" says 0')
    pipeline.kill("worker")
    pipeline.start("worker")
    with sqlite3.connect(pipeline.home / "warehouse.db") as warehouse:
        warehouse.execute(f"insert into {table} values ('2026-11-10')")
    run = pipeline.until(lambda: _over(pipeline, later), 60)
    assert (run.status, run.error) == ("succeeded", None)
    (told,) = pipeline.attempts(pipeline.steps(run)["command"])
    assert told.output == "2026-W46 is loaded\n"


def test_a_run_whose_turn_cannot_come_fails_within_seconds(sqlite_pipeline: Running) -> None:
    pipeline = sqlite_pipeline
    pipeline.schedule("broken", "command: [/bin/sh, -c, 'sleep 1; echo no route; exit 3']\nperiod: 2026-W46\n")
    pipeline.schedule("vain", "command: [/bin/true]\nperiod: 2026-W46\nafter: broken\n")
    pipeline.trigger("broken")
    run_id = pipeline.trigger("vain")
    run = pipeline.until(lambda: _over(pipeline, run_id), 60)
    assert run.status == "failed"
    assert str(run.error).startswith("ready: broken's run for ")
    assert str(run.error).endswith("command: /bin/sh: exit 3: no route")


def _over(pipeline: Running, run_id: UUID) -> Run | None:
    run = pipeline.one(Run, Run.id == run_id)
    return run if run.finished_at else None
