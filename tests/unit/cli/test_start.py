"""How the command line starts and fails."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import __version__
from pipeline.cli.group import told
from pipeline.settings import settings

HEAVY = ("alembic", "celery", "jinja2", "kombu", "pyarrow", "pydantic", "rich", "sqlalchemy", "structlog", "weasyprint")


def test_the_commands_are_known_without_anything_heavy():
    script = f"""
import sys
from pipeline.cli import application
from typer.main import get_command
get_command(application())
print(*[name for name in {HEAVY} if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_a_trigger_loads_neither_what_renders_nor_what_prints():
    script = f"""
import sys
from pipeline.cli import triggering
from pipeline import tasks
print(*[name for name in {("alembic", "jinja2", "pyarrow", "rich", "structlog", "weasyprint")} if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


@pytest.mark.parametrize(
    ("without", "words", "sentence"),
    [
        ("typer", [], "installed here without the packages that it needs (--no-deps)"),
        ("pyarrow", ["preview", "stock"], "the package pyarrow is not installed here: it comes with the extra worker"),
    ],
)
def test_a_package_that_is_not_installed_is_told_with_what_brings_it(home, without, words, sentence):
    script = f"""
import sys
sys.modules[{without!r}] = None
sys.argv[1:] = {words}
import pipeline.cli
pipeline.cli.main()
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert found.returncode
    assert sentence in found.stderr
    assert "Traceback" not in found.stderr


def test_help_groups_the_commands(typed):
    said = typed("--help").stdout
    assert [said.index(f"─ {panel} ─") for panel in ("Run", "Look", "Write", "Operate")] == sorted(
        said.index(f"─ {panel} ─") for panel in ("Run", "Look", "Write", "Operate")
    )


def test_the_version_is_told(typed):
    assert typed("--version").stdout.strip() == __version__


def test_a_misspelt_command_is_answered_with_the_right_one(typed):
    result = typed("scedules")
    assert result.exit_code == 2
    assert "schedules" in result.output


def test_without_a_database_it_is_said_what_makes_one(typed, home: Path):
    result = typed("runs")
    assert result.exit_code == 2
    assert "`pipeline migrate` makes it" in result.stderr
    assert not (home / "var").exists()  # looking leaves nothing behind


def test_outside_of_any_home_that_is_said_too(typed, home: Path):
    (home / "schedules").rmdir()
    assert "is it the right home (PIPELINE_HOME)?" in typed("show").stderr


def test_a_database_without_tables_says_what_to_type(typed, home: Path):
    from tests.conftest import forget_engine

    (home / "var").mkdir()
    (home / "var" / "pipeline.db").touch()
    forget_engine()
    result = typed("runs")
    forget_engine()
    assert result.exit_code == 2
    assert result.stderr.strip().startswith("the database has no tables yet: `pipeline migrate` makes them")


def test_a_database_that_does_not_answer_is_named_without_its_password(typed, home: Path, monkeypatch):
    from tests.conftest import forget_engine

    monkeypatch.setenv("PIPELINE_DATABASE_URL", "postgresql://reports:secret@127.0.0.1:1/pipeline")
    forget_engine()
    result = typed("runs")
    forget_engine()
    assert result.exit_code == 2
    assert "127.0.0.1:1/pipeline does not answer" in result.stderr
    assert "secret" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_wrong_setting_is_one_sentence(typed, home: Path, monkeypatch):
    monkeypatch.setenv("PIPELINE_TIMEZONE", "Europe/Berln")
    settings.cache_clear()
    result = typed("schedules")
    assert result.exit_code == 2
    assert result.stderr.startswith('PIPELINE_TIMEZONE="Europe/Berln": ')


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_is_named(code):
    said = told(OSError(code, os.strerror(code), "/home/reports/var"))
    assert said == f"/home/reports/var: {os.strerror(code)}; `pipeline doctor` looks closer"


def test_a_file_that_should_be_there_is_a_bug_of_ours():
    assert told(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/x")) is None


def test_a_store_whose_driver_is_missing_is_told_before_anything_starts(typed, home: Path, monkeypatch):
    monkeypatch.setenv("PIPELINE_STORAGE_URL", "s3://bucket/artifacts")
    settings.cache_clear()
    refused = typed("up")
    assert refused.exit_code == 2
    assert "s3://bucket/artifacts: lacks its driver" in refused.output
    assert not (home / "var").exists()
