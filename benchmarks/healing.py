"""What one pass of reconcile costs beside a long history: a million steps that are done, a thousand at work."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from sqlalchemy import insert, text

from benchmarks.results import Result, Target

ROUNDS, OF_A_RUN = 15, 1000


def measure(finished: int, active: int, *, database_url: str | None = None, name: str = "SQLite") -> Result:
    with tempfile.TemporaryDirectory() as home:
        os.environ["PIPELINE_HOME"] = home
        os.environ["PIPELINE_DATABASE_URL"] = database_url or f"sqlite:///{Path(home) / 'pipeline.db'}"
        # A process keeps to one database: this part may be measured twice, on another one.
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            return process.submit(_measured, finished, active, name).result()


def _measured(finished: int, active: int, name: str) -> Result:
    from pipeline import healing, migrating

    migrating.migrate()
    _fill(finished, active)
    took = []
    for _ in range(ROUNDS + 1):
        began = perf_counter()
        healed = healing.heal()
        took.append((perf_counter() - began) * 1000)
        if healed:
            raise RuntimeError(f"{len(healed)} runs were healed that are well")
    facts = {"finished steps": finished, "active steps": active, "median": median(took[1:]), "longest": max(took[1:])}
    return Result(
        part="healing",
        title=f"One pass of reconcile, {name}",
        columns=("finished steps", "active steps", "median ms", "longest ms"),
        rows=[(f"{finished:,}", f"{active:,}", f"{facts['median']:.0f}", f"{facts['longest']:.0f}")],
        facts=facts,
        targets=[Target("milliseconds of a pass", facts["median"], 200)],
    )


def _fill(finished: int, active: int) -> None:
    from pipeline.db import clock, engine, transaction
    from pipeline.models import Run, Schedule, Step

    with transaction() as session:
        now = clock(session)
        session.add(Schedule(key="history", revision="1", high_water_mark=now, changed_at=now))
        session.flush()
        rows = _rows(finished, active, now)
        while batch := list(islice(rows, 20 * (OF_A_RUN + 1))):
            session.execute(insert(Run.__table__), [row for row in batch if "workflow" in row])  # type: ignore[arg-type]  # a Table
            session.execute(insert(Step.__table__), [row for row in batch if "stage" in row])  # type: ignore[arg-type]  # a Table
    with engine().connect() as connection:
        connection.execute(text("ANALYZE"))
        connection.commit()


def _rows(finished: int, active: int, now: datetime) -> Iterator[dict[str, Any]]:
    for status, count in (("succeeded", finished), ("running", active)):
        for first in range(0, count, OF_A_RUN):
            run = _run(status, now)
            yield run
            for number in range(first, min(first + OF_A_RUN, count)):
                yield _step(run, status, number, now)


def _run(status: str, now: datetime) -> dict[str, Any]:
    from pipeline.models import new_id

    empty: dict[str, Any] = {"period": {}, "params": {}, "scope": {}, "definition": {}}
    who = {"trigger": "manual", "triggered_by": "benchmark", "code_version": "1", "revision": "1"}
    ended = now if status == "succeeded" else None
    return {
        "id": new_id(), "workflow": "history", "schedule_key": "history", "due_at": now, "zone": "UTC", **empty, **who,
        "generation": 1, "status": status, "created_at": now, "started_at": now, "finished_at": ended,
    }  # fmt: skip


def _step(run: dict[str, Any], status: str, number: int, now: datetime) -> dict[str, Any]:
    from pipeline.adapters.owners import owner
    from pipeline.models import new_id

    working = status == "running"
    return {
        "id": new_id(), "run_id": run["id"], "name": f"part:{number}", "task": "history.part", "args": [], "kwargs": {},
        "canvas": 1, "stage": 1, "ordinal": number, "generation": 1, "status": status, "queue": "default", "retry": {},
        "task_id": new_id(), "published_at": now, "published": 1, "queued_at": now, "fence": 1, "started_at": now,
        "lease_owner": owner() if working else None, "lease_until": now + timedelta(hours=1) if working else None,
        "finished_at": None if working else now,
    }  # fmt: skip
