"""What is at work and what waits: beats by their signs of life, workers by what they hold, queues by their steps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipeline.db import clock
from pipeline.models import ACTIVE_STEP, BadFile, Heartbeat, Step, StepStatus
from pipeline.services.health import SILENCE_SECONDS

# Signs of life that are older than so many silences are of a host that is gone.
FORGOTTEN = 60 * SILENCE_SECONDS


@dataclass(frozen=True)
class BeatStatus:
    """A beat, and when it showed itself last (UTC); `silent`: longer ago than one that is well."""

    name: str
    at: datetime
    silent: bool


@dataclass(frozen=True)
class WorkerStatus:
    """A host whose workers carry out `steps` steps now, the oldest since `since` (UTC)."""

    host: str
    steps: int
    since: datetime | None


@dataclass(frozen=True)
class QueueStatus:
    """A queue: `running` steps are at work, `waiting` are ready, the oldest since `since`; `later` wait for a time."""

    name: str
    running: int
    waiting: int
    later: int
    since: datetime | None


@dataclass(frozen=True)
class Load:
    """The installation as its rows have it; `files` are schedule files that are wrong."""

    now: datetime
    beats: list[BeatStatus]
    workers: list[WorkerStatus]
    queues: list[QueueStatus]
    files: list[BadFile]


def load(session: Session) -> Load:
    """What the rows say: no process is asked."""
    now = clock(session)
    return Load(
        now,
        _beats(session, now),
        _workers(session),
        _queues(session, now),
        list(session.scalars(select(BadFile).order_by(BadFile.file))),
    )


def _beats(session: Session, now: datetime) -> list[BeatStatus]:
    rows = session.scalars(select(Heartbeat).where(Heartbeat.name.startswith("beat@")).order_by(Heartbeat.at.desc()))
    ages = [(row, (now - row.at).total_seconds()) for row in rows]
    fresh = [(row, age) for row, age in ages if age < FORGOTTEN] or ages[:1]
    return [BeatStatus(row.name.removeprefix("beat@"), row.at, age > SILENCE_SECONDS) for row, age in fresh]


def _workers(session: Session) -> list[WorkerStatus]:
    held = select(Step.lease_owner, Step.started_at).where(Step.status == StepStatus.RUNNING, ACTIVE_STEP)
    hosts: dict[str, list[datetime | None]] = {}
    for owner, since in session.execute(held):
        hosts.setdefault((owner or "unknown").partition("/")[0], []).append(since)
    return [
        WorkerStatus(host, len(found), min((at for at in found if at), default=None))
        for host, found in sorted(hosts.items())
    ]


def _queues(session: Session, now: datetime) -> list[QueueStatus]:
    later = Step.not_before > now
    counts = (
        func.count().filter(Step.status == StepStatus.RUNNING),
        func.count().filter(Step.status == StepStatus.QUEUED, later.is_not(True)),
        func.count().filter(Step.status == StepStatus.QUEUED, later),
        func.min(Step.queued_at).filter(Step.status == StepStatus.QUEUED, later.is_not(True)),
    )
    rows = session.execute(select(Step.queue, *counts).where(ACTIVE_STEP).group_by(Step.queue)).all()
    found = {row[0]: QueueStatus(*row) for row in rows}
    return [found.get(name, QueueStatus(name, 0, 0, 0, None)) for name in sorted({*QUEUES, *found})]


QUEUES = ("default", "deliver", "render")
