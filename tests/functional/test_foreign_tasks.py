"""Celery tasks of another application, with a worker of its own on the same broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from pipeline.models import Run, Step
from tests.functional.running import Running

APP = """
import os, time
from celery import Celery

app = Celery("myapp", broker=os.environ["SHARED"], backend=os.environ["SHARED"])
app.conf.broker_connection_retry_on_startup = True

@app.task(name="myapp.tasks.nightly")
def nightly(day, factor=1):
    return {"day": day, "rows": 3 * factor}

@app.task(name="myapp.tasks.broken", bind=True, max_retries=1)
def broken(self):
    try:
        raise ValueError("no route to host")
    except ValueError as error:
        raise self.retry(exc=error, countdown=0.1)

@app.task(name="myapp.tasks.deadly")
def deadly():
    os.kill(os.getpid(), 9)

@app.task(name="myapp.tasks.slow")
def slow():
    open("slow.begun", "w").close()
    while not os.path.exists("slow.done"):
        time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def pipeline(sqlite_pipeline: Running) -> Iterator[Running]:
    """The pipeline, and beside it the other application's worker."""
    home = sqlite_pipeline.home
    (home / "myapp.py").write_text(APP)
    environment = {**os.environ, "SHARED": f"redis+socket://{home / 'var' / 'broker.sock'}"}
    words = ["-A", "myapp", "worker", "-l", "info", "-c", "2", "-n", "other@%h", "--without-gossip", "--without-mingle"]
    with (home / "other.log").open("ab") as log:
        sqlite_pipeline.processes["other"] = subprocess.Popen(
            [sys.executable, "-m", "celery", *words], cwd=home, env=environment, stdout=log, stderr=log,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    sqlite_pipeline.until(lambda: b"ready." in (home / "other.log").read_bytes(), 60)
    yield sqlite_pipeline
    sqlite_pipeline.kill("other")


def step(pipeline: Running, run: Run) -> Step:
    return pipeline.steps(run)["task"]


def test_its_result_ends_up_on_the_attempt(pipeline: Running) -> None:
    text = (
        'task: {name: myapp.tasks.nightly, args: ["{due_date}"], kwargs: {factor: "{factor}"}}\nparams: {factor: 2}\n'
    )
    run = pipeline.run(pipeline.schedule("nightly_task", text), "-p", "factor=5")
    assert (run.status, run.error) == ("succeeded", None)
    result = {"day": run.due_at.date().isoformat(), "rows": 15}
    assert step(pipeline, run).result["result"] == result
    assert json.loads(pipeline.attempts(step(pipeline, run))[-1].output or "") == result
    assert '"rows": 15' in pipeline.command("show", "nightly_task").stdout


def test_its_own_retries_are_its_affair_and_its_traceback_ours(pipeline: Running) -> None:
    run = pipeline.run(pipeline.schedule("broken_task", "task: myapp.tasks.broken\n"))
    assert (run.status, run.error) == ("failed", "task: myapp.tasks.broken failed: ValueError: no route to host")
    failed = pipeline.attempts(step(pipeline, run))[-1]
    assert 'raise ValueError("no route to host")' in str(failed.traceback)


def test_a_name_that_no_worker_knows_is_told_with_the_nearest(pipeline: Running) -> None:
    run = pipeline.run(pipeline.schedule("misspelt_task", "task: myapp.tasks.nigthly\n"))
    assert run.status == "failed"
    assert str(run.error).endswith('knows a task "myapp.tasks.nigthly": did you mean myapp.tasks.nightly?')
    assert "other@" in str(run.error)


def test_a_task_that_kills_its_worker_fails_its_run(pipeline: Running) -> None:
    run = pipeline.run(pipeline.schedule("deadly_task", "task: myapp.tasks.deadly\n"))
    assert run.status == "failed"
    assert "WorkerLostError" in str(run.error)


def test_it_holds_no_worker_and_goes_on_when_ours_is_killed(pipeline: Running) -> None:
    run_id = pipeline.trigger(pipeline.schedule("slow_task", "task: myapp.tasks.slow\n"))
    pipeline.until(lambda: (pipeline.home / "slow.begun").exists() or None, 60)

    def killed_while_nobody_looks() -> bool:
        with pipeline.transaction() as session:  # as long as it lasts, no step is claimed
            parked = session.scalar(select(Step).where(Step.run_id == run_id, Step.name == "task")).status == "queued"
            if parked:
                pipeline.kill("worker")
        return parked

    pipeline.until(killed_while_nobody_looks, 60)
    (pipeline.home / "slow.done").touch()
    pipeline.start("worker")
    run = pipeline.finished(run_id)
    assert (run.status, run.error) == ("succeeded", None)
    assert len(pipeline.attempts(step(pipeline, run))) == 2
