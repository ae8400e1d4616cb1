"""What is wrong with a cron expression, in a sentence that names the field and what it allows."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * sun",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    special: str = r"(?!)"  # a pattern for what only this field allows
    example: str = ""  # and how that looks

    @property
    def allowed(self) -> str:
        names = f"{self.names[0]}-{self.names[-1]}" if self.names else ""
        return " or ".join(filter(None, ["*", f"{self.low}-{self.high}", names, self.example]))

    def number(self, text: str) -> int:
        """Turn a number or a name into a number within the range; raises ValueError."""
        if text in self.names:
            return self.names.index(text) + self.low
        if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
            raise ValueError(f'{self.name} "{text}" is not understood: it takes {self.allowed}')
        if not self.low <= int(text) <= self.high:
            raise ValueError(f"{self.name} {text} is outside {self.low}-{self.high}")
        return int(text)

    def check(self, text: str) -> None:
        """Raise ValueError unless `text` is a list of values, ranges and steps of this field."""
        for item in text.split(","):
            if not item:
                raise ValueError(f'{self.name} "{text}" has an empty item')
            if not re.fullmatch(self.special, item):
                self._check_item(item)

    def _check_item(self, item: str) -> None:
        span, slash, step = item.partition("/")
        if slash:
            self._check_step(item, step)
        if span == "*":
            return
        first, dash, last = span.partition("-")
        start = self.number(first)
        if dash and self.number(last) < start:
            rest = "" if last in ("0", "sun") else f",{1 if self.names else self.low}-{last}"
            raise ValueError(f'{self.name} "{span}" runs backwards: write {first}-{self.high}{rest}')

    def _check_step(self, item: str, step: str) -> None:
        if not re.fullmatch(r"0*[1-9]\d{0,8}", step, re.ASCII):
            raise ValueError(f'{self.name} "{item}" has no step: after the slash comes a number, 1 or more')
        if int(step) > self.high:
            raise ValueError(f"{self.name} step {step} is longer than the range {self.low}-{self.high}")


FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day-of-month", 1, 31, special="l|lw", example="L (the last)"),
    _Field("month", 1, 12, _MONTHS),
    _Field(
        "day-of-week", 0, 7, _WEEKDAYS, special=rf"[0-7]l|([0-7]|{'|'.join(_WEEKDAYS)})#[1-5]", example="5L or mon#2"
    ),
)


def check_fields(expression: str) -> None:
    """Raise ValueError unless each field, by itself, says something cron understands."""
    parts = expression.casefold().split()
    if parts and parts[0] in _MACROS:
        raise ValueError(f'{parts[0]} is not supported: write "{_MACROS[parts[0]]}"')
    if len(parts) not in (5, 6):
        raise ValueError(
            f'"{expression}" has {len(parts)} fields instead of 5 (minute hour day-of-month month day-of-week) '
            "or 6 (second first)"
        )
    for field, text in zip(FIELDS[-len(parts) :], parts, strict=True):
        field.check(text)


def why_never(expression: str) -> str:
    """Say why an expression of right fields can never fire: its months have no such day, or no date fits both."""
    day, month, weekday = expression.casefold().split()[-3:]
    months = sorted(_values(FIELDS[4], month))
    lengths = [29 if number == 2 else calendar.monthrange(2001, number)[1] for number in months]
    days = _values(FIELDS[3], day) if re.fullmatch(r"[\d,/-]+", day) else set()
    if days and min(days) > max(lengths):
        names = [calendar.month_name[number] for number in months]
        has = "have" if len(names) > 1 else "has"
        return f"{expression} can never fire: day-of-month is {min(days)}, and {' and '.join(names)} {has} no such day"
    return f"{expression} can never fire: no date is day {day} of month {month} and weekday {weekday}"


def _values(field: _Field, text: str) -> set[int]:
    found: set[int] = set()
    for item in text.split(","):
        span, _, step = item.partition("/")
        first, dash, last = ("1", "-", str(field.high)) if span == "*" else span.partition("-")
        end = field.number(last) if dash else field.high if step else field.number(first)
        found.update(range(field.number(first), end + 1, int(step or 1)))
    return found
