"""Answers as JSON for machines: ids as full strings, instants in ISO 8601, UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from pipeline import timing


def instant(at: datetime | None) -> str | None:
    """`2026-11-16T06:03:11.250Z`; None stays None."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def period(stored: Mapping[str, Any]) -> dict[str, str]:
    """A run's stored period, with the `title` that people call it by: `16-22 Nov 2026` with an en dash."""
    found = timing.Period.from_json(stored)
    start, end = instant(found.start) or "", instant(found.end) or ""
    return {"label": found.label, "title": found.title, "start": start, "end": end, "zone": found.zone}


def as_json(value: Any) -> Any:
    """`value`, a dataclass or what dataclasses hold, as dicts, lists and scalars that `json.dumps` takes."""
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: as_json(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): as_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(item) for item in value]
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, UUID | PurePath) else value
