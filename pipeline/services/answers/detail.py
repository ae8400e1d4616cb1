"""Everything about one run: its steps and attempts, what became of documents and deliveries, its history."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from pipeline.db import clock
from pipeline.models import (
    OPEN_DELIVERY,
    Attempt,
    Delivery,
    DeliveryStatus,
    Document,
    DocumentStatus,
    Outcome,
    Run,
    RunEvent,
    Step,
    StepStatus,
    kind_of,
)
from pipeline.services.answers import advice, pools
from pipeline.services.answers.summary import RunSummary, summarise

# What somebody has to look at comes before what is as it should be.
WORST_FIRST = (
    DeliveryStatus.FAILED,
    DeliveryStatus.UNCERTAIN,
    DeliveryStatus.EXPIRED,
    DeliveryStatus.BOUNCED,
    DeliveryStatus.COMPLAINED,
    DeliveryStatus.DEFERRED,
    DeliveryStatus.SUPPRESSED,
    DeliveryStatus.SKIPPED,
)
# Tries that count against a step's `attempts`; parked and abandoned ones do not.
TRIES = frozenset({Outcome.RUNNING, Outcome.SUCCEEDED, Outcome.FAILED, Outcome.RETRY})


@dataclass(frozen=True)
class StepDetail:
    """A step; `tries` of at most `retry["attempts"]` are used up in this generation, `next_try_at` (UTC) is planned."""

    name: str
    kind: str
    status: str
    queue: str
    task_id: UUID
    tries: int
    outcomes: dict[str, int]
    retry: dict[str, Any]
    queued_at: datetime | None
    published_at: datetime | None
    next_try_at: datetime | None
    # That it waits for a place, and who has those that there are.
    waits: str | None
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    error: str | None


@dataclass(frozen=True)
class AttemptDetail:
    """One try of one step; `output` is what its program wrote, or what a task of another application returned."""

    step: str
    generation: int
    number: int
    worker: str
    outcome: str
    started_at: datetime
    finished_at: datetime | None
    error: str | None
    traceback: str | None
    output: str | None


@dataclass(frozen=True)
class DocumentProblem:
    """A document that was not made, and why; `others` are told alike."""

    key: str
    status: str
    error: str | None
    others: int = 0


@dataclass(frozen=True)
class DeliveryProblem:
    """A delivery that has not been accepted, with the server's reply or our own reason; `others` are told alike."""

    key: str
    address: str
    channel: str
    status: str
    relay: str | None
    reply: str | None
    reason: str | None
    not_before: datetime | None
    others: int = 0


@dataclass(frozen=True)
class Event:
    """A line of the run's history that is no attempt."""

    at: datetime
    kind: str
    text: str


@dataclass(frozen=True)
class RunDetail:
    """One run, whole; `next` is a sentence on what to do or type now."""

    run: RunSummary
    params: dict[str, Any]
    scope: dict[str, Any]
    generation: int
    revision: str
    code_version: str
    steps: list[StepDetail]
    attempts: list[AttemptDetail]
    document_problems: list[DocumentProblem]
    delivery_problems: list[DeliveryProblem]
    events: list[Event]
    next: str

    def without_traces(self) -> RunDetail:
        """The same without tracebacks, which tell of code and paths."""
        return replace(self, attempts=[replace(one, traceback=None) for one in self.attempts])


def show(session: Session, run: Run, *, stories: int | None = None) -> RunDetail:
    """Everything about `run`.

    With `stories`, documents and deliveries that went wrong for the same reason are told as one, the first by name, and
    so many reasons at most; without, each is listed.
    """
    summary = summarise(session, [run])[0]
    mine = select(*_OF_A_STEP).where(Step.run_id == run.id).order_by(Step.stage, Step.ordinal)
    tried = select(*_OF_AN_ATTEMPT).where(Attempt.run_id == run.id).order_by(Attempt.started_at)
    steps, attempts = session.execute(mine).all(), session.execute(tried).all()
    wants_a_place = (Step.run_id == run.id, Step.status == StepStatus.QUEUED, Step.place_wanted_at.is_not(None))
    waiting = session.scalars(select(Step).where(*wants_a_place)).all()
    details = _steps(steps, attempts, pools.waits(session, run, waiting))
    return RunDetail(
        run=summary,
        params=run.params,
        scope=run.scope,
        generation=run.generation,
        revision=run.revision,
        code_version=run.code_version,
        steps=details,
        attempts=_attempts(steps, attempts),
        document_problems=_document_problems(session, run, stories),
        delivery_problems=_delivery_problems(session, run, stories, over=summary.over),
        events=_events(session, run),
        next=advice.next_move(summary, details, advice.outlook(session, run), clock(session)),
    )


