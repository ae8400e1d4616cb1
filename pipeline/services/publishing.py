"""Which steps are still to be published, and as what: a step without `published_at` has no message yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from uuid import UUID

from sqlalchemy import or_, select, tuple_, update
from sqlalchemy.orm import Session

from pipeline.bulk import CHUNK
from pipeline.models import Step, StepStatus

# Steps that a line of a run's history names.
NAMED = 5


def publishable(session: Session, run_ids: Sequence[UUID], now: datetime) -> dict[UUID, list[list[Step]]]:
    """By run, where there is one: the stages that one canvas can carry now.

    They are the queued, unpublished steps that are due, then single steps. A chord's body and a chain's links are
    carried by the canvas before them; a group behind single steps is published by the last of them.
    """
    due = or_(Step.not_before.is_(None), Step.not_before <= now)
    unpublished = (Step.status == StepStatus.QUEUED, Step.published_at.is_(None), due)
    in_order = select(Step).order_by(Step.run_id, Step.stage, Step.ordinal)
    queued = session.scalars(in_order.where(Step.run_id.in_(run_ids), *unpublished)).all()
    found = {run_id: [list(ready)] for run_id, ready in groupby(queued, lambda step: step.run_id)}
    if found:
        pending = session.scalars(in_order.where(Step.run_id.in_(list(found)), Step.status == StepStatus.PENDING))
        for run_id, later in groupby(pending.all(), lambda step: step.run_id):
            _carry(found[run_id], later)
    return found


def _carry(stages: list[list[Step]], later: Iterable[Step]) -> None:
    for step in later:
        if step.stage == stages[-1][0].stage and len(stages) > 1:
            stages.pop()  # a group: published by the single step before it
            return
        stages.append([step])


def mark_published(session: Session, steps: Iterable[Step], now: datetime) -> None:
    """Remember that these steps have a message; called after publishing, so that a crash repeats rather than loses.

    A try that has failed meanwhile has another task id: the message of the next one is still to be published.
    """
    messages = [(step.id, step.task_id) for step in steps]
    for at in range(0, len(messages), CHUNK):
        session.execute(
            update(Step)
            .where(tuple_(Step.id, Step.task_id).in_(messages[at : at + CHUNK]))
            .values(published_at=now, published=Step.published + 1)
            .execution_options(synchronize_session=False)
        )


def listed(names: Sequence[str]) -> str:
    """These steps' names in a line of their run's history: `render:1, render:2 and 3 more`, beyond five."""
    first = ", ".join(names[:NAMED])
    return f"{first} and {len(names) - NAMED} more" if names[NAMED:] else first
