"""What a schedule says today that it did not when a run was opened: for whoever reruns it as it says today."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy.orm import Session

from pipeline.errors import NotFound
from pipeline.models import Run
from pipeline.services import schedules

# Fields that are named, and letters of each value.
MOST, LONGEST = 12, 60


def since(session: Session, run: Run) -> list[tuple[str, str, str]]:
    """The fields that have changed, with what they were and what they are; none for a schedule that is gone."""
    try:
        row, today = schedules.current(session, run.schedule_key)
    except NotFound:
        return []
    if row.revision == run.revision:
        return []
    before, after = dict(_flat(run.definition)), dict(_flat(today))
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    found = [(name, before.get(name, ""), after.get(name, "")) for name in names[:MOST]]
    return found or [("its query or code", "", "changed")]


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else str(name))
    else:
        said = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
        yield path, said if len(said) <= LONGEST else f"{said[:LONGEST]}…"
