import json
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.timing import Period, period, validate_period_spec

BERLIN = "Europe/Berlin"
WORDS = [
    *("today", "yesterday", "this_week", "last_week", "this_month", "last_month", "this_quarter", "last_quarter"),
    *("this_year", "last_year", "last_7_days", "last_1_day", "last_24_hours", "last_1_hour"),
]


def utc(written):
    return datetime.fromisoformat(written).replace(tzinfo=UTC)


def dashed(title):
    return title.replace("-", "\N{EN DASH}")


MONDAY_MORNING = utc("2026-11-16T06:00")  # 07:00 in Berlin


@pytest.mark.parametrize(
    ("spec", "first", "last", "label", "title"),
    [
        ("today", "2026-11-16", "2026-11-16", "2026-11-16", "16 Nov 2026"),
        ("yesterday", "2026-11-15", "2026-11-15", "2026-11-15", "15 Nov 2026"),
        ("this_week", "2026-11-16", "2026-11-22", "2026-W47", "16-22 Nov 2026"),
        ("last_week", "2026-11-09", "2026-11-15", "2026-W46", "9-15 Nov 2026"),
        ("this_month", "2026-11-01", "2026-11-30", "2026-11", "November 2026"),
        ("last_month", "2026-10-01", "2026-10-31", "2026-10", "October 2026"),
        ("this_quarter", "2026-10-01", "2026-12-31", "2026-Q4", "Q4 2026"),
        ("last_quarter", "2026-07-01", "2026-09-30", "2026-Q3", "Q3 2026"),
        ("this_year", "2026-01-01", "2026-12-31", "2026", "2026"),
        ("last_year", "2025-01-01", "2025-12-31", "2025", "2025"),
        ("last_7_days", "2026-11-09", "2026-11-15", "2026-11-09..2026-11-16", "9-15 Nov 2026"),
        ("last_1_day", "2026-11-15", "2026-11-15", "2026-11-15..2026-11-16", "15 Nov 2026"),
        ("last_30_days", "2026-10-17", "2026-11-15", "2026-10-17..2026-11-16", "17 Oct - 15 Nov 2026"),
        ("2026", "2026-01-01", "2026-12-31", "2026", "2026"),
        ("2026-Q3", "2026-07-01", "2026-09-30", "2026-Q3", "Q3 2026"),
        ("2026-q1", "2026-01-01", "2026-03-31", "2026-Q1", "Q1 2026"),
        ("2024-02", "2024-02-01", "2024-02-29", "2024-02", "February 2024"),
        ("2026-12", "2026-12-01", "2026-12-31", "2026-12", "December 2026"),
        ("2026-W47", "2026-11-16", "2026-11-22", "2026-W47", "16-22 Nov 2026"),
        ("2026-W53", "2026-12-28", "2027-01-03", "2026-W53", "28 Dec 2026 - 3 Jan 2027"),
        ("2026-11-16", "2026-11-16", "2026-11-16", "2026-11-16", "16 Nov 2026"),
        (" 2026-07-01..2026-10-01 ", "2026-07-01", "2026-09-30", "2026-07-01..2026-10-01", "1 Jul - 30 Sep 2026"),
    ],
)
def test_words_and_what_is_written_out(spec, first, last, label, title):
    found = period(spec, MONDAY_MORNING, BERLIN)
    assert (found.first_day.isoformat(), found.last_day.isoformat()) == (first, last)
    assert (found.label, found.title) == (label, dashed(title))
    assert f"{found.local_start:%H:%M} {found.local_end:%H:%M}" == "00:00 00:00"
    assert len(list(found.days())) == (found.last_day - found.first_day).days + 1


def test_hours_end_at_the_last_full_one_of_the_zone():
    berlin = period("last_24_hours", utc("2026-11-16T06:42:17.5"), BERLIN)
    assert (berlin.start, berlin.end) == (utc("2026-11-15T06:00"), utc("2026-11-16T06:00"))
    assert berlin.label == "2026-11-15T0600Z..2026-11-16T0600Z"
    assert berlin.title == dashed("15 Nov 2026 07:00 - 16 Nov 2026 07:00")
    assert list(berlin.days()) == [date(2026, 11, 15), date(2026, 11, 16)]
    kolkata = period("last_2_hours", utc("2026-11-16T06:42"), "Asia/Kolkata")  # 12:12 there
    assert (kolkata.start, kolkata.end) == (utc("2026-11-16T04:30"), utc("2026-11-16T06:30"))


def test_the_hour_that_comes_twice_is_two_periods_with_two_names():
    first = period("last_1_hour", utc("2026-11-01T06:05"), "America/New_York")
    second = period("last_1_hour", utc("2026-11-01T07:05"), "America/New_York")
    assert first.end == second.start == utc("2026-11-01T06:00")
    assert first.label != second.label


def test_an_hour_that_begins_in_a_gap_ends_where_the_gap_does():
    # 02:45 on Lord Howe Island; 02:00 to 02:30 was jumped over.
    found = period("last_1_hour", utc("2026-10-03T15:45"), "Australia/Lord_Howe")
    assert found.end == utc("2026-10-03T15:30")


