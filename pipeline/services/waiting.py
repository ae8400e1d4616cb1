"""What a run waits for in the rows: other schedules' runs for the same period, and whom their end concerns."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from pipeline.bulk import CHUNK
from pipeline.errors import Refused
from pipeline.models import ACTIVE_STEP, FINAL_RUN, Run, RunStatus, Step, StepStatus, WaitingFor
from pipeline.services import audit, runs, steps
from pipeline.services.answers import wording
from pipeline.services.audit import Actor
from pipeline.services.notices import is_trial
from pipeline.timing import Period

# Waiting runs that one pass of reconcile looks at; the others look for themselves, less often.
LIMIT = 2000
# Between the clock's reading that ends a run and the commit that shows it: who looked in between is called later.
COMMITTING = timedelta(seconds=30)


@dataclass(frozen=True)
class Standing:
    """How another schedule's run for a period stands; `status` is the run's, None where there is no run."""

    schedule: str
    status: str | None
    run: Run | None = None
    # What the newest run of the schedule is about, where none is about this period.
    newest: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it may still succeed by itself."""
        return self.status is None or self.status not in FINAL_RUN


def standing(session: Session, schedule: str, period: Period) -> Standing:
    """How the schedule's run for just this period stands: one that succeeded counts, else one that is still open."""
    same = [run for run in session.scalars(_about(schedule, period)) if not is_trial(run.scope)]
    succeeded = next((run for run in same if run.status == RunStatus.SUCCEEDED), None)
    unfinished = next((run for run in same if run.status not in FINAL_RUN), None)
    found = succeeded or unfinished or next(iter(same), None)
    if found is not None:
        return Standing(schedule, found.status, found)
    newest = select(Run.period).where(Run.schedule_key == schedule).order_by(Run.created_at.desc()).limit(1)
    about = session.scalar(newest)
    return Standing(schedule, None, newest=about["label"] if about else None)


def _about(schedule: str, period: Period) -> Any:
    """Newest first. A run about a period is not opened before the period begins."""
    said = period.to_json()
    same = [Run.period[side].as_string() == said[side] for side in ("start", "end")]
    of_schedule = select(Run).where(Run.schedule_key == schedule, Run.created_at >= period.start)
    return of_schedule.where(*same).order_by(Run.created_at.desc(), Run.id.desc())


def release(session: Session, run: Run, actor: Actor) -> UUID | None:
    """Have a run that waits for its data go on without; its id if it wants to be published.

    Raises Refused for a run that does not.
    """
    run = runs.lock(session, run.id)
    last = runs.last_event(session, run.id, "released", "rerun")
    if last and last.kind == "released":
        since = wording.moment(last.at, run.zone)
        raise Refused(f"run {run.id} of {run.schedule_key} does not wait any more: {last.text}, since {since}")
    if (run.status, run.waiting_for) != (RunStatus.WAITING, WaitingFor.DATA):
        waits = f"waits for {run.waiting_for}" if run.waiting_for else f"is {run.status}"
        raise Refused(f"run {run.id} of {run.schedule_key} {waits}, not for its data")
    step = session.scalars(select(Step).where(Step.run_id == run.id, Step.task == runs.READY_TASK)).one()
    audit.record(session, actor, "proceed", "run", run.id, schedule=run.schedule_key, waited=run.error)
    runs.note(session, run.id, "released", f"{actor} has it go on without waiting")
    return steps.call(session, step.id, released=str(actor))


def call_waiting(session: Session, now: datetime) -> None:
    """Have runs look at once for which another schedule's run, that they wait for, has ended since they last looked."""
    looking = select(Step.id, Step.memory, Step.queued_at, Run.period).join(Run, Run.id == Step.run_id)
    parked = (ACTIVE_STEP, Step.task == runs.READY_TASK, Step.status == StepStatus.QUEUED, Step.not_before > now)
    waiting = [row for row in session.execute(looking.where(*parked).limit(LIMIT)) if _wanted(row.memory)]
    if not waiting:
        return
    names = {name for row in waiting for name in _wanted(row.memory)}
    since = min(row.queued_at for row in waiting) - COMMITTING
    ended = _ended(session, names, since)
    called = [row.id for row in waiting if any(_has_ended(row, name, ended) for name in _wanted(row.memory))]
    for at in range(0, len(called), CHUNK):
        still = (Step.id.in_(called[at : at + CHUNK]), Step.status == StepStatus.QUEUED)
        session.execute(
            update(Step).where(*still).values(not_before=now).execution_options(synchronize_session="fetch")
        )


def _ended(session: Session, names: Collection[str], since: datetime) -> dict[tuple[str, str, str], datetime]:
    """When runs of these schedules have ended last, by schedule and by the ends of their period."""
    of_them = select(Run.schedule_key, Run.period, Run.finished_at).where(Run.schedule_key.in_(names))
    ended: dict[tuple[str, str, str], datetime] = {}
    for name, period, at in session.execute(of_them.where(Run.finished_at >= since).order_by(Run.finished_at)):
        ended[name, period["start"], period["end"]] = at
    return ended


def _has_ended(row: Any, name: str, ended: Mapping[tuple[str, str, str], datetime]) -> bool:
    at = ended.get((name, row.period["start"], row.period["end"]))
    return at is not None and at >= row.queued_at - COMMITTING


def _wanted(memory: dict[str, Any] | None) -> Sequence[str]:
    return memory["kept"].get("after", []) if memory else []
