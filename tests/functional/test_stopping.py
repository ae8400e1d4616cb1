"""A worker that is asked to stop finishes what it can, gives back the rest, and is gone in time."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from pipeline.models import Step
from tests.functional.running import Running, running

CODE = """
import time

from pipeline.tasks import step, workflow


def tell(run, what):
    with (run.home / "told.txt").open("a") as file:
        file.write(f"{what}\\n")


@step
def careful(run):
    while (run.home / "long").exists():
        run.alive()
        time.sleep(0.1)
    tell(run, "careful")


@step
def deaf(run):
    while (run.home / "long").exists():
        try:
            time.sleep(60)
        except Exception:
            pass
    tell(run, "deaf")


@workflow
def one(run, name: str):
    return {"careful": careful, "deaf": deaf}[name].si()
"""


@pytest.fixture
def up(tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "long").touch()
    for found in running(home, workflow=CODE, PIPELINE_STOP_WITHIN="5"):
        found.schedule("one", "workflow: one\noverlap: allow\n")
        yield found


def tries(up: Running, name: str) -> list[tuple[str, str | None]]:
    return [(one.outcome, one.error) for one in up.attempts(up.one(Step, Step.name == name))]


def both_at_work(up: Running) -> None:
    at_work = (Step.status == "running", Step.name.in_(["careful", "deaf"]))
    up.until(lambda: len(up.rows(Step, *at_work)) == 2 or None, 60, lambda: str(up.rows(Step)))


def test_a_worker_that_is_stopped_gives_back_what_it_cannot_finish(up: Running) -> None:
    for name in ("careful", "deaf"):
        up.trigger("one", "-p", f"name={name}")
    both_at_work(up)
    given_back = [("parked", "its worker was stopped")]
    worker = up.processes["worker"]
    os.kill(worker.pid, signal.SIGQUIT)  # at once
    worker.wait(30)
    assert tries(up, "careful") == given_back

    up.start("worker")
    both_at_work(up)
    worker = up.processes["worker"]
    os.killpg(worker.pid, signal.SIGTERM)  # its processes, too, as systemd does
    # At its next safe point, once half of the time is over.
    up.until(lambda: up.rows(Step, Step.name == "careful", Step.status == "queued"), 30)
    assert tries(up, "careful") == given_back
    assert worker.poll() is None
    os.kill(worker.pid, signal.SIGTERM)  # somebody is in a hurry
    worker.wait(30)
    assert tries(up, "deaf")[-1:] == given_back

    # Another one goes on at once: no lease has to lapse, and nobody has to miss a message.
    (up.home / "long").unlink()
    up.start("worker")
    up.until(lambda: {step.status for step in up.rows(Step)} == {"succeeded"}, 60, lambda: str(up.rows(Step)))
    assert sorted((up.home / "told.txt").read_text().split()) == ["careful", "deaf"]
    assert tries(up, "careful") == [*given_back, ("succeeded", None)]
    assert tries(up, "deaf")[-2:] == [*given_back, ("succeeded", None)]
