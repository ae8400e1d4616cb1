"""Limits for a run's numbers: fixed, or against the last time."""

from __future__ import annotations

import pytest

from pipeline import requirements
from pipeline.requirements import Last

LAST = Last("0195ab12", "2026-W45", {"rows": 1240, "rows.flights": 1240, "documents": 16, "recipients": 400})
NOW = {"rows": 412, "rows.flights": 412, "documents": 16, "recipients": 4000}


def judged(require, now=NOW, last=LAST):
    return requirements.judge(requirements.read(require), now, last)


@pytest.mark.parametrize(
    ("require", "sentence"),
    [
        ({"rows": ">= 1000"}, "rows: 412, and require.rows wants >= 1,000 (the last time, 2026-W45, it was 1,240)"),
        (
            {"versus_last": ">= 50%"},
            (
                "rows: 412, 33% of the last time, and require.versus_last wants >= 50% "
                "(the last time, 2026-W45, it was 1,240)"
            ),
        ),
        (
            {"recipients": "<= 300%"},
            (
                "recipients: 4,000, 1,000% of the last time, and require.recipients wants <= 300% "
                "(the last time, 2026-W45, it was 400)"
            ),
        ),
        ({"documents": ["> 10", "< 16"]}, "documents: 16, and require.documents wants < 16 (the last time, "),
        ({"rows.flights": ">= 50%"}, "rows.flights: 412, 33% of the last time, and require.rows.flights wants >= 50%"),
    ],
)
def test_what_is_not_kept_is_said_with_what_was_found_and_the_last_time(require, sentence):
    (said,) = judged(require).unmet
    assert said.startswith(sentence)


@pytest.mark.parametrize(
    "require",
    [{"rows": ">= 412"}, {"rows": "> 30%"}, {"documents": "== 100%"}, {"recipients": [">= 1", "<=1000%"]}, {}],
)
def test_what_is_kept_is_not_mentioned(require):
    assert judged(require) == requirements.Judged([], [])


def test_the_first_time_there_is_nothing_to_compare_with():
    found = judged({"rows": ">= 1000", "versus_last": ">= 50%", "recipients": ["<= 300%", "<= 5000"]}, last=None)
    assert found.unmet == ["rows: 412, and require.rows wants >= 1,000"]
    assert found.uncompared == ["versus_last >= 50%", "recipients <= 300%"]


def test_against_nothing_the_last_time_something_is_more_than_any_share():
    (said,) = judged({"recipients": "<= 300%"}, last=Last("0195ab12", "2026-W45", {"recipients": 0})).unmet
    assert "(the last time, 2026-W45, it was 0)" in said


def test_numbers_that_are_not_known_are_not_judged():
    assert judged({"recipients": "<= 1"}, now={"rows": 3}) == requirements.Judged([], [])


@pytest.mark.parametrize(
    ("require", "sentence"),
    [
        ({"rows": "1000"}, r'\.rows "1000" is no limit: write it like ">= 1000", or ">= 50%" of the last time'),
        ({"recipient": "<= 300%"}, r"\.recipient is not a field here: did you mean recipients"),
        ({"versus_last": ">= 50"}, r'\.versus_last ">= 50": is a share of the rows of the last time'),
        ({"rows": ">= 1e3"}, "is no limit"),
        ({"rows": [None]}, '"None" is no limit'),
    ],
)
def test_what_is_no_limit_is_refused(require, sentence):
    with pytest.raises(ValueError, match=sentence):
        requirements.read(require)
