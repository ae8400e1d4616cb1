"""How rows are shown when nobody says how: names, types, totals and charts from the values alone."""

import math
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PermanentError
from pipeline.presentation import ShownColumn, coerced, humanised, present
from pipeline.report import Report

AT = datetime(2026, 11, 16, 7, 30, tzinfo=UTC)


def report(**changes):
    return Report.model_validate({"title": "Flights", "database": "warehouse", "sql": "select 1", **changes})


def shown(rows, **changes):
    return present(report(**changes), rows, tuple(rows[0]) if rows else ())


def column(*values, name="value", **described):
    """The column that a report shows for these values."""
    return shown([{name: value} for value in values], **({"columns": {name: described}} if described else {})).columns[
        0
    ]


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


def test_a_report_decides_order_labels_formats_and_digits():
    table = shown(
        [{"a": 1, "b": 0.5, "c": "x"}],
        columns={"b": {"label": "Share", "format": "percent", "digits": 2}, "a": "First"},
    )
    assert [(c.name, c.label, c.format, c.digits) for c in table.columns] == [
        ("b", "Share", "percent", 2),
        ("a", "First", "integer", 0),
    ]


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(
        PermanentError, match=r'report.columns: the query gives no column "flihgts": did you mean flights\?'
    ):
        shown([{"flights": 1}], columns={"flihgts": "F"})
    with pytest.raises(PermanentError, match=r'report.chart: the query gives no column "z": it gives x, y'):
        shown([{"x": "a", "y": 1}], chart={"x": "x", "y": "z"})


def test_without_rows_the_columns_are_still_known():
    table = present(report(), [], ("day", "flights"))
    assert [c.label for c in table.columns] == ["Day", "Flights"]
    assert (table.row_count, table.plot, table.figures[0].value) == (0, None, 0)


ROWS = [
    {"day": "Mon", "flights": 10, "delay": 1.5, "price": Decimal("1.10"), "seen": date(2026, 1, 2)},
    {"day": "Tue", "flights": None, "delay": float("nan"), "price": Decimal("2.20"), "seen": date(2026, 1, 1)},
    {"day": "Wed", "flights": 30, "delay": 2.5, "price": None, "seen": None},
]


@pytest.mark.parametrize(
    ("name", "total", "value"),
    [
        ("flights", "sum", 40),
        ("flights", "mean", 20),
        ("flights", "min", 10),
        ("flights", "max", 30),
        ("flights", "count", 2),
        ("delay", "mean", 2.0),
        ("delay", "count", 2),
        ("price", "sum", Decimal("3.30")),
        ("seen", "min", date(2026, 1, 1)),
        ("seen", "count", 2),
        ("day", "sum", 0),
        ("day", "max", "Wed"),
    ],
)
def test_totals_leave_out_what_is_missing(name, total, value):
    table = shown(ROWS, columns={name: {"total": total}})
    assert table.totals[name].value == value
    assert [figure.total for figure in table.figures] == [total]


def test_totals_of_nothing():
    table = shown([{"flights": None}], columns={"flights": {"total": "mean", "format": "integer"}})
    assert table.totals["flights"].value is None


def test_a_mean_of_whole_numbers_has_a_digit_and_a_count_no_unit():
    mean = shown(ROWS, columns={"flights": {"total": "mean"}}).totals["flights"].column
    assert (mean.format, mean.digits) == ("decimal", 1)
    assert shown(ROWS, columns={"delay": {"total": "count", "unit": "min"}}).totals["delay"].column.unit == ""


def test_values_that_cannot_be_compared_are_told_so():
    with pytest.raises(PermanentError, match=r"report.columns.x.total: max of values of different types"):
        shown([{"x": 1}, {"x": "one"}], columns={"x": {"total": "max"}})


def test_the_first_measure_over_the_first_column_is_the_chart_nobody_asked_for():
    plot = shown(
        [
            {"airport": "JFK", "id": 7, "year": 2013, "flights": 1},
            {"airport": "LGA", "id": 8, "year": 2013, "flights": 2},
        ]
    ).plot
    assert (plot.kind, plot.x.name, plot.labels) == ("bar", "airport", ("JFK", "LGA"))
    assert [(one.column.name, one.values) for one in plot.series] == [("flights", (1.0, 2.0))]


def test_a_measure_with_a_total_is_preferred():
    rows = [{"a": "x", "b": 1, "c": 2}, {"a": "y", "b": 1, "c": 2}]
    assert shown(rows, columns={"a": {}, "b": {}, "c": {"total": "sum"}}).plot.series[0].column.name == "c"


def test_dates_become_a_line_when_there_are_enough_of_them():
    days = [{"day": date(2026, 1, day), "flights": day} for day in range(1, 9)]
    assert shown(days).plot.kind == "line"
    assert shown(days[:7]).plot.kind == "bar"


@pytest.mark.parametrize(
    "rows",
    [
        [{"a": "x", "b": 1}],  # one point
        [{"a": str(n), "b": n} for n in range(61)],  # too many
        [{"a": "x", "b": 1}, {"a": "x", "b": 2}],  # not one row a point
        [{"a": "x", "b": "1"}, {"a": "y", "b": "2"}],  # no numbers
        [{"a": None, "b": 1}, {"a": "y", "b": 2}],  # a point without a name
        [{"customer_id": 1, "b": 1}, {"customer_id": 2, "b": 2}],  # numbers for names
        [{"a": 1.5, "b": 1}, {"a": 2.5, "b": 2}],  # numbers over numbers
        [{"a": "x", "month": 1}, {"a": "y", "month": 2}],  # no measure
    ],
)
def test_rows_that_do_not_suit_a_chart_have_none(rows):
    assert shown(rows).plot is None


def test_a_chart_that_is_asked_for_is_drawn_whatever_the_rows():
    rows = [{"n": n, "a": n, "b": "x"} for n in range(50)]
    plot = shown(rows, chart={"kind": "line", "x": "n", "y": ["a", "b"], "limit": 30, "title": "Both"}).plot
    assert (plot.kind, plot.title, len(plot.labels), plot.left_out) == ("line", "Both", 30, 20)
    assert plot.series[1].values == (None,) * 30


def test_a_chart_may_draw_columns_that_the_table_does_not_show():
    plot = shown([{"a": "x", "b": 1}, {"a": "y", "b": 2}], columns={"a": {}}, chart={"x": "a", "y": "b"}).plot
    assert plot.series[0].values == (1.0, 2.0)


def test_the_key_is_not_a_column_of_its_own_document():
    rows = [{"carrier": "UA", "flights": 1}]
    split = report(split_by="carrier")
    assert [c.name for c in present(split, rows, ("carrier", "flights"), hide_key=True).columns] == ["flights"]
    assert [c.name for c in present(split, rows, ("carrier", "flights")).columns] == ["carrier", "flights"]
    listed = report(split_by="carrier", columns={"carrier": {}})
    assert [c.name for c in present(listed, rows, ("carrier", "flights"), hide_key=True).columns] == ["carrier"]


@given(
    st.sampled_from(["text", "integer", "decimal", "percent", "date", "datetime"]),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.datetimes() | st.decimals(),
)
def test_no_value_is_too_strange_for_any_column(format, value):  # noqa: A002 - the report's own word
    found = coerced(ShownColumn("x", "X", format), value)
    assert not isinstance(found, float | Decimal) or math.isfinite(found)
