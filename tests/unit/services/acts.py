"""What a worker does to a run's steps, one short transaction each, so that tests read like a day at work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select

from pipeline import healing
from pipeline.adapters.drafts import Addressee, Draft, Made
from pipeline.db import clock, reading, transaction
from pipeline.models import Attempt, Run, RunStatus, Step
from pipeline.retry import Retry
from pipeline.services import freezing, publishing, runs, steps
from pipeline.services.canvases import Planned
from pipeline.services.steps import Claim

RETRY = Retry(attempts=3, first=30, factor=2, ceiling=900, jitter=0)


def planned(*names: str, **values: Any) -> list[Planned]:
    """One stage: a step for each name."""
    return [Planned(name=name, task=f"story.{name.partition(':')[0]}", retry=RETRY, **values) for name in names]


def begin(run: Run, *stages: Sequence[Planned]) -> None:
    """Carry out `start`, which asks for these stages."""
    succeed(claim(run, "start"), stages=stages)


def step(run: Run, name: str) -> Step:
    with reading() as session:
        return session.scalars(select(Step).where(Step.run_id == run.id, Step.name == name)).one()


def claim(run: Run, name: str, task: UUID | None = None) -> Claim | None:
    """A message names the step: the current one, or a `task` from earlier."""
    row = step(run, name)
    with transaction(durable=False) as session:
        return steps.claim(session, row.id, str(task or row.task_id))


def succeed(claim: Claim | None, result: Any = None, stages: Sequence[Any] = (), *, carried: bool = False) -> None:
    assert claim is not None
    with transaction(durable=False) as session:
        steps.record(session, claim, result, stages, carried=carried)


def fail(claim: Claim | None, error: Exception, retry: Retry = RETRY, *, carried: bool = False) -> None:
    assert claim is not None
    with transaction(durable=False) as session:
        steps.record_failure(session, claim, error, f"Traceback: {error}", retry, carried=carried)


def carry_out(run: Run, name: str, result: Any = None, **values: Any) -> None:
    succeed(claim(run, name), result, **values)


def publishable(run: Run) -> list[list[str]]:
    with reading() as session:
        return [
            [one.name for one in stage]
            for stage in publishing.publishable(session, [run.id], clock(session)).get(run.id, [])
        ]


def publish(run: Run) -> list[list[str]]:
    """What the dispatcher does after a commit, the broker being there; the names that got a message."""
    with transaction(durable=False) as session:
        now = clock(session)
        stages = publishing.publishable(session, [run.id], now).get(run.id, [])
        publishing.mark_published(session, [one for stage in stages for one in stage], now)
        return [[one.name for one in stage] for stage in stages]


def heal() -> set[UUID]:
    return healing.heal()


def statuses(run: Run) -> dict[str, str]:
    with reading() as session:
        rows = session.scalars(select(Step).where(Step.run_id == run.id).order_by(Step.stage, Step.ordinal))
        return {row.name: row.status for row in rows}


def attempts(run: Run, name: str) -> list[Attempt]:
    with reading() as session:
        mine = select(Attempt).join(Step, Step.id == Attempt.step_id).where(Step.run_id == run.id, Step.name == name)
        return list(session.scalars(mine.order_by(Attempt.fence)))


def reread(run: Run) -> Run:
    with reading() as session:
        return session.get_one(Run, run.id)


def cancel(run: Run) -> None:
    with transaction(durable=False) as session:
        runs.close(session, runs.lock(session, run.id), RunStatus.CANCELLED, "somebody said so")


# ---- plans


def plan_of(
    rows_by_key: Mapping[str | None, int],
    addressees: Iterable[Addressee] = (),
    documents: Mapping[str, UUID] | None = None,
    *,
    combine: bool = False,
    **values: Any,
) -> freezing.Freeze:
    """What planning decided: who was named, in this order, and the documents (id by key) that there are."""
    draft = Draft(":memory:", combined=freezing.COMBINED if combine else None)
    draft.count(rows_by_key.items())
    draft.add(addressees)
    draft.know(Made(key, id_, 0) for key, id_ in (documents or {}).items())
    return freezing.Freeze(draft, **values)
