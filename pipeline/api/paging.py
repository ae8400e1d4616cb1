"""What all lists have in common: how many at most, and from where on."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

MOST = 500

Limit = Annotated[int, Query(ge=1, le=MOST, description="How many at most.")]
After = Annotated[
    str | None, Query(max_length=4000, description="The `next` of the page before; `null` there means the last page.")
]
