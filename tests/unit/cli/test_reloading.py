"""What `pipeline up --reload` does about a change: which processes start again, and what people are told."""

from pathlib import Path

import pytest

from pipeline.authoring.watching import changes
from pipeline.cli import reloading
from pipeline.db import reading
from pipeline.models import Schedule
from pipeline.settings import settings


def followed(*changed, wrong=()):
    """What is restarted, and what is said, when these files change together."""
    restarted, said = [], []
    reloading._follow(iter([{Path(path) for path in changed}]), restarted.extend, said.append, lambda: list(wrong))
    return restarted, said


def test_code_and_templates_start_again_what_reads_them_once(home):
    restarted, said = followed("reports/sales.py", "templates/sales/document.html", "schedules/sales.yaml")
    assert restarted == ["worker", "beat", "web"]
    assert said == [
        "reports/sales.py, templates/sales/document.html changed: worker, beat, web start again",
        "schedules/sales.yaml changed: beat loads it",
    ]


@pytest.mark.parametrize("path", ["schedules/a.yaml", "schedules/a.sql", "README.md", "data/people.csv", ".env"])
def test_nothing_starts_again_for_what_is_read_anew_anyway(home, path):
    restarted, said = followed(path)
    assert restarted == []
    assert len(said) == (path.startswith("schedules/") or path == ".env")


def test_beside_a_broker_of_the_teams_schedules_are_loaded_at_once(database, monkeypatch):
    monkeypatch.setenv("PIPELINE_WATCH_SCHEDULES", "false")
    settings.cache_clear()
    (database / "schedules" / "nightly.yaml").write_text("command: [date]\n")
    _, said = followed("schedules/nightly.yaml")
    assert said[0].startswith("schedules/nightly.yaml changed: loaded")
    with reading() as session:
        assert session.get(Schedule, "nightly")


def test_what_goes_wrong_is_told_and_the_next_change_is_followed(home, monkeypatch):
    def away(named, say):
        raise OSError("the database is away")

    monkeypatch.setattr(reloading, "_load", away)
    said, restarted = [], []
    changed = [{Path("schedules/a.yaml")}, {Path("reports/a.py")}]
    reloading._follow(iter(changed), restarted.extend, said.append, list)
    assert said == ["reload: the database is away", "reports/a.py changed: worker, beat, web start again"]


def test_what_is_wrong_is_said_once_and_so_is_that_it_is_mended():
    looks = iter([["a.py:1: no"], ["a.py:1: no", *"bcde"], []])
    said = []
    reloading._follow(iter([{Path("README.md")}] * 3), list, said.append, lambda: next(looks))
    assert said == [
        "wrong: a.py:1: no",
        *(f"wrong: {one}" for one in "bcd"), "and 1 more: `pipeline check` names them",
        "nothing is wrong any more",
    ]  # fmt: skip


def test_code_is_looked_at_as_it_is_now_and_settings_that_are_wrong_are_told_too(home, monkeypatch):
    (home / "workflows").mkdir()
    (home / "workflows" / "load.py").write_text("def (\n")
    (home / "schedules" / "load.yaml").write_text("workflow: load\n")
    assert any("workflows/load.py:1: cannot be imported: SyntaxError" in fault for fault in reloading.faults())
    (home / "workflows" / "load.py").write_text("while True: pass\n")
    with monkeypatch.context() as hasty:
        hasty.setattr(reloading, "PATIENCE", 0.01)
        assert "never end" in reloading.faults()[0]
    monkeypatch.setenv("PIPELINE_KEEP_DAYS", "many")
    (sentence,) = reloading.faults()
    assert "PIPELINE_KEEP_DAYS" in sentence


def test_a_checkout_of_many_files_is_one_line():
    assert reloading._named([Path(f"reports/{letter}.py") for letter in "edcba"]) == (
        "reports/a.py, reports/b.py, reports/c.py and 2 more"
    )


def test_files_that_are_written_in_several_steps_are_one_change(home):
    (home / "reports").mkdir()
    found = changes(home, pause=0.02)
    for text in ("def", "def build(rows, period): ..."):
        (home / "reports" / "sales.py").write_text(text)
    assert next(found) == {Path("reports/sales.py")}
