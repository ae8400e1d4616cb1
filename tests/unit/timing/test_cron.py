from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.timing import Cron
from pipeline.timing.cron import NEVER, WallTimes


def walls(expression, after, count=3, **options):
    times, wall = WallTimes(Cron(expression, **options)), datetime.fromisoformat(after)
    return [f"{wall:%Y-%m-%dT%H:%M:%S}" for _ in range(count) if (wall := times.after(wall)) != NEVER]


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ("0 7 * * mon", ["2026-11-16T07:00:00", "2026-11-23T07:00:00", "2026-11-30T07:00:00"]),
        ("*/20 9-10 * JAN-feb,Nov 7", ["2026-11-15T09:00:00", "2026-11-15T09:20:00", "2026-11-15T09:40:00"]),
        ("0 0 L * *", ["2026-11-30T00:00:00", "2026-12-31T00:00:00", "2027-01-31T00:00:00"]),
        ("0 0 * * 5L", ["2026-11-27T00:00:00", "2026-12-25T00:00:00", "2027-01-29T00:00:00"]),
        ("0 0 * * MON#2", ["2026-12-14T00:00:00", "2027-01-11T00:00:00", "2027-02-08T00:00:00"]),
        ("0 0 LW * *", ["2026-11-30T00:00:00", "2026-12-31T00:00:00", "2027-01-29T00:00:00"]),
        ("30 */15 8 * * *", ["2026-11-15T08:00:30", "2026-11-15T08:15:30", "2026-11-15T08:30:30"]),
        ("0 0 29 2 *", ["2028-02-29T00:00:00", "2032-02-29T00:00:00", "2036-02-29T00:00:00"]),
    ],
)
def test_names_ranges_steps_lists_and_last_days(expression, matches):
    assert walls(expression, "2026-11-15T00:00:00.5") == matches


def test_day_of_month_and_day_of_week_mean_either_unless_both_are_asked_for():
    assert walls("0 0 13 * fri", "2026-11-01T00:00", 4) == [
        "2026-11-06T00:00:00",
        "2026-11-13T00:00:00",
        "2026-11-20T00:00:00",
        "2026-11-27T00:00:00",
    ]
    assert walls("0 0 13 * fri", "2026-11-01T00:00", days="both") == [
        "2026-11-13T00:00:00",
        "2027-08-13T00:00:00",
        "2028-10-13T00:00:00",
    ]


def test_questions_may_go_back_in_time():
    times = WallTimes(Cron("0 * * * *"))
    asked = ["09:30", "09:59", "08:30", "10:00"]
    assert [times.after(datetime.fromisoformat(f"2026-01-01T{hour}")).hour for hour in asked] == [10, 10, 9, 11]


def test_the_calendar_ends():
    assert walls("0 * * * *", "9999-12-31T22:30") == ["9999-12-31T23:00:00"]


@pytest.mark.parametrize(
    ("expression", "fixed"),
    [
        ("30 2 * * *", True),
        ("0,30 2-4 * * *", True),
        ("*/5 30 2 * * *", True),
        ("* 2 * * *", False),
        ("0 */2 * * *", False),
        ("0 30 * * * *", False),
    ],
)
def test_a_fixed_time_has_no_star_in_front_of_minute_and_hour(expression, fixed):
    assert Cron(expression).fixed_time is fixed


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("0 25 * * *", "hour 25 is outside 0-23"),
        ("60 * * * *", "minute 60 is outside 0-59"),
        ("61 0 0 * * *", "second 61 is outside 0-59"),
        ("0 0 0 * *", "day-of-month 0 is outside 1-31"),
        ("0 0 * 13 *", "month 13 is outside 1-12"),
        ("0 0 * * 8", "day-of-week 8 is outside 0-7"),
        ("0 0 * foo *", 'month "foo" is not understood: it takes * or 1-12 or jan-dec'),
        ("0 0 ? * *", 'day-of-month "?" is not understood'),
        ("0 0 * * mon#6", 'day-of-week "mon#6" is not understood'),
        ("0 -1 * * *", 'hour "" is not understood'),
        ("0 ² * * *", 'hour "²" is not understood'),
        ("0 22-6 * * *", 'hour "22-6" runs backwards: write 22-23,0-6'),
        ("0 0 * * fri-sun", 'day-of-week "fri-sun" runs backwards: write fri-7'),
        ("0 0 * nov-feb *", 'month "nov-feb" runs backwards: write nov-12,1-feb'),
        ("1,,2 * * * *", 'minute "1,,2" has an empty item'),
        ("*/0 * * * *", 'minute "*/0" has no step'),
        ("*/ * * * *", 'minute "*/" has no step'),
        ("*/90 * * * *", "minute step 90 is longer than the range 0-59"),
        ("* * * *", "has 4 fields instead of 5 (minute hour day-of-month month day-of-week) or 6 (second first)"),
        ("", "has 0 fields"),
        ("@daily", '@daily is not supported: write "0 0 * * *"'),
        ("0 0 30 2 *", "0 0 30 2 * can never fire: day-of-month is 30, and February has no such day"),
        (
            "0 0 31 2,4,9-11/2 *",
            "day-of-month is 31, and February and April and September and November have no such day",
        ),
    ],
)
def test_a_wrong_expression_is_told_by_its_field_and_range(expression, sentence):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the sentence is compared below
        Cron(expression)
    assert sentence in str(refused.value)


def test_what_days_both_makes_impossible_is_refused_too():
    assert Cron("0 0 30 2 mon").days == "either"
    with pytest.raises(ValueError, match="day-of-month is 30, and February has no such day"):
        Cron("0 0 30 2 mon", days="both")
    with pytest.raises(ValueError, match=r"can never fire: no date is day 1-7 of month \* and weekday mon#3"):
        Cron("0 0 1-7 * mon#3", days="both")


@pytest.mark.parametrize("option", ["days", "gap", "overlap"])
def test_an_unknown_option_is_told_with_its_choices(option):
    with pytest.raises(ValueError, match=f"{option} 'maybe' is not one of"):
        Cron("0 0 * * *", **{option: "maybe"})


FIELD = st.text(alphabet="0123456789*,-/#LWlw?MONdec ", max_size=6)


@given(st.lists(FIELD, min_size=4, max_size=7).map(" ".join))
def test_any_text_is_either_refused_as_a_value_or_has_a_match(expression):
    try:
        found = walls(expression, "2026-01-01T00:00", count=1)
    except ValueError:
        return
    assert found
