"""Which of the next slots come, go and move."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.services import answers
from pipeline.settings import settings
from pipeline.when import When


@dataclass(frozen=True)
class SlotChange:
    """Local times (ISO 8601, with their offsets) of slots to come; a pair has moved within its day."""

    added: list[str]
    removed: list[str]
    moved: list[tuple[str, str]]


def changed_slots(old: When | None, new: When | None, at: datetime, count: int) -> SlotChange | None:
    """The next `count` slots of each after `at`, as far as both are known; None where they are the same."""
    before, after = _fires(old, at, count), _fires(new, at, count)
    gone = [due for due in before if due not in after]
    come = [due for due in after if due not in before]
    moved = _moved({due: before[due] for due in gone}, {due: after[due] for due in come})
    # Behind the last of the denser one nobody has looked.
    ends = [list(fires)[-1] for fires in (before, after) if len(fires) == count]
    until = min(ends) if before and after and ends else datetime.max.replace(tzinfo=UTC)
    found = SlotChange(
        added=[after[due] for due in come if due <= until and due not in moved.values()],
        removed=[before[due] for due in gone if due <= until and due not in moved],
        moved=[(before[old], after[new]) for old, new in moved.items() if min(old, new) <= until],
    )
    return found if found.added or found.removed or found.moved else None


def _moved(gone: Mapping[datetime, str], come: Mapping[datetime, str]) -> dict[datetime, datetime]:
    """Which slot has become which: the only one of its day that goes, and the only one that comes."""
    days: dict[str, tuple[list[datetime], list[datetime]]] = {}
    for number, slots in enumerate((gone, come)):
        for due, local in slots.items():
            days.setdefault(local[:10], ([], []))[number].append(due)
    return {old[0]: new[0] for old, new in days.values() if len(old) == len(new) == 1}


def _fires(when: When | None, at: datetime, count: int) -> dict[datetime, str]:
    if when is None:
        return {}
    return {fire.due_at: fire.local for fire in answers.upcoming(when, settings().timezone, at, count).fires}
