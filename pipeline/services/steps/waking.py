"""Steps that wait: called by what they wait for, and what they remember from look to look."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from pipeline.db import clock
from pipeline.models import ACTIVE_STEP, Step, StepStatus


def call(session: Session, step_id: UUID, **heard: Any) -> UUID | None:
    """Have a step that waits look at once, and find `heard` in its memory; its run, to be published, if it does.

    A step that is looking right now looks once more.
    """
    step = session.scalar(select(Step).where(Step.id == step_id).with_for_update(key_share=True))
    if step is None or step.status not in {StepStatus.QUEUED, StepStatus.RUNNING}:
        return None
    kept = {**remembered(step.memory, step.generation), **heard}
    step.memory = {"generation": step.generation, "kept": kept}
    if step.status == StepStatus.RUNNING or step.not_before is None:
        return None
    step.not_before = clock(session)
    return step.run_id


def remembered(memory: dict[str, Any] | None, generation: int) -> dict[str, Any]:
    """What a step's `memory` holds for this generation."""
    return dict(memory["kept"]) if memory and memory["generation"] == generation else {}


def wake(
    session: Session,
    queue: str,
    now: datetime,
    *,
    run_id: UUID | None = None,
    saying: str = "",
    limit: int | None = None,
) -> None:
    """What waits in this queue for its next try is tried now: of one run or of all, and the first `limit` of it.

    `saying`: only what waits for the reason that begins so.
    """
    waiting: list[Any] = [ACTIVE_STEP, Step.status == StepStatus.QUEUED, Step.queue == queue, Step.not_before > now]
    if run_id is not None:
        waiting.append(Step.run_id == run_id)
    if saying:
        waiting.append(Step.error.startswith(saying))
    first = select(Step.id).where(*waiting).order_by(Step.not_before).limit(limit)
    session.execute(
        update(Step).where(Step.id.in_(first)).values(not_before=now).execution_options(synchronize_session=False)
    )


def at_work(session: Session, queue: str) -> int:
    """How many steps of this queue are being carried out, by all workers."""
    running = (ACTIVE_STEP, Step.status == StepStatus.RUNNING, Step.queue == queue)
    return session.scalar(select(func.count()).where(*running)) or 0
