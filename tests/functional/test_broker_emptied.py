"""The broker is emptied amid a run: it is noticed within seconds, and every step is carried out once."""

from collections import Counter

import pytest
from redis import Redis

from pipeline.models import Broker, Run, RunEvent, Step
from tests.functional.running import Running, running

SLOW = """
import time

from celery import chord

from pipeline.tasks import step, workflow


def tell(run, what):
    with (run.home / "told.txt").open("a") as file:
        file.write(f"{what}\\n")


@step
def part(run, number: int):
    while number > 2 and not (run.home / "emptied").exists():
        time.sleep(0.1)
    tell(run, f"part {number}")


@step
def whole(run):
    tell(run, "whole")


@workflow
def slow(run):
    return chord([part.si(number) for number in range(12)], whole.si())
""".replace("\\\\", "\\")


@pytest.fixture
def up(tmp_path):
    for found in running(tmp_path / "home", workflow=SLOW):
        found.schedule("slow", "workflow: slow\n")
        yield found


def test_a_run_completes_by_itself_after_flushall(up: Running) -> None:
    run_id = up.trigger("slow")
    parts = (Step.run_id == run_id, Step.task == "story.part", Step.status == "succeeded")
    up.until(lambda: len(up.rows(Step, *parts)) >= 3 or None, 60)
    up.until(lambda: up.rows(Broker), 60)  # what beat has never seen, it does not miss
    with Redis(unix_socket_path=str(up.home / "var" / "broker.sock")) as broker:
        broker.flushall()
    (up.home / "emptied").touch()
    run = up.finished(run_id, 120)

    assert run.status == "succeeded"
    told = Counter((up.home / "told.txt").read_text().splitlines())
    assert told == Counter([f"part {number}" for number in range(12)] + ["whole"])
    healed = [one.text for one in up.rows(RunEvent, RunEvent.run_id == run_id) if one.kind == "healed"]
    assert any("the broker was emptied" in text for text in healed), healed
    assert up.one(Run, Run.id == run_id).generation == 1

    with Redis(unix_socket_path=str(up.home / "var" / "broker.sock")) as broker:
        broker.flushall()
        # What an application sends to the exchange now would be nobody's.
        up.until(lambda: broker.exists("_kombu.binding.pipeline"), 60)
