"""Programs as runs: what they wrote is kept, their exit code decides, and nothing is left of one that must end."""

from __future__ import annotations

import json
import os
import signal
import textwrap
from pathlib import Path

import pytest

from pipeline.models import Attempt, Run, Step
from tests.functional.running import Running

TELL = """
    command:
      run: [/bin/sh, -c, "echo $1 $PIPELINE_PARAM_REGION $GREETING; pwd", tell, "{due_date} {period}"]
      environment: {GREETING: hello}
      cwd: work
    params: {region: eu}
    period: 2026-W46
"""


@pytest.fixture
def pipeline(sqlite_pipeline: Running) -> Running:
    """Programs know no database."""
    return sqlite_pipeline


def written(pipeline: Running, name: str, text: str) -> str:
    return pipeline.schedule(name, textwrap.dedent(text))


def attempts(pipeline: Running, run: Run) -> list[Attempt]:
    return pipeline.attempts(pipeline.steps(run)["command"])


def pids(file: Path) -> list[int]:
    return [int(word) for word in file.read_text().split()] if file.exists() else []


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pipeline: Running, those: list[int]) -> None:
    """They end: what is killed lives until its turn comes."""
    pipeline.until(lambda: not any(map(lives, those)), 30, lambda: f"{those}")


def test_a_program_is_told_what_it_is_for_and_its_output_is_shown(pipeline: Running) -> None:
    (pipeline.home / "work").mkdir(exist_ok=True)
    run = pipeline.run(written(pipeline, "tell", TELL), "-p", "region=us")
    assert (run.status, run.error, run.workflow) == ("succeeded", None, "command")
    (attempt,) = attempts(pipeline, run)
    day = run.due_at.date().isoformat()
    assert attempt.output == f"{day} 2026-W46 us hello\n{pipeline.home}/work\n"
    assert attempt.output in json.loads(pipeline.command("show", "tell", "--json").stdout)["attempts"][-1]["output"]
    assert "us hello" in pipeline.command("show", "tell").stdout


def test_an_exit_code_decides_what_comes_next(pipeline: Running) -> None:
    """75 asks for another try; what the last line says becomes the error."""
    text = """
        command: [/bin/sh, -c, "echo try >> tries; echo busy; [ $(wc -l < tries) -ge 3 ] && exit 4; exit 75"]
        retry: {command: {attempts: 5, first: 0s, ceiling: 0s}}
    """
    (pipeline.home / "tries").unlink(missing_ok=True)
    run = pipeline.run(written(pipeline, "tries", text))
    assert (run.status, run.error) == ("failed", "command: /bin/sh: exit 4: busy")
    tried = attempts(pipeline, run)
    assert [one.outcome for one in tried] == ["retry", "retry", "failed"]
    assert {(one.output, one.traceback) for one in tried} == {("busy\n", None)}


def test_past_its_time_a_program_is_ended_with_all_it_has_started(pipeline: Running) -> None:
    text = """
        command:
          run: [/bin/sh, -c, "sleep 600 & echo $! $$ > late; echo begun; wait"]
          time_limit: 1s
    """
    run = pipeline.run(written(pipeline, "late", text))
    assert (run.status, run.error) == (
        "failed", "command: /bin/sh took longer than its time limit of 1s and was ended",
    )  # fmt: skip
    begun = pids(pipeline.home / "late")
    assert attempts(pipeline, run)[0].output == ("begun\n" if begun else None)  # a second may be short
    gone(pipeline, begun)


@pytest.mark.parametrize("whom", ["its child", "all of it"])
def test_a_killed_worker_leaves_no_program_behind_and_another_does_it_again(pipeline: Running, whom: str) -> None:
    name = f"orphan_{whom.partition(' ')[0]}"
    text = f"""
        command:
          run: [/bin/sh, -c, "sleep 600 & echo $! $$ >> {name}; [ $(wc -l < {name}) -ge 2 ] || wait; kill $!"]
    """
    run_id = pipeline.trigger(written(pipeline, name, text))
    begun = pipeline.until(lambda: pids(pipeline.home / name) or None, 60)
    if whom == "all of it":
        pipeline.kill("worker")
        gone(pipeline, begun)
        pipeline.start("worker")
    else:
        (step,) = pipeline.rows(Step, Step.run_id == run_id, Step.name == "command")
        os.kill(int(str(step.lease_owner).split("/")[2]), signal.SIGKILL)
        gone(pipeline, begun)
    run = pipeline.finished(run_id)
    assert run.status == "succeeded", run.error
    assert [one.outcome for one in attempts(pipeline, run)] == ["abandoned", "succeeded"]


def test_a_program_that_is_not_there_is_named(pipeline: Running) -> None:
    run = pipeline.run(written(pipeline, "nowhere", "command: [/opt/nowhere/rotate.sh]"))
    assert (run.status, run.error) == (
        "failed", "command: /opt/nowhere/rotate.sh cannot be started: No such file or directory",
    )  # fmt: skip


def test_a_cancelled_run_ends_its_program_within_seconds_and_keeps_what_it_wrote(pipeline: Running) -> None:
    text = """
        command: [/bin/sh, -c, "sleep 600 & trap '' TERM; echo $! $$ > unwanted; echo begun; while :; do sleep 1; done"]
    """
    run_id = pipeline.trigger(written(pipeline, "unwanted", text))
    pipeline.until(lambda: any(one.output for one in pipeline.rows_of_attempts(run_id)), 60)
    begun = pids(pipeline.home / "unwanted")
    done = pipeline.command("cancel", "unwanted", "--reason", "wrong day")
    assert done.returncode == 0, done.stderr
    run = pipeline.finished(run_id)
    assert run.status == "cancelled"
    assert "wrong day" in str(run.error)
    gone(pipeline, begun)
    assert attempts(pipeline, run)[0].output == "begun\n"
