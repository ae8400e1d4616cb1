"""How mail goes out: which relays there are, whether somebody or something has stopped one, and what waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline.db import clock
from pipeline.models import Relay, Run, RunStatus, WaitingFor
from pipeline.services import relays


@dataclass(frozen=True)
class RelayStatus:
    """A relay: ready, slowed down, down, blocked or stopped, since when and why; `pace` is messages a second."""

    name: str
    state: str
    since: datetime | None = None
    why: str | None = None
    next_try_at: datetime | None = None
    pace: float | None = None


@dataclass(frozen=True)
class BlockedRun:
    """A run that waits for a person."""

    run_id: UUID
    schedule: str
    why: str | None


@dataclass(frozen=True)
class MailStatus:
    """The mode (PIPELINE_MAIL), the rates, who has stopped all mail and why, the relays, and the runs that wait."""

    mode: str
    rates: list[str]
    stopped_at: datetime | None
    stopped_by: str | None
    stop_reason: str | None
    relays: list[RelayStatus]
    blocked: list[BlockedRun]


def mail(session: Session, mode: str, rates: Sequence[str], names: Sequence[str]) -> MailStatus:
    """How mail goes out by the relays called `names`, in order of preference, and by others that were used before."""
    rows = {row.name: row for row in session.scalars(select(Relay).order_by(Relay.name))}
    brake = rows.pop(relays.ALL, None)
    others = [name for name in rows if not name.startswith("run ") and name not in names]
    now = clock(session)
    found = [_relay(name, rows.get(name), now) for name in (*names, *others)]
    blocked = (Run.status == RunStatus.WAITING, Run.waiting_for == WaitingFor.BLOCKED)
    waiting = session.scalars(select(Run).where(*blocked).order_by(Run.id))
    return MailStatus(
        mode=mode,
        rates=list(rates),
        stopped_at=brake.stopped_at if brake else None,
        stopped_by=brake.stopped_by if brake else None,
        stop_reason=brake.stop_reason if brake else None,
        # One that is no longer configured is told only where something is the matter with it.
        relays=[one for one in found if one.name in names or one.state != "ready"],
        blocked=[BlockedRun(run.id, run.schedule_key, run.error) for run in waiting],
    )


def _relay(name: str, row: Relay | None, now: datetime) -> RelayStatus:
    if row is None:
        return RelayStatus(name, "ready")
    if row.stopped_at:
        because = f": {row.stop_reason}" if row.stop_reason else ""
        return RelayStatus(name, "stopped", row.stopped_at, f"by {row.stopped_by}{because}")
    if row.blocked_at:
        return RelayStatus(name, "blocked", row.blocked_at, row.block_reason)
    if row.open_until:
        return RelayStatus(name, "down", row.down_since, row.last_error, row.open_until)
    if pace := relays.pace_left(row, now):
        return RelayStatus(name, "slowed down", row.paced_at, "it gets too much, it says", pace=pace)
    return RelayStatus(name, "ready", row.last_answer_at)
