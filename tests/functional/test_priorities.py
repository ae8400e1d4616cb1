"""A person who triggers a run does not wait for the hundreds that stand in the queue before it."""

import pytest

from pipeline.models import Run, Step
from tests.functional.running import Running, running


@pytest.fixture
def up(tmp_path):
    yield from running(tmp_path / "home")


def test_a_run_by_hand_overtakes_a_backfill_in_the_queue(up: Running) -> None:
    until = "command: [/bin/sh, -c, 'until [ -e triggered ]; do sleep 0.05; done']"
    up.schedule("slow", f"{until}\nwhen: {{every: 1h}}\noverlap: allow\n")
    up.schedule("quick", 'command: ["/bin/true"]\noverlap: allow\n')
    up.until(lambda: up.command("trigger", "quick", "--json").returncode == 0 or None, 30)
    up.command(
        "backfill", "slow", "--from", "2026-11-16", "--to", "2026-11-17", "--concurrency", "48", "--yes", check=True
    )
    of_the_backfill = Run.trigger == "backfill"
    up.until(lambda: any(one.status == "running" for one in up.rows(Run, of_the_backfill)) or None, 30)
    run_id = up.trigger("quick")
    (up.home / "triggered").touch()
    run = up.finished(run_id)
    assert run.status == "succeeded"
    began = up.steps(run)["command"].started_at
    before = Step.run_id.in_([one.id for one in up.rows(Run, of_the_backfill)]), Step.name == "command"
    assert len(up.rows(Step, *before, Step.started_at < began)) < 24
