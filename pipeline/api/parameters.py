"""What many requests say: how many at most, from where on, and instants."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query
from pydantic import AfterValidator, AwareDatetime

MOST = 500
# Nothing here is about earlier or later ones, and at the ends of the calendar no zone can be reckoned with.
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def _plausible(instant: datetime) -> datetime:
    if not EARLIEST <= instant < LATEST:
        raise ValueError(f"must be between {EARLIEST.year} and {LATEST.year}")
    return instant.astimezone(UTC)


Instant = Annotated[AwareDatetime, AfterValidator(_plausible)]
Limit = Annotated[int, Query(ge=1, le=MOST, description="How many at most.")]
After = Annotated[
    str | None, Query(max_length=4000, description="The `next` of the page before; `null` there means the last page.")
]
