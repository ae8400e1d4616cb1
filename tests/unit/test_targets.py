"""Placeholders of commands and tasks: what each stands for, and which braces are none."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from pipeline import targets, timing
from pipeline.settings import settings

RUN = UUID("019a8a3e-0000-7000-8000-000000000001")
KNOWN = targets.values(
    schedule="rotate",
    run=RUN,
    due_at=datetime(2026, 11, 16, 23, 30, tzinfo=UTC),
    zone="Europe/Berlin",
    period=timing.period("last_week", datetime(2026, 11, 16, 23, 30, tzinfo=UTC), "Europe/Berlin"),
    params={"region": "eu", "limit": 10, "dry": True, "note": None},
)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("--day={due_date}", "--day=2026-11-17"),
        ("{due_at}", "2026-11-17T00:30:00+01:00"),
        ("{period} of {schedule}", "2026-W46 of rotate"),
        ("{period_start}..{period_end}", "2026-11-09T00:00:00+01:00..2026-11-16T00:00:00+01:00"),
        ("{period_start_date}..{period_end_date}", "2026-11-09..2026-11-16"),
        ("{run}", str(RUN)),
        ("{region}/{limit}/{dry}/{note}.", "eu/10/true/."),
        # Braces of other languages.
        ("${region} ${due_date:0:4}", "${region} ${due_date:0:4}"),
        ("awk '{print $1}' {}", "awk '{print $1}' {}"),
        ('{"day": "{due_date}", "n": {limit}}', '{"day": "2026-11-17", "n": 10}'),
        ("{{region}} is {region}", "{region} is eu"),
    ],
)
def test_a_placeholder_is_a_word_in_braces(written, meant):
    assert targets.filled(written, KNOWN) == meant


def test_in_a_tasks_arguments_a_placeholder_alone_keeps_its_type():
    said = {"limit": "{limit}", "dry": "{dry}", "days": ["{due_date}", 7], "text": "at most {limit}"}
    assert targets.filled(said, KNOWN) == {
        "limit": 10, "dry": True, "days": ["2026-11-17", 7], "text": "at most 10",
    }  # fmt: skip


def test_the_same_values_are_environment_variables():
    found = targets.variables(KNOWN)
    assert (found["PIPELINE_RUN"], found["PIPELINE_PERIOD"]) == (str(RUN), "2026-W46")
    assert (found["PIPELINE_PARAM_LIMIT"], found["PIPELINE_PARAM_DRY"], found["PIPELINE_PARAM_NOTE"]) == (
        "10", "true", "",
    )  # fmt: skip


def test_a_program_may_call_pipeline_with_the_variables_it_was_given(home, monkeypatch):
    """None of them is taken for a misspelt setting, whatever a parameter is called."""
    names = {**KNOWN, "database_url": "x", "timezones": "y"}
    for name, value in targets.variables(names).items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    assert settings().home == home
