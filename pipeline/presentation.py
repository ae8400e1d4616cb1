"""How rows become columns, key figures and a chart: inferred from the values wherever the report does not say."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Literal, Protocol, TypeAlias

from pipeline.errors import PermanentError
from pipeline.mistakes import did_you_mean
from pipeline.report import Chart, Column, Report

Format: TypeAlias = Literal["text", "integer", "decimal", "percent", "date", "datetime"]
Total: TypeAlias = Literal["sum", "mean", "min", "max", "count"]
Number: TypeAlias = int | float | Decimal

# Values that decide a column's type; a query's columns are uniform, and a cell that is not is still shown as it is.
SAMPLE = 1_000
# Rows that a chart nobody asked for may have: fewer say nothing, more cannot be read.
CHARTED_ROWS = (2, 60)
# Points from which dates read better as a line than as bars.
LINE_FROM = 8

_NUMERIC = {"integer", "decimal", "percent"}
# Whole numbers that name something instead of counting it: never grouped (2,013), summed by default or charted.
_NAMES_SOMETHING = re.compile(
    r"(?:^|_)(id|no|nr|num|number|code|zip|postcode|phone|year|flight|tailnum|sku)$", re.IGNORECASE
)
_PART_OF_TIME = re.compile(r"(?:^|_)(year|quarter|month|week|day|weekday|hour|minute|second)$", re.IGNORECASE)
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_ISO_DATETIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")


class Row(Protocol):
    """One row of a dataset: its values by column name."""

    def __getitem__(self, name: str, /) -> Any: ...


@dataclass(frozen=True)
class ShownColumn:
    """A column as it is shown: everything a report may leave out is decided."""

    name: str
    label: str
    format: Format = "text"
    digits: int = 0
    unit: str = ""
    total: Total | None = None

    @property
    def numeric(self) -> bool:
        """Whether its values are numbers, which stand at the end of their cells."""
        return self.format in _NUMERIC


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
    return Figure(label, value, _column(label, column, [{label: value}]))


def humanised(name: str) -> str:
    """The label of a column that has none: `dep_delay` and `depDelay` become `Dep delay`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    words = " ".join(word if word.isupper() else word.lower() for word in re.split(r"[\s_]+", spaced) if word)
    return words[:1].upper() + words[1:] or name


def coerced(column: ShownColumn, value: Any) -> Any:
    """`value` as its column's format means it: ISO text as a date, digits in a text as a number.

    None, NaN and infinity become None; what cannot be meant is returned as it came, and shown so.
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, Decimal):
        return value if value.is_finite() else None
    if column.format == "date":
        return _as_date(value)
    if column.format == "datetime" and isinstance(value, str):
        return _parsed(datetime, value)
    if column.numeric and isinstance(value, str):
        return _as_number(value)
    return value


def _as_date(value: Any) -> Any:
    if isinstance(value, str):
        value = _parsed(datetime, value)
    # A date column of a database without dates: midnight stands for the day.
    if isinstance(value, datetime) and value.tzinfo is None and value.time() == time():
        return value.date()
    return value


def _parsed(kind: type[datetime], value: str) -> Any:
    try:
        return kind.fromisoformat(value.strip())
    except ValueError:
        return value


def _as_number(value: str) -> Any:
    try:
        number = Decimal(value.strip())
    except ArithmeticError:
        return value
    return number if number.is_finite() else None


def _columns(report: Report, rows: Sequence[Row], names: Sequence[str], *, hide_key: bool) -> tuple[ShownColumn, ...]:
    shown: Mapping[str, Column] = report.columns or {
        name: Column() for name in names if not (hide_key and name == report.split_by and len(names) > 1)
    }
    for name in shown:
        _require(name, names, "columns")
    return tuple(_column(name, column, rows) for name, column in shown.items())


def _column(name: str, column: Column, rows: Sequence[Row]) -> ShownColumn:
    sample = [value for row in rows[:SAMPLE] if (value := row[name]) is not None]
    kind = column.format or _format(name, sample)
    shown = ShownColumn(name, column.label or humanised(name), kind, 0, column.unit or "", column.total)
    if column.digits is not None:
        return replace(shown, digits=column.digits)
    return replace(shown, digits=_digits(shown, sample))


def _require(name: str, names: Sequence[str], field: str) -> None:
    if not names or name in names:
        return
    hint = did_you_mean(name, names, f"it gives {', '.join(names)}")
    raise PermanentError(f'report.{field}: the query gives no column "{name}": {hint}')


def _format(name: str, sample: Sequence[Any]) -> Format:
    """The format of a column by its values, all of which must agree; `sample` has no None."""
    kinds = {type(value) for value in sample}
    if kinds == {str}:
        return _format_of_text(sample)
    if kinds == {datetime}:
        return "date" if all(value.tzinfo is None and value.time() == time() for value in sample) else "datetime"
    if kinds and kinds <= {date, datetime}:
        return "date"
    if kinds == {int}:
        return "text" if _NAMES_SOMETHING.search(name) else "integer"
    return "decimal" if kinds and kinds <= {int, float, Decimal} else "text"


def _format_of_text(sample: Sequence[str]) -> Format:
    if all(_ISO_DATE.fullmatch(value) for value in sample):
        return "date"
    if all(_ISO_DATETIME.fullmatch(value) for value in sample):
        return "datetime"
    return "text"


def _digits(column: ShownColumn, sample: Iterable[Any]) -> int:
    """The fewest digits that show every value, at most 2 (4 where all values are small)."""
    if column.format == "percent":
        return 1
    if column.format != "decimal":
        return 0
    typed = [coerced(column, value) for value in sample]
    numbers = [float(value) for value in typed if isinstance(value, Number)]
    places = [-int(value.as_tuple().exponent) for value in typed if isinstance(value, Decimal)]
    if numbers and len(places) == len(numbers):
        return min(max(0, *places), 4)
    most = 4 if numbers and max(map(abs, numbers)) < 0.1 else 2
    return next((d for d in range(most) if all(round(value, d) == value for value in numbers)), most)


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
    x, *ys = (known.get(name) or _column(name, Column(), rows) for name in (chart.x, *chart.y))
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
    measures = [
        c for c in columns[1:] if c.numeric and not _NAMES_SOMETHING.search(c.name) and not _PART_OF_TIME.search(c.name)
    ]
    y = next((column for column in measures if column.total), measures[0] if measures else None)
    # A bar per customer number says nothing: the points must be names or times.
    named = all(isinstance(point, str | date) for point in points)
    if y is None or not named or len(set(points)) < len(points):
        return None
    line = x.format != "text" and len(points) >= LINE_FROM
    return Chart(kind="line" if line else "bar", x=x.name, y=[y.name], title=None, limit=most)
