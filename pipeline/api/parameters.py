"""What many requests say: how many at most, from where on, and instants."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import Query, Request
from pydantic import AfterValidator, AwareDatetime, BeforeValidator

from pipeline.errors import Refused
from pipeline.mistakes import no_field

MOST = 500
# Nothing here is about earlier or later ones, and at the ends of the calendar no zone can be reckoned with.
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def _plausible(instant: datetime) -> datetime:
    if not EARLIEST <= instant < LATEST:
        raise ValueError(f"must be between {EARLIEST.year} and {LATEST.year}")
    return instant.astimezone(UTC)


def _day_or_instant(said: object) -> object:
    try:
        found = datetime.fromisoformat(str(said))
        if len(str(said)) == len("2026-11-01"):
            return _plausible(found.replace(tzinfo=UTC)).date()
        if found.tzinfo is not None:
            return _plausible(found)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a day, such as 2026-11-01, or an instant such as 2026-11-01T00:00:00Z")


Instant = Annotated[AwareDatetime, AfterValidator(_plausible)]
# A day is one by the clock of what it is about.
Day = Annotated[datetime | date, BeforeValidator(_day_or_instant)]
Limit = Annotated[int, Query(ge=1, le=MOST, description="How many at most.")]
After = Annotated[
    str | None, Query(max_length=4000, description="The `next` of the page before; `null` there means the last page.")
]


def check_query(request: Request) -> None:
    """A dependency: refuses what no query has. A filter that is written wrong must not list everything."""
    known = [one.alias for one in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        if name not in known:
            raise Refused(f"{name} {no_field(name, known)}", field=name)
