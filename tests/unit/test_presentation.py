"""How rows are shown when nobody says how: which columns, totals and charts, from the values alone."""

from datetime import date
from decimal import Decimal

import pytest

from pipeline.errors import PermanentError
from pipeline.presentation import present
from pipeline.report import Report


def report(**changes):
    return Report.model_validate({"title": "Flights", "database": "warehouse", "sql": "select 1", **changes})


def shown(rows, **changes):
    return present(report(**changes), rows, tuple(rows[0]) if rows else ())


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
