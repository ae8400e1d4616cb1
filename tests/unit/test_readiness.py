"""The order in which schedules wait for each other: every name is known, and nobody waits in a circle."""

from __future__ import annotations

import pytest

from pipeline import readiness

ORDERS = {"import": [], "report": ["import"], "summary": ["report", "import"], "late": ["summary"]}


@pytest.mark.parametrize("key", ORDERS)
def test_an_order_without_a_circle_is_fine(key):
    readiness.check_order(key, ORDERS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"report": ["imprt"]}, '"imprt" is not a schedule: did you mean import?'),
        ({"report": ["zzz"]}, '"zzz" is not a schedule: there are import, late, summary'),
        ({"report": ["report"]}, "is a circle in which each waits for the next: report -> report"),
        (
            {"import": ["late"]},
            "is a circle in which each waits for the next: report -> import -> late -> summary -> report",
        ),
    ],
)
def test_what_cannot_come_is_refused(changes, said):
    with pytest.raises(ValueError, match=r"circle|not a schedule") as refused:
        readiness.check_order("report", {**ORDERS, **changes})
    assert str(refused.value) == said


def test_one_outside_of_the_circle_is_not_to_blame():
    readiness.check_order("other", {"a": ["b"], "b": ["a"], "other": ["a"]})


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ({"schedules": "a"}, ["a"]),
        ({"schedules": [1, "a"]}, ["a"]),
        (5, []),
        (None, []),
    ],
)
def test_whom_a_file_waits_for_is_read_before_it_is_checked(written, named):
    assert readiness.named({"after": written}) == named
