"""How a column is shown when nobody says how: its name, its format and its digits from the values alone."""

import math
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.columns import ShownColumn, coerced, humanised, shown_column
from pipeline.report import Column

AT = datetime(2026, 11, 16, 7, 30, tzinfo=UTC)


def column(*values, name="value", **described):
    """The column that a report shows for these values."""
    return shown_column(name, Column(**described), [{name: value} for value in values])


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("dep_delay", "Dep delay"),
        ("depDelay", "Dep delay"),
        ("IATA_code", "IATA code"),
        ("already nice", "Already nice"),
        ("_", "_"),
        ("ID", "ID"),
    ],
)
def test_a_column_without_a_label_is_called_by_its_name(name, label):
    assert humanised(name) == label


@pytest.mark.parametrize(
    ("values", "format", "digits"),
    [
        (["a", "b"], "text", 0),
        ([1, 2, None], "integer", 0),
        ([1.5, 2.25], "decimal", 2),
        ([1.0, 2.0], "decimal", 0),
        ([1.123456], "decimal", 2),
        ([0.01234, 0.05], "decimal", 4),
        ([1, 2.5], "decimal", 1),
        ([Decimal("1.10"), Decimal("2.00")], "decimal", 2),
        ([Decimal("1E+3")], "decimal", 0),
        ([True, False], "text", 0),
        ([date(2026, 1, 1)], "date", 0),
        ([AT], "datetime", 0),
        ([datetime(2026, 1, 1), datetime(2026, 1, 2)], "date", 0),  # noqa: DTZ001 - as a database gives days
        ([datetime(2026, 1, 1, 5)], "datetime", 0),  # noqa: DTZ001
        (["2026-01-01", "2026-12-31"], "date", 0),
        (["2026-01-01 10:00", "2026-01-01T10:00:00Z"], "datetime", 0),
        (["2026-01-01", "soon"], "text", 0),
        ([1, "one"], "text", 0),
        ([float("nan"), 1.5], "decimal", 1),
        ([None, None], "text", 0),
    ],
)
def test_the_values_decide_the_format(values, format, digits):  # noqa: A002 - the report's own word
    found = column(*values)
    assert (found.format, found.digits) == (format, digits)


@pytest.mark.parametrize("name", ["id", "customer_id", "year", "zip", "flight", "account_no"])
def test_whole_numbers_that_name_something_are_not_grouped(name):
    assert column(2013, 2014, name=name).format == "text"
    assert column(2013, 2014, name=name, format="integer").format == "integer"


@given(
    st.sampled_from(["text", "integer", "decimal", "percent", "date", "datetime"]),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.datetimes() | st.decimals(),
)
def test_no_value_is_too_strange_for_any_column(format, value):  # noqa: A002 - the report's own word
    found = coerced(ShownColumn("x", "X", format), value)
    assert not isinstance(found, float | Decimal) or math.isfinite(found)