@pytest.mark.parametrize(
    ("zone", "day", "start", "hours"),
    [
        ("America/New_York", "2026-03-08", "2026-03-08T05:00", 23),
        ("America/New_York", "2026-11-01", "2026-11-01T04:00", 25),
        (BERLIN, "2026-03-29", "2026-03-28T23:00", 23),
        (BERLIN, "2026-10-25", "2026-10-24T22:00", 25),
        ("Australia/Lord_Howe", "2026-10-04", "2026-10-03T13:30", 23.5),
        # Midnight does not exist, and it comes twice.
        ("America/Santiago", "2026-09-06", "2026-09-06T04:00", 23),
        ("America/Havana", "2026-11-01", "2026-11-01T04:00", 25),
        ("Pacific/Apia", "2011-12-29", "2011-12-29T10:00", 24),
    ],
)
def test_days_are_as_long_as_the_zone_makes_them(zone, day, start, hours):
    found = period(day, MONDAY_MORNING, zone)
    assert (found.start, found.end - found.start) == (utc(start), timedelta(hours=hours))
    assert list(found.days()) == [date.fromisoformat(day)]


def test_a_day_that_a_zone_left_out():
    new_years_eve = utc("2011-12-30T17:00")  # 07:00 on the 31st in Apia
    assert period("yesterday", new_years_eve, "Pacific/Apia").label == "2011-12-29"
    assert period("last_2_days", new_years_eve, "Pacific/Apia").first_day == date(2011, 12, 28)
    assert date(2011, 12, 30) not in list(period("2011-12", new_years_eve, "Pacific/Apia").days())
    with pytest.raises(ValueError, match='period "2011-12-30" is empty in Pacific/Apia'):
        period("2011-12-30", new_years_eve, "Pacific/Apia")


def test_a_retry_after_midnight_reports_on_the_same_day():
    due = utc("2026-11-15T22:59")  # 23:59 in Berlin; the retry runs two minutes later
    assert period("today", due, BERLIN).label == "2026-11-15"
    assert period("today", due + timedelta(minutes=2), BERLIN).label == "2026-11-16"
    assert period("today", due, "Asia/Tokyo").label == "2026-11-16"


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("lastweek", 'period "lastweek" is not known: did you mean last_week?'),
        ("Yesterday", "did you mean yesterday?"),
        ("last_0_days", "is not known"),
        ("last_99999_days", "is not known"),
        ("", "Allowed: today, yesterday, this_week,"),
        ("2026-Q5", "2026-Q3, 2026-11, 2026-W47, 2026-11-16, 2026-07-01..2026-10-01"),
        ("2026..2027", "is not known"),
        ("2026-07-01..", "is not known"),
        ("2026-07-01T0000Z..2026-13-01T0000Z", "is not known"),
        ("2026-13", 'period "2026-13" does not exist'),
        ("2026-W54", 'period "2026-W54" does not exist'),
        ("2026-02-30", 'period "2026-02-30" does not exist'),
        ("2026-02-01..2026-02-30", 'period "2026-02-30" does not exist'),
        ("2026-10-01..2026-07-01", "is empty in UTC: it has to end after it starts"),
        ("9999", 'period "9999" is outside of the calendar'),
    ],
)
def test_what_is_not_a_period_is_refused_with_what_is_allowed(spec, sentence):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the sentence is compared below
        validate_period_spec(spec)
    assert sentence in str(refused.value)


def test_an_unknown_zone_and_a_naive_instant_are_refused():
    with pytest.raises(ValueError, match="did you mean Europe/Berlin"):
        period("today", MONDAY_MORNING, "Europe/Berlim")
    with pytest.raises(ValueError, match="no time zone"):
        period("today", MONDAY_MORNING.replace(tzinfo=None), BERLIN)


INSTANTS = st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
ZONES = st.sampled_from(
    [BERLIN, "UTC", "America/New_York", "America/Santiago", "America/Havana", "Australia/Lord_Howe", "Pacific/Apia"]
)


@given(st.sampled_from(WORDS), INSTANTS, ZONES)
def test_a_label_names_the_same_period_and_is_safe_as_a_folder(spec, at, zone):
    validate_period_spec(spec)
    found = period(spec, at, zone)
    assert period(found.label, MONDAY_MORNING, zone) == found
    assert not set(found.label) & set('/\\:*?"<>| ')
    assert Period.from_json(json.loads(json.dumps(found.to_json()))) == found
    days = list(found.days())
    assert (days[0], days[-1]) == (found.first_day, found.last_day)
    assert found.title


@given(st.sampled_from(["week", "month", "quarter", "year"]), INSTANTS, ZONES)
def test_this_one_begins_where_the_last_one_ends(unit, at, zone):
    last, this = period(f"last_{unit}", at, zone), period(f"this_{unit}", at, zone)
    assert last.end == this.start <= at < this.end


@given(INSTANTS, ZONES)
def test_days_follow_each_other_without_a_gap(at, zone):
    month = period("this_month", at, zone)
    days = [period(day.isoformat(), at, zone) for day in month.days()]
    assert (days[0].start, days[-1].end) == (month.start, month.end)
    assert all(one.end == after.start for one, after in pairwise(days))
