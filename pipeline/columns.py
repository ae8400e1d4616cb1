"""How one column is shown: inferred from its values wherever the report does not say; and what its values mean."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Literal, Protocol, TypeAlias

from pipeline.report import Column

Format: TypeAlias = Literal["text", "integer", "decimal", "percent", "date", "datetime"]
Total: TypeAlias = Literal["sum", "mean", "min", "max", "count"]
Number: TypeAlias = int | float | Decimal

# Values that decide a column's type; a query's columns are uniform, and a cell that is not is still shown as it is.
SAMPLE = 1_000

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

    @property
    def is_measure(self) -> bool:
        """Whether its numbers count or measure something, and do not name it, or a part of time."""
        return self.numeric and not _NAMES_SOMETHING.search(self.name) and not _PART_OF_TIME.search(self.name)


def shown_column(name: str, column: Column, rows: Sequence[Row]) -> ShownColumn:
    """The column as a report describes it; what it leaves out is decided by the values in `rows`."""
    sample = [value for row in rows[:SAMPLE] if (value := row[name]) is not None]
    kind = column.format or _format(name, sample)
    shown = ShownColumn(name, column.label or humanised(name), kind, 0, column.unit or "", column.total)
    if column.digits is not None:
        return replace(shown, digits=column.digits)
    return replace(shown, digits=_digits(shown, sample))


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
