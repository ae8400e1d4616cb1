"""`pipeline up --run` as a stranger types it: everything starts, one schedule runs, everything stops."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.embedded import running
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


def typed(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
    environment |= {"PIPELINE_HOME": str(home), "PYTHONPATH": str(CLONE), "COLUMNS": "80"}
    return subprocess.run([*PIPELINE, *words], env=environment, cwd=home, capture_output=True, text=True, check=False)


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
