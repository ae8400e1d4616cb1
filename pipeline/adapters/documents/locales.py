"""Numbers, dates and the templates' own words in a reader's language and time zone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from functools import cached_property, lru_cache
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_interval, format_skeleton, format_time
from babel.numbers import format_decimal

from pipeline.columns import Number, ShownColumn, coerced
from pipeline.errors import PermanentError
from pipeline.timing import Period

# `date` is also what a Localizer does.
Day: TypeAlias = date

MISSING = "\N{EN DASH}"
_NO_BREAK = "\N{NO-BREAK SPACE}"
_RIGHT_TO_LEFT = {"ar", "dv", "fa", "he", "ku", "ps", "sd", "ug", "ur", "yi"}


class Localizer:
    """Writes values for one locale and time zone; aware datetimes are shown in the zone, naive ones as they are."""

    def __init__(self, locale: str, zone: str) -> None:
        """Raise PermanentError for a locale that CLDR does not know."""
        try:
            self.locale = Locale.parse(locale.replace("-", "_"))
        except (ValueError, UnknownLocaleError):
            raise PermanentError(f'"{locale}" is not a locale such as en, de_DE or pt_BR') from None
        self.zone = ZoneInfo(zone)
        self.dated = lru_cache(maxsize=4_096)(self._dated)
        # Every message names it.
        self.period = lru_cache(maxsize=64)(self._period)
        self.patterns = [f"#,##0.{'0' * digits}".rstrip(".") for digits in range(10)]

    @cached_property
    def language(self) -> str:
        """The language tag (BCP 47) of `lang` attributes and PDF files."""
        return str(self.locale).replace("_", "-")

    @property
    def direction(self) -> str:
        return "rtl" if self.locale.language in _RIGHT_TO_LEFT else "ltr"

    @cached_property
    def _marks(self) -> dict[int, str] | None:
        """Python's `1,234.5` to the locale's marks; None where grouping or digits differ (hi, ar): Babel does those.

        It is 8 times faster than Babel, which is felt in a table of 20,000 numbers.
        """
        symbols = self.locale.number_symbols.get("latn", {})
        plain = self.locale.default_numbering_system == "latn" and self.locale.decimal_formats[None].grouping == (3, 3)
        if not plain or not {"group", "decimal"} <= symbols.keys():
            return None
        return {ord(","): symbols["group"], ord("."): symbols["decimal"]}

    def number(self, value: Any, digits: int = 0, unit: str = "") -> str:
        """`value` grouped and rounded to `digits`; a dash for None, other values as text."""
        if value is None:
            return MISSING
        if not isinstance(value, Number) or isinstance(value, bool):
            return self.text(value)
        marks = self._marks
        if marks is not None:
            written = f"{value:,.{digits}f}"
            # Rounding leaves a "-0" that means nothing to a reader.
            written = (written[1:] if written[0] == "-" and not written.strip("-0.,") else written).translate(marks)
        else:
            written = format_decimal(value, self.patterns[digits], locale=self.locale)
        return f"{written}{_NO_BREAK}{unit}" if unit else written

    def percent(self, value: Any, digits: int = 1) -> str:
        """A share such as 0.123 as 12.3 %."""
        if not isinstance(value, Number) or isinstance(value, bool):
            return self.text(value)
        pattern = self.locale.percent_formats[None].pattern.partition(";")[0]
        return re.sub("[#0,.]+", self.number(value * 100, digits).replace("\\", ""), pattern, count=1)

    def date(self, value: Any, style: str = "medium") -> str:
        """A date, a datetime's local date, or ISO text, in the locale's `short`, `medium`, `long` or `full` form."""
        value = self._local(_read(value))
        return self.dated(value, style) if isinstance(value, date) else self.text(value)

    def datetime(self, value: Any, style: str = "medium") -> str:
        """A date and time to the minute, in the document's zone."""
        value = self._local(_read(value))
        if not isinstance(value, datetime):
            return self.date(value, style)
        joined = str(self.locale.datetime_formats["medium"]).replace("'", "")
        written = format_time(value, "short", locale=self.locale)
        return joined.replace("{1}", self.dated(value.date(), style)).replace("{0}", written)

    def text(self, value: Any) -> str:
        """Any value as text: a dash for None, no float's noise, times without microseconds."""
        if value is None:
            return MISSING
        if isinstance(value, float):
            return self.number(value, 0 if value == int(value) else 2) if abs(value) < 1e15 else repr(value)
        if isinstance(value, datetime):
            return self.datetime(value)
        if isinstance(value, date):
            return self.date(value)
        if isinstance(value, timedelta):
            return str(timedelta(seconds=round(value.total_seconds())))
        return f"{value:%H:%M}" if isinstance(value, time) else str(value)

    def cell(self, column: ShownColumn, value: Any) -> str:
        """`value` as its column says."""
        value = coerced(column, value)
        if value is None:
            return MISSING
        match column.format:
            case "integer" | "decimal":
                return self.number(value, column.digits, column.unit)
            case "percent":
                return self.percent(value, column.digits)
            case "date":
                return self.date(value)
            case "datetime":
                return self.datetime(value)
            case _:
                return f"{self.text(value)}{_NO_BREAK}{column.unit}" if column.unit else self.text(value)

    def axis(self, column: ShownColumn, values: Sequence[Any]) -> list[str]:
        """Short labels of a chart's points: dates without the year they share, the rest as in cells."""
        days = [self._local(_read(value)) for value in values] if column.format in {"date", "datetime"} else []
        if not days or not all(isinstance(day, date) for day in days):
            return [self.cell(column, value) for value in values]
        if all(day.day == 1 for day in days) and len(days) > 1:
            skeleton = "yMMM"
        else:
            skeleton = "MMMd" if len({day.year for day in days}) == 1 else "yMMMd"
        if column.format == "date":
            return [str(format_skeleton(skeleton, day, locale=self.locale)) for day in days]
        moments = [f"{day:%H:%M}" if isinstance(day, datetime) else "" for day in days]
        if len({(day.year, day.month, day.day) for day in days}) == 1:
            return moments
        return [
            f"{format_skeleton('MMMd', day, locale=self.locale)} {at}" for day, at in zip(days, moments, strict=True)
        ]

    def _period(self, period: Period) -> str:
        """What a run reports on, for people: `November 2026`, `16.-22. Nov. 2026` (with a dash), `Q3 2026`."""
        if re.fullmatch(r"\d{4}", period.label):
            return period.label
        if re.fullmatch(r"\d{4}-Q\d", period.label):
            return format_skeleton("yQQQ", period.local_start, locale=self.locale, tzinfo=ZoneInfo(period.zone))
        if re.fullmatch(r"\d{4}-\d\d", period.label):
            return format_skeleton("yMMMM", period.first_day, locale=self.locale)
        if "T" in period.label:
            return f"{self.datetime(period.local_start)} {MISSING} {self.datetime(period.local_end)}"
        if period.first_day == period.last_day:
            return self.date(period.first_day, "full")
        return str(format_interval(period.first_day, period.last_day, "yMMMd", locale=self.locale))

    def _local(self, value: Any) -> Any:
        return value.astimezone(self.zone) if isinstance(value, datetime) and value.tzinfo else value

    def _dated(self, value: Day, style: str) -> str:
        return format_date(value, style, locale=self.locale)


def _read(value: Any) -> Any:
    if isinstance(value, str):
        with suppress(ValueError):
            return datetime.fromisoformat(value) if len(value) > 10 else date.fromisoformat(value)
    return value


@lru_cache(maxsize=64)
def localizer(locale: str, zone: str) -> Localizer:
    """The writer for a locale and an IANA zone, made once per process. Raises PermanentError for an unknown locale."""
    return Localizer(locale, zone)
