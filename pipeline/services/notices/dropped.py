"""What people are told of slots that were missed and are too late to be made up for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from pipeline import timing
from pipeline.notice import Kind
from pipeline.services.notices.telling import about_schedule, tell
from pipeline.settings import settings

# Schedules that a notice about many names.
NAMED = 5


@dataclass(frozen=True, slots=True)
class Dropped:
    """One schedule's slots (UTC, oldest first) that were dropped in one look; `notify` is what its definition says."""

    key: str
    zone: str
    slots: Sequence[datetime]
    next_due_at: datetime | None
    notify: Sequence[str] | None


def slots_dropped(session: Session, dropped: Sequence[Dropped]) -> None:
    """Tell of them, in the transaction that decides so: of many schedules at once in one notice to the same people.

    A downtime drops slots of thousands of schedules together, and deciding them is not to take longer for that.
    """
    for targets, several in _by_targets(dropped).items():
        if len(several) == 1:
            _tell_one(session, several[0], targets)
        else:
            _tell_many(session, several, targets)


def _by_targets(dropped: Sequence[Dropped]) -> Mapping[tuple[str, ...], list[Dropped]]:
    found: dict[tuple[str, ...], list[Dropped]] = {}
    for one in dropped:
        targets = tuple(settings().notify if one.notify is None else one.notify)
        found.setdefault(targets, []).append(one)
    return found


def _tell_one(session: Session, one: Dropped, targets: Sequence[str]) -> None:
    newest = one.slots[-1]
    facts = {
        "due_at": newest.isoformat(),
        "zone": one.zone,
        "times": len(one.slots),
        "next_due_at": one.next_due_at.isoformat() if one.next_due_at else None,
        "command": f"pipeline backfill {one.key} --from {one.slots[0].astimezone(timing.find_zone(one.zone)):%F}",
    }
    subject = about_schedule(one.key)
    tell(
        session, Kind.SLOT_DROPPED, subject, newest.isoformat(), schedule_key=one.key, facts=facts, targets=targets
    )  # fmt: skip


def _tell_many(session: Session, several: Sequence[Dropped], targets: Sequence[str]) -> None:
    keys = sorted(one.key for one in several)
    names = ", ".join(keys[:NAMED]) + (" …" if len(keys) > NAMED else "")
    who = hashlib.sha256("\n".join(targets).encode()).hexdigest()[:12]
    newest = max(one.slots[-1] for one in several)
    facts = {"count": len(keys), "name": names, "due_at": newest.isoformat()}
    episode = f"{newest.isoformat()}/{keys[0]}"
    tell(session, Kind.SLOT_DROPPED, f"slots:{who}", episode, facts=facts, targets=targets)
