"""A worker that is asked to stop finishes what it can, gives back the rest, and is gone in time."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from pipeline.models import Step
from tests.functional.running import Running, running

CODE = """
import os
import time

from pipeline import interrupting
from pipeline.settings import settings
from pipeline.tasks import step, workflow

# Where all are told to stop at once, whoever stands still meanwhile.
interrupting.TOGETHER = float(os.environ.get("TOGETHER", interrupting.TOGETHER))


def tell(run, what, file="told.txt"):
    with (run.home / file).open("a") as file:
        file.write(f"{what}\\n")


@step
def careful(run):
    settings().stop_within = 2  # half of it is over soon; its worker waits for as long as it takes
    tell(run, f"careful {os.getpid()}", "begun.txt")
    while (run.home / "long").exists():
        run.alive()
        time.sleep(0.1)
    tell(run, "careful")


@step
def deaf(run):
    tell(run, f"deaf {os.getpid()}", "begun.txt")
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
    for found in running(home, workflow=CODE, PIPELINE_STOP_WITHIN="600"):
        found.schedule("one", "workflow: one\noverlap: allow\n")
        yield found


def tries(up: Running, name: str) -> list[tuple[str, str | None]]:
    return [(one.outcome, one.error) for one in up.attempts(up.one(Step, Step.name == name))]


def both_at_work(up: Running) -> None:
    """In their own code, in processes of the worker that is up now."""
    pid, begun = up.processes["worker"].pid, up.home / "begun.txt"

    def look() -> bool:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        lines = begun.read_text().splitlines() if begun.exists() else []
        return {name for name, child in map(str.split, lines) if child in children} == {"careful", "deaf"}

    up.until(look, 60, lambda: str(up.rows(Step)))


def test_a_worker_that_is_stopped_gives_back_what_it_cannot_finish(up: Running) -> None:
    for name in ("careful", "deaf"):
        up.trigger("one", "-p", f"name={name}")
    both_at_work(up)
    given_back = [("parked", "its worker was stopped")]
    worker = up.processes["worker"]
    os.kill(worker.pid, signal.SIGQUIT)  # at once
    worker.wait(60)
    assert tries(up, "careful") == given_back

    up.start("worker", TOGETHER="60")
    both_at_work(up)
    worker = up.processes["worker"]
    os.killpg(worker.pid, signal.SIGTERM)  # its processes, too, as systemd does
    # At its next safe point, once half of the time is over.
    up.until(lambda: up.rows(Step, Step.name == "careful", Step.status == "queued"), 60)
    assert tries(up, "careful") == given_back
    assert worker.poll() is None
    os.kill(worker.pid, signal.SIGTERM)  # somebody is in a hurry
    worker.wait(60)
    assert tries(up, "deaf")[-1:] == given_back

    # Another one goes on at once: no lease has to lapse, and nobody has to miss a message.
    (up.home / "long").unlink()
    up.start("worker")
    up.until(lambda: {step.status for step in up.rows(Step)} == {"succeeded"}, 60, lambda: str(up.rows(Step)))
    assert sorted((up.home / "told.txt").read_text().split()) == ["careful", "deaf"]
    assert tries(up, "careful") == [*given_back, ("succeeded", None)]
    assert tries(up, "deaf")[-2:] == [*given_back, ("succeeded", None)]
