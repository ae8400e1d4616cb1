"""Which values a query or an address may name, and what they are for a period."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from pipeline.errors import PermanentError
from pipeline.mistakes import did_you_mean
from pipeline.report import Source
from pipeline.timing import Period, find_zone

# The period's own values; a report's parameter cannot have one of these names.
PERIOD_VALUES = ("start", "end", "start_date", "end_date")

# Text, quoted names and comments, in which a colon is a colon: as psql sees it.
_QUOTED = r"""
    [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | `[^`]*` |
    --[^\n]* | /\*.*?\*/ | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$
"""
_NAMED = r"(?<![:\w\\]):(?P<name>[A-Za-z_]\w*)"
_SQL = re.compile(rf"(?P<quoted>{_QUOTED})|{_NAMED}(?P<cast>::)?", re.VERBOSE | re.DOTALL)
_PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Statement:
    """A query as SQLAlchemy's text() takes it, and the names it binds.

    `:name` is a parameter except in quotes and comments, where text() would see one too; `:start::date` is one with a
    cast, where text() would not. Line breaks stay where they are, so that a server's position can be found again.
    """

    text: str
    names: frozenset[str]

    @classmethod
    def parse(cls, sql: str) -> Statement:
        names: set[str] = set()

        def place(found: re.Match[str]) -> str:
            if found["quoted"]:
                return re.sub(r"(?<![:\w\\]):(?=\w+(?![:\w]))", r"\\:", found["quoted"])
            names.add(found["name"])
            return f"(:{found['name']})::" if found["cast"] else found[0]

        text = _SQL.sub(place, sql).rstrip().rstrip(";")
        return cls(text, frozenset(names))


def without_text(sql: str) -> str:
    """Give the query without quoted text and comments; quoted names stay."""
    return _SQL.sub(lambda found: found[0] if not found["quoted"] or found[0][0] in '"`' else " ", sql)


def names_in(source: Source) -> frozenset[str]:
    """Give the names that the source's query or address asks for: `:name` in SQL, `{name}` in an address."""
    if source.sql:
        return Statement.parse(source.sql).names
    return frozenset(_PLACE.findall(source.url or ""))


def check_names(source: Source, *, name: str, parameters: Iterable[str]) -> None:
    """Check that all the source asks for exists, without running it; `name` is the source's, for the error.

    Raises PermanentError naming what does not exist and what does.
    """
    known = [*PERIOD_VALUES, *parameters]
    taken = sorted(set(PERIOD_VALUES) & set(parameters))
    if taken:
        raise PermanentError(f'source "{name}": {taken[0]} is the period\'s: give the parameter another name')
    for unknown in sorted(names_in(source) - set(known)):
        hint = did_you_mean(unknown, known, lead="; ")
        shown = f":{unknown}" if source.sql else f"{{{unknown}}}"
        raise PermanentError(f'source "{name}": {shown} is not known: there are {", ".join(known)}{hint}')


def values_of(source: Source, period: Period, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Give the values that `source` asks for.

    `start` and `end` (the period's half-open interval) are, by `source.time`: `utc` aware instants, `naive_utc` and
    `naive_local` datetimes without a zone, `date` local dates. `start_date` and `end_date` are always local dates;
    `end_date` is the first day after a period of whole days.
    """
    start, end = (as_bound(source, at, period.zone) for at in (period.start, period.end))
    days = {"start_date": period.local_start.date(), "end_date": period.local_end.date()}
    values = {"start": start, "end": end, **days, **parameters}
    return {name: values[name] for name in sorted(names_in(source))}


def as_bound(source: Source, at: datetime, zone: str) -> datetime | date:
    """Give an instant (UTC) as `source.time` says that its columns are."""
    if source.time == "utc":
        return at
    if source.time == "naive_utc":
        return at.replace(tzinfo=None)
    local = at.astimezone(find_zone(zone)).replace(tzinfo=None)
    return local.date() if source.time == "date" else local


def shown(values: Mapping[str, Any]) -> dict[str, str]:
    """Give values as people read them in a preview."""
    return {name: written(value) if value is not None else "NULL" for name, value in values.items()}


def written(value: Any) -> str:
    """Write a value as an address has it: instants as 2026-11-16T07:00:00Z, without Z if they have no zone."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z" if value.tzinfo else value.isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, date) else "" if value is None else str(value)


def filled(template: str, values: Mapping[str, Any], quote: Callable[[str], str]) -> str:
    """Put the values, each written and quoted, in the place of their `{name}`."""
    return _PLACE.sub(lambda found: quote(written(values[found[1]])), template)
