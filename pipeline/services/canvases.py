"""Canvases as rows: the steps that a run is to carry out, stage by stage, planned once or again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from pipeline.bulk import CHUNK
from pipeline.errors import Refused
from pipeline.models import Run, RunStatus, Step, StepStatus, new_id
from pipeline.retry import Retry
from pipeline.services import priorities

# What a step that is carried out again in another generation forgets.
_ANEW: dict[str, Any] = dict.fromkeys(
    (
        "published_at",
        "not_before",
        "lease_owner",
        "lease_until",
        "result",
        "memory",
        "place_wanted_at",
        "error",
        "started_at",
        "finished_at",
    )
) | {"published": 0}


@dataclass(frozen=True)
class Planned:
    """A step that a canvas asks for."""

    name: str
    task: str
    args: Sequence[Any] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    takes_results: bool = False
    tolerated: bool = False
    queue: str = "default"
    pool: str | None = None
    retry: Retry = field(default_factory=Retry)


def add_canvas(session: Session, run: Run, stages: Sequence[Sequence[Planned]], now: datetime) -> None:
    """Append the stages of a canvas behind whatever the run has; its first stage is queued.

    In a rerun a step of a name that the run had before is that step again, with its history. Raises Refused when two
    steps of the canvas have one name, or one that this generation has already.
    """
    known = _check_names(session, run, [planned.name for stage in stages for planned in stage])
    last = session.scalar(select(func.max(Step.stage)).where(Step.run_id == run.id)) or 0
    canvas = (session.scalar(select(func.max(Step.canvas)).where(Step.run_id == run.id)) or 0) + 1
    rows = [
        _row(run, planned, canvas=canvas, stage=last + 1 + number, ordinal=ordinal, queued=number == 0, now=now)
        for number, stage in enumerate(stages)
        for ordinal, planned in enumerate(stage)
    ]
    new = [row for row in rows if row["name"] not in known]
    for at in range(0, len(new), CHUNK):
        session.execute(insert(Step), new[at : at + CHUNK])
    _make_again(session, run, [{**row, **known[row["name"]]} for row in rows if row["name"] in known])


def repeat(session: Session, run: Run, again: Sequence[Step], later: Sequence[Step], now: datetime) -> None:
    """Queue the steps `again` once more, in the generation that the run, whose row is locked, has now.

    `later` are those of the stages after them, which wait for them.
    """
    rows = [{"id": one.id, "fence": one.fence, "status": StepStatus.QUEUED, "queued_at": now} for one in again]
    rows += [{"id": one.id, "fence": one.fence, "status": StepStatus.PENDING, "queued_at": None} for one in later]
    _make_again(session, run, [{**row, "generation": run.generation} for row in rows])


def _make_again(session: Session, run: Run, rows: Sequence[dict[str, Any]]) -> None:
    """Write to steps of an earlier generation, by their ids: what is left of that are their tries."""
    fresh = [{**_ANEW, **row, "task_id": task_id(row["id"], run.generation, row["fence"])} for row in rows]
    for at in range(0, len(fresh), CHUNK):
        session.execute(update(Step), fresh[at : at + CHUNK])


def first_rows(run: Run, planned: Sequence[Planned]) -> list[dict[str, Any]]:
    """The rows of a new run's steps, one a stage; the first is queued, or pending where the run was opened to wait."""
    queued = run.status == RunStatus.QUEUED
    rows = [
        _row(run, one, canvas=1, stage=stage, ordinal=0, queued=queued and stage == 1, now=run.created_at)
        for stage, one in enumerate(planned, start=1)
    ]
    return [{**row, "not_before": run.not_before if row["stage"] == 1 else None} for row in rows]


def join_stage(session: Session, run: Run, beside: Step, planned: Sequence[Planned], now: datetime) -> None:
    """Add queued steps to the stage of one that is there; the stage after it, which has not begun, waits for them too.

    The run's row is locked. Raises Refused as `add_canvas` does.
    """
    known = _check_names(session, run, [one.name for one in planned])
    if known:
        raise Refused(f'the run already has a step "{min(known)}": give this one another name')
    of_stage = (Step.run_id == run.id, Step.stage == beside.stage)
    last = session.scalar(select(func.max(Step.ordinal)).where(*of_stage)) or 0
    rows = [
        _row(run, one, canvas=beside.canvas, stage=beside.stage, ordinal=last + number, queued=True, now=now)
        for number, one in enumerate(planned, start=1)
    ]
    session.execute(insert(Step), rows)


def _check_names(session: Session, run: Run, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Id and fence of those names that steps of an earlier generation have. Raises Refused for one that is taken."""
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice:
        raise Refused(f'two steps are called "{twice}": give one another argument or name')
    known = session.execute(select(Step.name, Step.id, Step.fence, Step.generation).where(Step.run_id == run.id))
    again = {row.name: row for row in known if row.name in set(names)}
    taken = [name for name, row in again.items() if row.generation == run.generation]
    if taken:
        raise Refused(f'the run already has a step "{min(taken)}": give this one another argument or name')
    return {name: {"id": row.id, "fence": row.fence} for name, row in again.items()}


def _row(
    run: Run, planned: Planned, *, canvas: int, stage: int, ordinal: int, queued: bool, now: datetime
) -> dict[str, Any]:
    step_id = new_id()
    return {
        "id": step_id,
        "run_id": run.id,
        "name": planned.name,
        "task": planned.task,
        "args": list(planned.args),
        "kwargs": dict(planned.kwargs),
        "takes_results": planned.takes_results,
        "tolerated": planned.tolerated,
        "canvas": canvas,
        "stage": stage,
        "ordinal": ordinal,
        "generation": run.generation,
        "status": StepStatus.QUEUED if queued else StepStatus.PENDING,
        "queued_at": now if queued else None,
        "queue": planned.queue,
        "pool": planned.pool,
        "priority": priorities.of_step(run.trigger, ordinal),
        "retry": planned.retry.to_json(),
        "task_id": task_id(step_id, run.generation, 0),
    }


def task_id(step_id: UUID, generation: int, fence: int) -> UUID:
    """The Celery task id of one try of a step: the same for the same try, so that a repeated message is known."""
    return uuid5(step_id, f"{generation}/{fence}")
