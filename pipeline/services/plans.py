"""Definitions read once a revision: to read one for each of its slots takes longer than to fire it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from pipeline import schedule
from pipeline.models import ScheduleRevision

# Revisions that are kept: enough for what fires often, and ten megabytes at most.
KEPT = 1000


@dataclass(frozen=True, slots=True)
class Plan:
    """One revision of a schedule: as it is stored, and as it was read."""

    key: str
    revision: str
    stored: dict[str, Any]
    definition: schedule.Schedule


_kept: dict[tuple[str, str], Plan] = {}


def read(session: Session, wanted: Iterable[tuple[str, str]]) -> dict[str, Plan | Exception]:
    """By schedule key: the plan of each (key, revision), or why it cannot be read any more."""
    found: dict[str, Plan | Exception] = {}
    missing = []
    for one in wanted:
        plan = _kept.get(one)
        if plan is None:
            missing.append(one)
        else:
            found[one[0]] = plan
    if missing:
        of = tuple_(ScheduleRevision.schedule_key, ScheduleRevision.revision).in_(missing)
        columns = (ScheduleRevision.schedule_key, ScheduleRevision.revision, ScheduleRevision.definition)
        for key, revision, stored in session.execute(select(*columns).where(of)):
            found[key] = _read(key, revision, stored)
        for key, revision in missing:
            found.setdefault(key, LookupError(f"revision {revision} is not in the database"))
    return found


def _read(key: str, revision: str, stored: dict[str, Any]) -> Plan | Exception:
    try:
        plan = Plan(key, revision, stored, schedule.parse(stored, key))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one of them is no matter of the others
        return error
    while len(_kept) >= KEPT:
        del _kept[next(iter(_kept))]  # the oldest: in a round through more schedules than fit none would last anyway
    _kept[key, revision] = plan
    return plan


def forget() -> None:
    """Read every definition anew: for tests that write into a revision."""
    _kept.clear()
