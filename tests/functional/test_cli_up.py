"""`pipeline up` as a stranger types it: everything starts, what is due or edited runs, everything stops."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.embedded import running, state
from pipeline.settings import Settings

CLONE = Path(__file__).parent.parent.parent
PIPELINE = [sys.executable, "-c", "from pipeline.cli import main; main()"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A home like the repository's own: the example's schedules, templates, code and data."""
    home = tmp_path / "clone"
    for folder in ("schedules", "templates", "reports"):
        shutil.copytree(CLONE / folder, home / folder)
    (home / "examples").mkdir()
    (home / "examples" / "nycflights13").symlink_to(CLONE / "examples" / "nycflights13")
    return home


def environment(home: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
    return clean | {"PIPELINE_HOME": str(home), "PYTHONPATH": str(CLONE), "COLUMNS": "80"}


def typed(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PIPELINE, *words], env=environment(home), cwd=home, capture_output=True, text=True, check=False
    )


@pytest.mark.timeout(300)
def test_one_command_runs_the_example_and_leaves_nothing_running(clone: Path):
    result = typed(clone, "up", "--run", "delays_by_day")
    assert result.returncode == 0, result.stderr
    assert "1 rendered" in result.stdout
    assert "2 accepted" in result.stdout
    assert "var/reports/delays_by_day/2013-W37/" in result.stdout
    assert (clone / "var" / "reports" / "delays_by_day" / "2013-W37" / "all.pdf").read_bytes().startswith(b"%PDF")
    assert len(list((clone / "var" / "outbox").glob("*.eml"))) == 2
    assert running(Settings(home=clone)) is None
    shown = json.loads(typed(clone, "show", "delays_by_day", "--json").stdout)
    assert shown["run"]["status"] == "succeeded"
    answered = typed(clone, "who", "desk@example.com")
    assert answered.returncode == 0
    assert "kept by the mail catcher" in " ".join(answered.stdout.split())


def test_a_schedule_that_is_not_there_stops_everything_again(clone: Path):
    result = typed(clone, "up", "--run", "delays_by_dy")
    assert result.returncode == 2
    assert "did you mean delays_by_day?" in result.stderr
    assert running(Settings(home=clone)) is None


THINKING = """
import time
from celery import chain
from pipeline.tasks import step, workflow

@step
def think(run):
    with (run.home / "began").open("a") as file:
        file.write("once ")
    time.sleep({seconds})
    return {{"answer": {answer}}}

@workflow
def answer(run):
    return chain(think.si())
"""


@pytest.fixture
def edited(home: Path) -> Iterator[Path]:
    """A home with a workflow of its own beside `pipeline up --reload`, which writes into said.txt."""
    (home / "workflows").mkdir()
    (home / "schedules" / "answer.yaml").write_text("workflow: answer\n")
    (home / "workflows" / "answer.py").write_text(THINKING.format(seconds=3, answer=1))
    few = {"PIPELINE_FLOWER_PORT": "0", "PIPELINE_CONCURRENCY": "1"}
    with (home / "said.txt").open("w") as said:
        command = [*PIPELINE, "up", "--reload"]
        up = subprocess.Popen(command, env=environment(home) | few, cwd=home, stdout=said, stderr=said)
    try:
        yield home
    finally:
        up.send_signal(signal.SIGINT)
        assert up.wait(100) == 0
    assert running(Settings(home=home)) is None


@pytest.mark.timeout(200)
def test_what_is_edited_runs_next_and_what_is_at_work_is_finished_first(edited: Path):
    code = edited / "workflows" / "answer.py"

    def says(*sentences: str) -> None:
        said = edited / "said.txt"
        assert state.until(lambda: all(one in said.read_text() for one in sentences), 60), said.read_text()

    loaded = edited / "var" / "log" / "beat.log"
    assert state.until(lambda: loaded.exists() and "added=['answer']" in loaded.read_text(), 60)
    assert typed(edited, "trigger", "answer").returncode == 0
    assert state.until((edited / "began").exists, 60)
    code.write_text(THINKING.format(seconds=0, answer=2))
    (edited / "schedules" / "typo.yaml").write_text("wen: never\n")
    says("workflows/answer.py changed", "beat starts again", "web starts again", "worker starts again")
    says("wrong: schedules/typo.yaml", "did you mean when")
    with closing(sqlite3.connect(edited / "var" / "pipeline.db")) as database:
        assert database.execute("select status from runs").fetchall() == [("succeeded",)]
    assert (edited / "began").read_text() == "once "
    second = json.loads(typed(edited, "trigger", "answer", "--wait", "--json").stdout)
    assert second["result"] == {"answer": 2}
