"""How rows become a table, key figures and a chart: inferred from the values wherever the report does not say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Literal

from pipeline.columns import Format, Number, Row, ShownColumn, Total, coerced, shown_column
from pipeline.errors import PermanentError
from pipeline.mistakes import did_you_mean
from pipeline.report import Chart, Column, Report

# Rows that a chart nobody asked for may have: fewer say nothing, more cannot be read.
CHARTED_ROWS = (2, 60)
# Points from which dates read better as a line than as bars.
LINE_FROM = 8


@dataclass(frozen=True)
class Figure:
    """A key figure: `value` is shown as `column` says; `total` tells how it was made (None: not from a column)."""

    label: str
    value: Any
    column: ShownColumn
    total: Total | None = None


@dataclass(frozen=True)
class Series:
    """The values of one column in a chart, None where there is no number."""

    column: ShownColumn
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Plot:
    """What a chart draws: one label per point, one or more series over them; `left_out` points are not drawn.

    The title is empty where the report gives none.
    """

    kind: Literal["bar", "line"]
    title: str
    x: ShownColumn
    labels: tuple[Any, ...]
    series: tuple[Series, ...]
    left_out: int = 0


@dataclass(frozen=True)
class Table:
    """A report's rows as they are shown, values still typed; words and number formats are the renderers'."""

    columns: tuple[ShownColumn, ...]
    row_count: int
    totals: Mapping[str, Figure] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    plot: Plot | None = None


def present(report: Report, rows: Sequence[Row], names: Sequence[str], *, hide_key: bool = False) -> Table:
    """Decide how `rows` are shown; `names` are the dataset's columns in their order, also when there are no rows.

    With `hide_key` a column that the report is split by and does not list is left out: it says the same in every row.
    Raises PermanentError where the report shows, totals or charts a column that the rows do not have.
    """
    columns = _columns(report, rows, names, hide_key=hide_key)
    totals = {column.name: figure for column in columns if (figure := _total(column, rows))}
    # Where nothing else is told of the rows, how many they are is; beside real figures it would only be noise.
    counted = Figure("Rows", len(rows), ShownColumn("rows", "Rows", "integer"), "count")
    figures = tuple(totals.values()) or (counted,)
    return Table(columns, len(rows), totals, figures, _plot(report, rows, names, columns))


def figure(label: str, value: Any, kind: Format | None = None, digits: int | None = None, unit: str = "") -> Figure:
    """A key figure that is not a column's total; without a format its value decides."""
    column = Column(label=label, format=kind, digits=digits, unit=unit)
    return Figure(label, value, shown_column(label, column, [{label: value}]))


def _columns(report: Report, rows: Sequence[Row], names: Sequence[str], *, hide_key: bool) -> tuple[ShownColumn, ...]:
    shown: Mapping[str, Column] = report.columns or {
        name: Column() for name in names if not (hide_key and name == report.split_by and len(names) > 1)
    }
    for name in shown:
        _require(name, names, "columns")
    return tuple(shown_column(name, column, rows) for name, column in shown.items())


def _require(name: str, names: Sequence[str], field: str) -> None:
    if not names or name in names:
        return
    hint = did_you_mean(name, names, f"it gives {', '.join(names)}")
    raise PermanentError(f'report.{field}: the query gives no column "{name}": {hint}')


def _total(column: ShownColumn, rows: Sequence[Row]) -> Figure | None:
    """The total a column asks for over its values that are numbers (min and max: also dates)."""
    if column.total is None:
        return None
    values = [value for row in rows if (value := coerced(column, row[column.name])) is not None]
    if column.total == "count":
        return Figure(column.label, len(values), replace(column, format="integer", digits=0, unit=""), "count")
    if column.total in {"sum", "mean"}:
        values = [value for value in values if isinstance(value, Number)]
    if not values:
        return Figure(column.label, 0 if column.total == "sum" else None, column, column.total)
    if column.total == "mean" and column.format == "integer":
        column = replace(column, format="decimal", digits=1)
    return Figure(column.label, _totalled(column, values), column, column.total)


def _totalled(column: ShownColumn, values: list[Any]) -> Any:
    try:
        match column.total:
            case "min":
                return min(values)
            case "max":
                return max(values)
            case "mean":
                return _sum(values) / len(values)
            case _:
                return _sum(values)
    except TypeError as error:
        raise PermanentError(
            f"report.columns.{column.name}.total: {column.total} of values of different types: {error}"
        ) from error


def _sum(values: Sequence[Number]) -> Number:
    if any(isinstance(value, float) for value in values):
        return math.fsum(values)
    return sum(values)


def _plot(report: Report, rows: Sequence[Row], names: Sequence[str], columns: Sequence[ShownColumn]) -> Plot | None:
    chart = report.chart or _chart(rows, columns)
    if chart is None or not rows:
        return None
    for name in (chart.x, *chart.y):
        _require(name, names, "chart")
    known = {column.name: column for column in columns}
    x, *ys = (known.get(name) or shown_column(name, Column(), rows) for name in (chart.x, *chart.y))
    drawn = rows[: chart.limit]
    labels = tuple(coerced(x, row[x.name]) for row in drawn)
    series = tuple(Series(y, tuple(_point(coerced(y, row[y.name])) for row in drawn)) for y in ys)
    return Plot(chart.kind, chart.title or "", x, labels, series, len(rows) - len(drawn))


def _point(value: Any) -> float | None:
    return float(value) if isinstance(value, Number) and not isinstance(value, bool) else None


def _chart(rows: Sequence[Row], columns: Sequence[ShownColumn]) -> Chart | None:
    """The chart of a report that names none: its first measure over its first column, where that is one point a row."""
    fewest, most = CHARTED_ROWS
    if not columns or not fewest <= len(rows) <= most or columns[0].format not in {"text", "date", "datetime"}:
        return None
    x = columns[0]
    points = [row[x.name] for row in rows]
    measures = [column for column in columns[1:] if column.is_measure]
    y = next((column for column in measures if column.total), measures[0] if measures else None)
    # A bar per customer number says nothing: the points must be names or times.
    named = all(isinstance(point, str | date) for point in points)
    if y is None or not named or len(set(points)) < len(points):
        return None
    line = x.format != "text" and len(points) >= LINE_FROM
    return Chart(kind="line" if line else "bar", x=x.name, y=[y.name], title=None, limit=most)
