"""What Prometheus is told, read from the rows at every scrape: the same from whichever process is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.orm import Session

from pipeline import __version__
from pipeline.db import clock
from pipeline.models import (
    ACTIVE_STEP,
    WANTS_A_PLACE,
    BadFile,
    Delivery,
    Heartbeat,
    Notice,
    NoticeDelivery,
    NoticeStatus,
    Run,
    RunStatus,
    Schedule,
    Step,
    StepStatus,
)
from pipeline.services import limits, tallies
from pipeline.settings import settings

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_HISTOGRAMS = {
    tallies.DUE_TO_FIRED: "Seconds from the instant at which a slot was due until its run was committed.",
    tallies.FIRED_TO_STARTED: "Seconds from a run's commit, or the end of its jitter, until a worker began it.",
}
_COUNTERS = {
    tallies.RUNS: "Runs that have ended, by how.",
    tallies.DELIVERIES: "Deliveries of runs that have ended, by how they stood then.",
}


def metrics(session: Session) -> Iterator[Metric]:
    """Every metric of the installation."""
    from prometheus_client.core import GaugeMetricFamily

    now = clock(session)
    build = GaugeMetricFamily("pipeline_build_info", "The version that answers.", labels=["version"])
    build.add_metric([__version__], 1)
    yield build
    yield from _tallied(tallies.read(session))
    yield from _scheduler(session, now)
    yield from _work(session, now)
    yield from _pools(session, now)
    yield from _told(session)


def _tallied(counted: Mapping[str, tallies.Counts]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

    for name, about in _HISTOGRAMS.items():
        values = counted.get(name, {})
        buckets = [(str(bound), values.get(str(bound), 0)) for bound in tallies.BOUNDS]
        total = values.get("sum", 0.0)
        everything = [*buckets, ("+Inf", values.get("count", 0))]
        yield HistogramMetricFamily(f"pipeline_{name}_seconds", about, buckets=everything, sum_value=total)
    for name, about in _COUNTERS.items():
        counter = CounterMetricFamily(f"pipeline_{name}_ended", about, labels=["status"])
        for status, count in sorted(counted.get(name, {}).items()):
            counter.add_metric([status], count)
        yield counter


def _scheduler(session: Session, now: datetime) -> Iterator[Metric]:
    state = case((Schedule.retired_at.is_not(None), "retired"), (Schedule.paused.is_(True), "paused"), else_="active")
    schedules = select(state, func.count()).group_by(state)
    yield _gauge("schedules", "Schedules, by state.", ["state"], session.execute(schedules).all())
    oldest = session.scalar(select(func.min(Schedule.next_due_at)))
    yield _single(
        "overdue_seconds", "How long the oldest slot has been due that nobody has decided.", _age(oldest, now)
    )
    yield _single("bad_files", "Schedule files that cannot be used.", _count(session, BadFile.file))
    beats = session.execute(select(Heartbeat.name, Heartbeat.at).where(Heartbeat.name.startswith("beat@"))).all()
    ages = [(name, _age(at, now)) for name, at in beats]
    yield _gauge("beat_heartbeat_age_seconds", "Since when a beat has given no sign of life.", ["beat"], ages)


def _work(session: Session, now: datetime) -> Iterator[Metric]:
    open_runs = (Run.finished_at.is_(None), Run.status.in_(set(RunStatus)))
    runs = select(Run.status, func.coalesce(Run.waiting_for, ""), func.count()).where(*open_runs)
    counted = session.execute(runs.group_by(Run.status, Run.waiting_for)).all()
    yield _gauge("runs", "Runs that have not ended, by what they do or wait for.", ["status", "waiting_for"], counted)
    deliveries = select(Delivery.status, func.count()).where(Delivery.run_id.in_(select(Run.id).where(*open_runs)))
    standing = session.execute(deliveries.group_by(Delivery.status)).all()
    yield _gauge("deliveries", "Deliveries of runs that have not ended.", ["status"], standing)
    due = and_(ACTIVE_STEP, Step.status == StepStatus.QUEUED, or_(Step.not_before.is_(None), Step.not_before <= now))
    queued = select(Step.queue, func.count(), func.min(func.coalesce(Step.not_before, Step.queued_at))).where(due)
    rows = session.execute(queued.group_by(Step.queue)).all()
    yield _gauge("steps_queued", "Steps that a worker could begin.", ["queue"], [row[:2] for row in rows])
    ages = [(queue, _age(since, now)) for queue, _, since in rows]
    yield _gauge("steps_queued_age_seconds", "How long the first of them has waited.", ["queue"], ages)
    running = (
        select(Step.queue, func.count()).where(ACTIVE_STEP, Step.status == StepStatus.RUNNING).group_by(Step.queue)
    )
    yield _gauge("steps_running", "Steps that are at work.", ["queue"], session.execute(running).all())


def _pools(session: Session, now: datetime) -> Iterator[Metric]:
    pools = [limits.Limit(limits.POOL, name, places) for name, places in settings().places.items()]
    waiting = select(Step.pool, func.count()).where(WANTS_A_PLACE, Step.pool.is_not(None)).group_by(Step.pool)
    taken = [(pool.name, limits.taken(session, pool, now)) for pool in pools]
    yield _gauge("pool_places", "Places of a pool (PIPELINE_POOLS).", ["pool"], settings().places.items())
    yield _gauge("pool_taken", "Places that a step has.", ["pool"], taken)
    yield _gauge("pool_waiting", "Steps that wait for a place.", ["pool"], session.execute(waiting).all())


def _told(session: Session) -> Iterator[Metric]:
    going_on = select(Notice.kind, func.count()).where(Notice.closed_at.is_(None)).group_by(Notice.kind)
    yield _gauge(
        "notices_open", "Matters that people were told of and that go on.", ["kind"], session.execute(going_on)
    )
    waiting = NoticeDelivery.status == NoticeStatus.WAITING
    yield _single("notices_unsent", "Notices that wait to be sent.", _count(session, NoticeDelivery.id, waiting))


def _gauge(name: str, about: str, labels: list[str], rows: Any) -> Metric:
    """A gauge of rows that hold its labels and, last, its value."""
    from prometheus_client.core import GaugeMetricFamily

    gauge = GaugeMetricFamily(f"pipeline_{name}", about, labels=labels)
    for *said, value in rows:
        gauge.add_metric([str(one) for one in said], value)
    return gauge


def _single(name: str, about: str, value: float) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(f"pipeline_{name}", about, value=value)


def _age(since: datetime | None, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds()) if since else 0.0


def _count(session: Session, column: Any, *where: Any) -> int:
    return session.scalar(select(func.count(column)).where(*where)) or 0