# Just what is told of them, as plain rows: a run may have thousands, and their results may be large.
_OF_A_STEP = (
    Step.id, Step.name, Step.status, Step.queue, Step.task_id, Step.retry, Step.queued_at, Step.published_at,
    Step.not_before, Step.started_at, Step.finished_at, Step.lease_owner, Step.error, Step.generation,
)  # fmt: skip
# Not by the fence itself: whoever takes a step away raises that, too.
_NUMBER = func.row_number().over(partition_by=Attempt.step_id, order_by=Attempt.fence)
_OF_AN_ATTEMPT = (
    Attempt.step_id, Attempt.generation, _NUMBER.label("number"), Attempt.worker, Attempt.outcome, Attempt.started_at,
    Attempt.finished_at, Attempt.error, Attempt.traceback, Attempt.output,
)  # fmt: skip


def _steps(steps: Sequence[Any], attempts: Sequence[Any], waits: Mapping[UUID, str]) -> list[StepDetail]:
    outcomes: dict[tuple[UUID, int], Counter[str]] = defaultdict(Counter)
    for attempt in attempts:
        outcomes[attempt.step_id, attempt.generation][attempt.outcome] += 1
    return [_step(step, outcomes[step.id, step.generation], waits.get(step.id)) for step in steps]


def _step(step: Any, outcomes: Counter[str], waits: str | None) -> StepDetail:
    return StepDetail(
        name=step.name,
        kind=kind_of(step.name),
        status=step.status,
        queue=step.queue,
        task_id=step.task_id,
        tries=sum(count for outcome, count in outcomes.items() if outcome in TRIES),
        outcomes=dict(outcomes),
        retry=step.retry,
        queued_at=step.queued_at,
        published_at=step.published_at,
        next_try_at=None if waits else step.not_before,
        waits=waits,
        started_at=step.started_at,
        finished_at=step.finished_at,
        worker=step.lease_owner,
        error=step.error,
    )


def _attempts(steps: Sequence[Any], attempts: Sequence[Any]) -> list[AttemptDetail]:
    names = {step.id: step.name for step in steps}
    return [
        AttemptDetail(
            step=names[attempt.step_id],
            generation=attempt.generation,
            number=attempt.number,
            worker=attempt.worker,
            outcome=attempt.outcome,
            started_at=attempt.started_at,
            finished_at=attempt.finished_at,
            error=attempt.error,
            traceback=attempt.traceback,
            output=attempt.output,
        )
        for attempt in attempts
    ]


def _document_problems(session: Session, run: Run, stories: int | None) -> list[DocumentProblem]:
    told = (Document.status, Document.error)
    wrong = (Document.run_id == run.id, Document.status.in_((DocumentStatus.FAILED, DocumentStatus.SKIPPED)))
    # "failed" sorts before "skipped": what went wrong comes first.
    if stories is None:
        each = select(Document.key, *told).where(*wrong).order_by(Document.status, Document.key)
        return [DocumentProblem(*row) for row in session.execute(each)]
    first = func.min(Document.key)
    groups = select(first, *told, func.count() - 1).where(*wrong).group_by(*told).order_by(Document.status, first)
    return [DocumentProblem(*row) for row in session.execute(groups.limit(stories))]


def _delivery_problems(session: Session, run: Run, stories: int | None, *, over: bool) -> list[DeliveryProblem]:
    """Whatever is not accepted and, while the run goes on, not simply waiting for its turn."""
    fine = {DeliveryStatus.ACCEPTED} | (set() if over else OPEN_DELIVERY - {DeliveryStatus.DEFERRED})
    # Those that are wrong by name: an index finds them among a hundred thousand that are fine.
    wrong = (Delivery.run_id == run.id, Delivery.status.in_(set(DeliveryStatus) - fine))
    worst = case({status: number for number, status in enumerate(WORST_FIRST)}, value=Delivery.status, else_=99)
    told = (Delivery.channel, Delivery.status, Delivery.relay, Delivery.reply, Delivery.reason)
    if stories is None:
        each = select(Delivery.key, Delivery.address, *told, Delivery.not_before).where(*wrong)
        rows = session.execute(each.order_by(worst, Delivery.key, Delivery.address))
        return [DeliveryProblem(*row) for row in rows]
    named = (func.min(Delivery.key), func.min(Delivery.address))
    groups = select(*named, *told, func.min(Delivery.not_before), func.count() - 1).where(*wrong).group_by(*told)
    stories_told: Any = session.execute(groups.order_by(worst, *named).limit(stories))
    return [DeliveryProblem(*row) for row in stories_told]


def _events(session: Session, run: Run) -> list[Event]:
    rows = session.scalars(select(RunEvent).where(RunEvent.run_id == run.id).order_by(RunEvent.at, RunEvent.id))
    return [Event(row.at, row.kind, row.text) for row in rows]
