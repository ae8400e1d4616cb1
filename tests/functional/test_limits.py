"""A pool with one place: its steps take turns over all workers, the others overtake them, and a kill costs no place."""

import os
import signal
from itertools import accumulate

import pytest

from pipeline.models import Step
from tests.functional.running import Running, running

# Says when it begins and ends; the keeper ends it with its worker.
WORK = """
command: [/bin/sh, -c, 'echo + >> work.log; sleep 0.3; echo - >> work.log']
overlap: allow
pools: {command: warehouse}
retry: {command: {attempts: 1}}
"""


@pytest.fixture
def up(tmp_path):
    yield from running(tmp_path / "home", PIPELINE_POOLS="warehouse=1")


def test_steps_of_a_pool_take_turns_and_hold_up_nobody_else(up: Running) -> None:
    up.schedule("work", WORK)
    up.schedule("holder", "command: [/bin/sleep, '600']\npools: {command: warehouse}\n")
    up.schedule("quick", "command: [/bin/true]\n")
    holder = up.trigger("holder")
    held = (Step.run_id == holder, Step.name == "command", Step.status == "running")
    owner = up.until(lambda: up.rows(Step, *held), 60)[0].lease_owner
    waiting = [up.trigger("work") for _ in range(4)]
    up.until(lambda: len(up.rows(Step, Step.place_wanted_at.is_not(None))) == 4, 60)

    assert up.run("quick").status == "succeeded"
    shown = " ".join(up.command("show", str(waiting[0])).stdout.split())
    assert "waits for a place in pool warehouse: 1 of 1 taken, by command of holder" in shown

    os.kill(int(owner.split("/")[2]), signal.SIGKILL)
    up.command("cancel", str(holder), check=True)

    assert {up.finished(run_id).status for run_id in waiting} == {"succeeded"}
    at_once = list(accumulate({"+": 1, "-": -1}[line] for line in (up.home / "work.log").read_text().split()))
    assert (max(at_once), at_once[-1]) == (1, 0)
    assert len(at_once) == 8
    assert up.finished(holder).status == "cancelled"
