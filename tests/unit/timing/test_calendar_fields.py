"""What the fields of a calendar may say: refused with a sentence, or told in plain English."""

import pytest

from pipeline.timing import CalendarError, describe, spec

BERLIN = "Europe/Berlin"
BAVARIA = {"only_on": ["business_days"], "except_on": ["holidays:DE-BY"]}


# ---- refused


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"except_on": ["holidays:Germny"]},
            'except_on "Germny" is no country or exchange whose holidays are known: did ',
        ),
        ({"except_on": ["holidays:XX"]}, 'except_on "XX" is no country or exchange'),
        (
            {"only_on": ["holidays:DE-BYY"]},
            'only_on "DE-BYY": DE has no subdivision BYY: did you mean DE-BY? It has Aug',
        ),
        (
            {"only_on": ["busines_days"]},
            'only_on "busines_days" is no kind of days: did you mean business_days? It is ',
        ),
        ({"only_on": ["2026-02-30"]}, 'only_on "2026-02-30" does not exist: day is out of range for month'),
        ({"except_on": ["24.12.2026"]}, 'except_on "24.12.2026" is not a date: write it like 2026-12-24'),
        (
            {"except_on": ["closed.txt"]},
            'except_on "closed.txt" is not there: a file of dates lies beside the schedule',
        ),
        (
            {"except_on": [{"file": "closed.txt", "dates": "2026-12-24\n24.12.\n"}]},
            'except_on "closed.txt" line 2: "24.12." is not a date: write it like 2026-12-24',
        ),
        ({"on_holiday": "after"}, "on_holiday: after goes with only_on or except_on"),
        ({"on_holiday": "never", "except_on": ["sat"]}, "on_holiday 'never' is not one of skip, before, after"),
        (
            {"day": "last_busines_day"},
            'day "last_busines_day" is not known: did you mean last_business_day? It is first',
        ),
        (
            {"cron": "0 7 1 * *", "day": "last_day"},
            'day: last_day stands in place of the day fields of "0 7 1 * *": wri',
        ),
        ({"day": "business_day#24"}, "day: no day is left on which it could ever fire"),
        ({"except_on": ["mon-sun"]}, "except_on: no day is left on which it could ever fire"),
        (
            {"only_on": ["sat"], "except_on": ["sat"]},
            "only_on, except_on: no day is left on whi",
        ),
        ({"only_on": ["business_days"], "cron": "0 7 * * sun"}, "only_on: no day is left on which it could ever fire"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_its_field(fields, sentence):
    with pytest.raises(CalendarError) as refused:
        spec({"cron": "0 7 * * *", **fields}, "UTC")
    assert str(refused.value).startswith(sentence)


def test_a_day_of_the_month_needs_a_time():
    with pytest.raises(CalendarError, match="day goes with cron, which says at what time of that day"):
        spec({"every": "1h", "day": "last_day"}, "UTC")


# ---- in plain English


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"except_on": ["holidays:DE-BY"]}, "At 07:00 every day, Europe/Berlin time, except on holidays (DE-BY)"),
        (
            {**BAVARIA, "on_holiday": "after"},
            (
                "At 07:00 every day, Europe/Berlin time, only on business days, except on holidays (DE-BY), "
                "otherwise on the next allowed day"
            ),
        ),
        (
            {"except_on": ["sat-sun", "2026-12-24"], "on_holiday": "before"},
            (
                "At 07:00 every day, Europe/Berlin time, except on dates 2026-12-24 and Saturdays and Sundays, "
                "otherwise on the last allowed day before"
            ),
        ),
        ({"day": "last_business_day"}, "At 07:00 on the last business day of every month, Europe/Berlin time"),
        ({"day": "business_day#3"}, "At 07:00 on the 3rd business day of every month, Europe/Berlin time"),
        ({"day": "business_day#-12"}, "At 07:00 on the 12th last business day of every month, Europe/Berlin time"),
        ({"day": "last_day"}, "At 07:00 on the last day of every month, Europe/Berlin time"),
        (
            {"cron": "0 7 * jan *", "day": "first_business_day"},
            "At 07:00 on the first business day of January, Europe/Berlin time",
        ),
    ],
)
def test_in_plain_english(fields, words):
    assert describe(spec({"cron": "0 7 * * *", **fields}, BERLIN), BERLIN) == words
