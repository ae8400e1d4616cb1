"""Who did what, through which door, from where: one row for every act, in the act's own transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from pipeline.db import clock
from pipeline.models import Audit, Door


@dataclass(frozen=True)
class Actor:
    """Whoever wishes for something: a name, the door it came in by, and the host or address behind it."""

    by: str
    source: Door
    address: str | None = None

    def __str__(self) -> str:
        """`cli:anna@host`, as rows name who caused them; just the name for what beat does by itself."""
        return self.by if self.source == Door.BEAT else f"{self.source}:{self.by}"


BEAT = Actor("beat", Door.BEAT)


def record(
    session: Session,
    actor: Actor,
    action: str,
    kind: str,
    subject: object,
    *,
    schedule: str | None = None,
    at: datetime | None = None,
    **detail: Any,
) -> None:
    """Append that `actor` did `action` (a command's name: trigger, pause, cancel) to one thing.

    `kind` and `subject` name the thing: "run" and its id, "schedule" and its key; `schedule` is the key of the schedule
    it belongs to, `at` the instant where the caller has read the clock. `detail` is JSON; what is None or empty in it
    is left out. A row cannot be erased, not even on a person's demand: let ids stand for recipients' addresses.
    Call it in the transaction of the act.
    """
    said = {name: value for name, value in detail.items() if value not in (None, "", [], {})}
    session.add(
        Audit(
            at=at or clock(session),
            action=action,
            kind=kind,
            subject=str(subject),
            schedule_key=schedule,
            by=actor.by,
            source=actor.source,
            address=actor.address,
            detail=said,
        )
    )
