"""Runs are cancelled while real workers are at work on them: soon, for good, and without taking the worker along."""

import json

import pytest

from pipeline.models import Attempt, Run, Step
from tests.functional.running import Running, running

HUNG = """
import ctypes

from celery import chain, group

from pipeline.tasks import step, workflow


@step
def deaf(run, number: int):
    while True:
        try:
            while True:
                sum(range(1000))
        except BaseException:
            if number:
                raise


@step
def stone(run):
    # It waits for a lock in C while it has that of the interpreter: no thread of its process runs any more.
    lock, c = ctypes.create_string_buffer(64), ctypes.PyDLL(None)
    while True:
        c.pthread_mutex_lock(lock)


@step
def after(run):
    return {}


@workflow
def hung(run):
    return chain(group([deaf.si(0), deaf.si(1), stone.si()]), after.si())
"""


@pytest.fixture
def up(tmp_path):
    for found in running(tmp_path / "home", workflow=HUNG):
        found.schedule("hung", "workflow: hung\n")
        found.start("worker2")
        yield found


def test_steps_that_notice_nothing_are_interrupted_then_killed_and_the_worker_goes_on(up: Running) -> None:
    run_id = up.trigger("hung")

    def at_work():
        return up.rows(Step, Step.run_id == run_id, Step.status == "running", Step.name != "start")

    up.until(lambda: len(at_work()) == 3 or None, 60)
    told = json.loads(up.command("cancel", str(run_id), "--reason", "stuck", "--json", check=True).stdout)
    assert (told["run"]["status"], told["at_work"]) == ("cancelling", 3)
    run = up.finished(run_id)
    assert (run.status, run.error.endswith(": stuck")) == ("cancelled", True)
    assert {one.status for one in up.rows(Step, Step.run_id == run_id) if one.name != "start"} == {"cancelled"}
    ends = {one.outcome for one in up.rows(Attempt, Attempt.run_id == run_id)}
    assert ends == {"succeeded", "cancelled", "abandoned"}
    assert up.processes["worker"].poll() is None
    up.schedule("shipments")
    assert up.run("shipments").status == "succeeded"
    assert len(up.rows(Run)) == 2
