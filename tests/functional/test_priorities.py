"""A person who triggers a run does not wait for the hundreds that stand in the queue before it."""

import pytest

from pipeline.models import Step
from tests.functional.running import Running, running

# So many of the others may end before it has begun; after them nobody does.
TURNS = 4


@pytest.fixture
def up(tmp_path):
    yield from running(tmp_path / "home")


def test_a_run_by_hand_overtakes_a_backfill_in_the_queue(up: Running) -> None:
    turn = 'for one in turn.*; do rm "$one" 2>/dev/null && exit; done'
    wait = f"command: [/bin/sh, -c, 'until [ -e overtaken ]; do {turn}; sleep 0.05; done']"
    up.schedule("slow", f"{wait}\nwhen: {{every: 1h}}\noverlap: allow\n")
    up.schedule("quick", "command: [/bin/touch, overtaken]\n")
    up.command("sync", check=True)
    up.command(
        "backfill", "slow", "--from", "2026-11-16", "--to", "2026-11-17", "--concurrency", "48", "--yes", check=True
    )
    at_work = (Step.name == "command", Step.status == "running")
    up.until(lambda: len(up.rows(Step, *at_work)) == 2, 60)
    run_id = up.trigger("quick")
    for number in range(TURNS):
        (up.home / f"turn.{number}").touch()
    run = up.finished(run_id)
    assert run.status == "succeeded"
