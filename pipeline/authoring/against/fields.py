"""Which fields of a schedule say something else than before, by what they are about."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.schedule import Schedule

Area = Literal["slots", "recipients", "documents", "policies"]
# Whatever is in none of them is a policy.
_AREAS: dict[str, Area] = {
    "when": "slots",
    "recipients": "recipients",
    "deliver_to": "recipients",
    "message": "recipients",
    "combine": "recipients",
    "report": "documents",
    "workflow": "documents",
    "task": "documents",
    "command": "documents",
    "params": "documents",
    "period": "documents",
}
ABSENT = None


@dataclass(frozen=True)
class FieldChange:
    """A dotted field with its values; None stands for not said."""

    field: str
    before: Any
    after: Any


def changed_fields(old: Schedule, new: Schedule) -> dict[Area, list[FieldChange]]:
    """What differs, with every default filled in: to write one down changes nothing."""
    before, after = (dict(_flat(one.model_dump(mode="json", by_alias=True))) for one in (old, new))
    found: dict[Area, list[FieldChange]] = {}
    for name in {**before, **after}:
        values = before.get(name, ABSENT), after.get(name, ABSENT)
        if json.dumps(values[0]) != json.dumps(values[1]):
            area = _AREAS.get(name.partition(".")[0], "policies")
            found.setdefault(area, []).append(FieldChange(name, *values))
    return found


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Each value by its dotted path; the order of what has names counts where there are some, as that of columns."""
    if not isinstance(value, Mapping):
        yield place, value
        return
    if place in {"report.columns", "report.sources"} and value:
        yield place, list(value)
    for name, item in value.items():
        yield from _flat(item, f"{place}.{name}".strip("."))
