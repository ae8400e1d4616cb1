"""Numbers, dates and periods as readers in several countries write them."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest
from babel.numbers import format_decimal
from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.documents.locales import localizer
from pipeline.columns import ShownColumn
from pipeline.errors import PermanentError
from pipeline.timing import Period

LOCALES = ["en", "de_DE", "fr_FR", "es", "pt_BR", "hi", "ar", "ja", "en_IN", "de_CH", "pl", "sv"]


def plain(text):
    """With ordinary spaces: CLDR uses four others."""
    return " ".join(text.split())


@given(st.decimals(-(10**9), 10**9, places=2), st.integers(0, 4), st.sampled_from(LOCALES))
def test_numbers_are_those_of_cldr(value, digits, locale):
    pattern = f"#,##0.{'0' * digits}".rstrip(".")
    ours, theirs = localizer(locale, "UTC").number(value, digits), format_decimal(value, pattern, locale=locale)
    if not round(value, digits):
        # Nobody wants to read "-0".
        ours, theirs = ours.lstrip("-"), theirs.lstrip("-")
    assert ours == theirs


@pytest.mark.parametrize(
    ("locale", "number", "share", "day", "moment"),
    [
        ("en", "1,234,567.9 min", "12.3%", "Nov 16, 2026", "Nov 16, 2026, 7:05 AM"),
        ("de_DE", "1.234.567,9 min", "12,3 %", "16.11.2026", "16.11.2026, 07:05"),
        ("fr_FR", "1 234 567,9 min", "12,3 %", "16 nov. 2026", "16 nov. 2026, 07:05"),
        ("ja", "1,234,567.9 min", "12.3%", "2026/11/16", "2026/11/16 7:05"),
    ],
)
def test_each_country_has_its_way(locale, number, share, day, moment):
    reader = localizer(locale, "Europe/Berlin")
    assert plain(reader.number(1234567.891, 1, "min")) == number
    assert plain(reader.percent(0.1234)) == share
    assert reader.date(date(2026, 11, 16)) == day
    assert plain(reader.datetime(datetime(2026, 11, 16, 6, 5, tzinfo=UTC))) == moment


def test_text_from_a_database_without_dates_is_read_as_dates():
    reader = localizer("en", "Europe/Berlin")
    assert reader.date("2026-11-16") == "Nov 16, 2026"
    assert plain(reader.datetime("2026-11-16T06:05:00+00:00")) == "Nov 16, 2026, 7:05 AM"
    assert reader.date("next week") == "next week"


def test_an_instant_shortly_before_midnight_is_the_next_day_further_east():
    assert localizer("en", "Asia/Tokyo").date(datetime(2026, 11, 16, 20, tzinfo=UTC)) == "Nov 17, 2026"


@pytest.mark.parametrize(
    ("label", "start", "end", "english", "german"),
    [
        ("2026-W47", "2026-11-16", "2026-11-23", "Nov 16 \u2013 22, 2026", "16.\u201322. Nov. 2026"),
        ("2026-11", "2026-11-01", "2026-12-01", "November 2026", "November 2026"),
        ("2026-Q3", "2026-07-01", "2026-10-01", "Q3 2026", "Q3 2026"),
        ("2026", "2026-01-01", "2027-01-01", "2026", "2026"),
        ("2026-11-16", "2026-11-16", "2026-11-17", "Monday, November 16, 2026", "Montag, 16. November 2026"),
    ],
)
def test_periods_are_named_as_people_name_them(label, start, end, english, german):
    days = [datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (start, end)]
    period = Period(*days, "UTC", label)
    assert plain(localizer("en", "UTC").period(period)) == english
    assert plain(localizer("de_DE", "UTC").period(period)) == german


def test_a_period_of_hours_has_both_ends_in_the_readers_zone():
    period = Period(
        datetime(2026, 11, 15, 6, tzinfo=UTC),
        datetime(2026, 11, 16, 6, tzinfo=UTC),
        "UTC",
        "2026-11-15T0600Z..2026-11-16T0600Z",
    )
    told = plain(localizer("en", "Europe/Berlin").period(period))
    assert told == "Nov 15, 2026, 7:00 AM \N{EN DASH} Nov 16, 2026, 7:00 AM"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\N{EN DASH}"),
        (0.1 + 0.2, "0.30"),
        (3.0, "3"),
        (1e300, "1e+300"),
        (timedelta(hours=1, seconds=2.5), "1:00:02"),
        (time(7, 30), "07:30"),
        ("plain", "plain"),
    ],
)
def test_any_value_has_a_text(value, text):
    assert localizer("en", "UTC").text(value) == text


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("decimal", float("nan"), "\N{EN DASH}"),
        ("integer", "12", "12"),
        ("integer", "a dozen", "a dozen"),
        ("percent", Decimal("0.5"), "50%"),
        ("date", datetime(2026, 1, 2, 0, 0), "Jan 2, 2026"),  # noqa: DTZ001 - as a database gives it
        ("date", "2026-01-02", "Jan 2, 2026"),
        ("text", 2013, "2013"),
        ("decimal", -0.001, "0"),
    ],
)
def test_a_cell_is_written_as_its_column_says_and_what_does_not_fit_as_it_is(kind, value, text):
    assert localizer("en", "UTC").cell(ShownColumn("x", "X", kind), value) == text


def test_an_unknown_locale_is_named():
    with pytest.raises(PermanentError, match='"xx_YY" is not a locale such as en, de_DE'):
        localizer("xx_YY", "UTC")
