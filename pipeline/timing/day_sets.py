"""Kinds of days that a calendar allows or excludes: weekdays, dates, holidays, business days."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

from pipeline.timing.public_holidays import Holidays

# Not calendar.day_name: a library may set another locale for the whole process.
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_WEEKEND = (5, 6)


class DaySet(Protocol):
    """Some days. `label` names them all, `name` one of them: what it is said to be."""

    @property
    def label(self) -> str: ...

    def name(self, day: date) -> str | None:
        """What the day is, to be read after "is": `a Sunday`; None if it does not belong here."""
        ...


@dataclass(frozen=True, slots=True)
class Weekdays:
    """Days of the week, Monday being 0."""

    numbers: frozenset[int]

    @classmethod
    def parse(cls, written: str) -> Weekdays | None:
        """Read `sat`, `saturday` or `mon-fri`, also across the week's end; None for what is neither."""
        first, dash, last = written.casefold().partition("-")
        start, end = _weekday(first), _weekday(last if dash else first)
        if start is None or end is None:
            return None
        return cls(frozenset((start + step) % 7 for step in range((end - start) % 7 + 1)))

    @property
    def label(self) -> str:
        return " and ".join(f"{WEEKDAYS[number]}s" for number in sorted(self.numbers))

    def name(self, day: date) -> str | None:
        return f"a {WEEKDAYS[day.weekday()]}" if day.weekday() in self.numbers else None


@dataclass(frozen=True, slots=True)
class Dates:
    """Dates of a list: a team's own `file`, or one written into the schedule, without a file."""

    text: str
    file: str | None = None
    names: Mapping[date, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Read the text: an ISO date a line, what it is behind it or behind a `#`. Raises ValueError with the line."""
        found: dict[date, str] = {}
        for number, line in enumerate(self.text.removeprefix("\ufeff").splitlines(), start=1):
            written, _, name = line.strip().partition("#")
            first, _, rest = written.strip().partition(" ")
            if first:
                found[self._date(first, number)] = rest.strip() or name.strip()
        object.__setattr__(self, "names", found)

    def _date(self, written: str, number: int) -> date:
        try:
            if re.fullmatch(r"\d{4}-\d\d-\d\d", written, re.ASCII):
                return date.fromisoformat(written)
            wrong = "is not a date: write it like 2026-12-24"
        except ValueError as error:
            wrong = f"does not exist: {error}"
        place = f'"{self.file}" line {number}: ' if self.file else ""
        raise ValueError(f'{place}"{written}" {wrong}')

    @property
    def label(self) -> str:
        return f"days in {self.file}" if self.file else f"dates {', '.join(self.text.split())}"

    def name(self, day: date) -> str | None:
        if day not in self.names:
            return None
        if self.file is None:
            return "one of the dates given"
        name = self.names[day]
        return f"{name} ({self.file})" if name else f"in {self.file}"


@dataclass(frozen=True, slots=True)
class BusinessDays:
    """The days on which work is done: Monday to Friday, none of the `excepted`.

    Where holidays of regions are among those, the regions' own weekends count in place of Saturday and Sunday.
    """

    excepted: tuple[DaySet, ...] = ()
    label: str = "business days"

    def name(self, day: date) -> str | None:
        if any(days.name(day) for days in self.excepted):
            return None
        regions = [days for days in self.excepted if isinstance(days, Holidays)]
        works = all(region.works(day) for region in regions) if regions else day.weekday() not in _WEEKEND
        return "a business day" if works else None


def _weekday(written: str) -> int | None:
    """The number of a weekday from its name, or the three letters and more that it begins with."""
    if len(written) < 3:
        return None
    return next((number for number, name in enumerate(WEEKDAYS) if name.casefold().startswith(written)), None)
