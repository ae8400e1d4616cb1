"""How soon work goes on after a kill -9 of whoever does it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from statistics import median
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from benchmarks.product import Product, product
from benchmarks.results import Result, Target, seconds
from pipeline.models import Step, StepStatus

NOBODY = 9  # the port of a mail server that is not asked for anything
WORKFLOW = """
import time

from pipeline.tasks import step, workflow


@step
def sleepy(run):
    for _ in range(3000):
        time.sleep(0.1)
        run.alive()


@workflow
def sleeps(run):
    return sleepy.si()
"""
SCHEDULES = {"schedules/sleeps.yaml": "workflow: sleeps\noverlap: allow\n", "workflows/sleeps.py": WORKFLOW}


def measure(kills: int, losses: int) -> Result:
    with product(NOBODY, files=SCHEDULES, settings={"PIPELINE_CONCURRENCY": "1"}) as up:
        killed = [_again(up, elsewhere=False) for _ in range(kills)]
        lost = [_again(up, elsewhere=True) for _ in range(losses)]
    table = [
        (f"the only process of the worker, same host, {kills} times", seconds(median(killed)), seconds(max(killed))),
        (f"the machine with it, {losses} times", seconds(median(lost)), seconds(max(lost))),
    ]
    return Result(
        part="recovering",
        title="From kill -9 to the step running again",
        columns=("what dies", "median", "longest"),
        rows=table,
        facts={"same host": killed, "machine": lost},
        targets=[
            Target("seconds after the only process was killed", max(killed), 5),
            Target("seconds after the machine was lost", max(lost), 40),
        ],
    )


# ---- dying


def _again(up: Product, *, elsewhere: bool) -> float:
    """Seconds from the death of the process that carries out a step until the step is carried out again."""
    run_id = UUID(json.loads(up.command("trigger", "sleeps", "--yes", "--json"))["id"])
    step = _running(up, run_id, above=0)
    time.sleep(1)
    if elsewhere:  # a host that answers no more: nobody can know that its process is dead
        _write(up, "UPDATE steps SET lease_owner = 'lost-host/0/1/1' WHERE id = :id", id=step.id)
    began = time.perf_counter()
    os.kill(int((step.lease_owner or "").split("/")[2]), signal.SIGKILL)
    _running(up, run_id, above=step.fence)
    took = time.perf_counter() - began
    up.command("cancel", str(run_id))
    _ended(up, run_id)
    return took


def _running(up: Product, run_id: UUID, *, above: int) -> Step:
    mine = (Step.run_id == run_id, Step.name == "sleepy", Step.status == StepStatus.RUNNING, Step.fence > above)
    for _ in _looks(120):
        with Session(up.engine) as session:
            found = session.scalar(select(Step).where(*mine))
        if found is not None:
            return found
    raise SystemExit(f"the step does not run; the logs are in {up.home / 'var' / 'log'}")


def _ended(up: Product, run_id: UUID) -> None:
    mine = (Step.run_id == run_id, Step.status == StepStatus.RUNNING)
    for _ in _looks(60):
        with Session(up.engine) as session:
            if session.scalar(select(Step.id).where(*mine)) is None:
                return


def _looks(patience: float) -> Iterator[None]:
    until = time.monotonic() + patience
    while time.monotonic() < until:
        yield
        time.sleep(0.02)


def _write(up: Product, statement: str, **values: Any) -> None:
    bound = {name: value.hex if isinstance(value, UUID) else value for name, value in values.items()}
    with up.engine.connect().execution_options(writing=True) as connection:
        connection.execute(text(statement), bound)
        connection.commit()
