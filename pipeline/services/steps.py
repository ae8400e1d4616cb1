"""Steps as rows: planned by a canvas, claimed under a fence and a lease, recorded, joined, and published."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from pipeline.adapters import owners
from pipeline.db import clock
from pipeline.errors import ApprovalWanted, Blocked, Cancelled, Parked, PipelineError, StaleClaim, Waiting
from pipeline.models import (
    ACTIVE_STEP,
    FINAL_STEP,
    Attempt,
    Outcome,
    Run,
    RunStatus,
    Step,
    StepStatus,
    WaitingFor,
    new_id,
)
from pipeline.retry import Retry
from pipeline.services import approvals, blocks, canvases, limits, runs
from pipeline.settings import settings

# A step that kills its process this often is not tried again.
POISONOUS = 3
# Messages after which a step is given up whose task the workers do not know: seven minutes of them, by default.
UNKNOWN = 4
# How a step waits for what is outside, such as a dead relay (delivery.md: 30 s to 15 min), and for how long.
PARKING = Retry(attempts=1_000_000, first=30, factor=2, ceiling=900, give_up_after=86400)


@dataclass(frozen=True)
class Claim:
    """The right to carry out one step, until its lease lapses or somebody else takes it over."""

    run: Run
    step: Step
    fence: int
    attempt_id: UUID
    owner: str
    # When it was claimed (UTC).
    at: datetime
    # What the stage before it returned, where the step asked for it.
    inputs: tuple[Any, ...]

    @property
    def memory(self) -> dict[str, Any]:
        """What the last look of a step that waits has left for this one."""
        return _remembered(self.step.memory, self.step.generation)


# ---- claim


def claim(session: Session, step_id: UUID, task: str) -> Claim | None:
    """Claim the step that a message named, or None when there is nothing to do: done, too early, taken, or replaced.

    One guarded UPDATE raises the fence; a step whose owner died on this host is taken over at once.
    """
    now = clock(session)
    step = session.get(Step, step_id)
    if step is None or str(step.task_id) != task:
        return None
    run = None
    if step.stage == 1 or step.generation > 1 or step.task == runs.START_TASK:
        run = runs.lock(session, step.run_id)  # it may begin the run: before the step, as whoever cancels does
    if step.status == StepStatus.RUNNING and step.lease_owner and owners.is_dead(step.lease_owner):
        release(session, step, now)
        if step.status == StepStatus.QUEUED:
            step.task_id, step.published_at = UUID(task), now  # this message carries it on
        session.flush()
    is_due = step.status == StepStatus.QUEUED and (step.not_before is None or step.not_before <= now)
    if is_due and limits.has_to_wait(session, step, run, now):
        return None
    claimed = session.execute(
        update(Step)
        .where(Step.id == step_id, Step.status == StepStatus.QUEUED, Step.fence == step.fence)
        .where(or_(Step.not_before.is_(None), Step.not_before <= now))
        .values(
            status=StepStatus.RUNNING,
            fence=Step.fence + 1,
            lease_owner=owners.owner(),
            lease_until=now + timedelta(seconds=settings().lease),
            started_at=func.coalesce(Step.started_at, now),
            not_before=None,
            place_wanted_at=None,
        )
        .returning(Step.fence)
        .execution_options(synchronize_session=False)
    ).scalar_one_or_none()
    if claimed is None:
        return None
    run = _begun(session, step.run_id, now)
    attempt = Attempt(
        id=new_id(),
        run_id=run.id,
        step_id=step_id,
        generation=step.generation,
        fence=claimed,
        worker=owners.owner(),
        outcome=Outcome.RUNNING,
        started_at=now,
    )
    session.add(attempt)
    return Claim(run, step, claimed, attempt.id, owners.owner(), now, _inputs(session, step))


def _begun(session: Session, run_id: UUID, now: datetime) -> Run:
    """The run, marked as running from its first claim on, or again when late deliveries reopen it."""
    deferred = and_(Run.status == RunStatus.WAITING, Run.waiting_for == WaitingFor.DEFERRED)
    begins = session.execute(
        update(Run)
        .where(Run.id == run_id, or_(Run.status == RunStatus.QUEUED, deferred))
        .values(status=RunStatus.RUNNING, waiting_for=None, started_at=func.coalesce(Run.started_at, now))
        .execution_options(synchronize_session=False)
    )
    run = session.get_one(Run, run_id, populate_existing=True)
    if begins.rowcount:  # type: ignore[attr-defined]  # a cursor result: it has one
        runs.allow_time(run, now)
    return run


def _inputs(session: Session, step: Step) -> tuple[Any, ...]:
    """What the stage before it in the same canvas returned: always a list, in order.

    Celery hands on a bare value where a group happens to have one member; such code breaks on the day that it has.
    """
    if not step.takes_results:
        return ()
    before = select(Step).where(Step.run_id == step.run_id, Step.canvas == step.canvas, Step.stage == step.stage - 1)
    earlier = session.scalars(before.order_by(Step.ordinal)).all()
    return ([one.result for one in earlier],) if earlier else ()


def renew(session: Session, claim: Claim) -> None:
    """Extend the claim's lease. Raises StaleClaim when the step is somebody else's by now."""
    _write(session, claim, lease_until=clock(session) + timedelta(seconds=settings().lease))


def _write(session: Session, claim: Claim, **values: Any) -> None:
    """Write to the claimed step. Raises StaleClaim when the claim's fence is no longer the step's."""
    mine = (Step.id == claim.step.id, Step.fence == claim.fence, Step.status == StepStatus.RUNNING)
    statement = update(Step).where(*mine).values(**values).execution_options(synchronize_session=False)
    if not session.execute(statement).rowcount:  # type: ignore[attr-defined]  # a cursor result: it has one
        raise StaleClaim(f"step {claim.step.name} of run {claim.run.id} was taken over by another process")


# ---- record


def record(
    session: Session,
    claim: Claim,
    result: Any,
    stages: Sequence[Sequence[canvases.Planned]] = (),
    *,
    carried: bool = False,
) -> None:
    """The step succeeded, with its result, the canvas it returned, or the verdict it ends its run with.

    Raises StaleClaim when the step is no longer ours, and Refused for a canvas that cannot be (see `add_canvas`).
    `carried`: its Celery message brings the next stage's along (it ran in its chord or chain).
    """
    now = clock(session)
    verdict = result if isinstance(result, runs.Verdict) else None
    ends = verdict or not (stages or _has_pending(session, claim.run.id))
    run = (runs.lock_to_close if ends else runs.lock)(session, claim.run.id)
    kept = {"status": verdict.status, "error": verdict.error} if verdict else result
    _finish(session, claim, StepStatus.SUCCEEDED, now, result=kept)
    _end_attempt(session, claim, Outcome.SUCCEEDED, now)
    if runs.is_over(run):
        runs.close_leftovers(session, run)
        return
    runs.end_waiting_for_data(run, now)
    if verdict:
        runs.apply(session, run, verdict)
        return
    if stages and run.status != RunStatus.CANCELLING:
        canvases.add_canvas(session, run, stages, now)
    advance(session, run, claim.step.stage, now, carried=carried)


def _has_pending(session: Session, run_id: UUID) -> bool:
    """Whether stages are left that cannot begin before the step that asks has ended: only without any may it close."""
    return (
        session.scalar(select(Step.id).where(Step.run_id == run_id, Step.status == StepStatus.PENDING).limit(1))
        is not None
    )


def record_failure(
    session: Session, claim: Claim, error: Exception, trace: str | None, retry: Retry, *, carried: bool = False
) -> None:
    """The attempt failed: the step is parked for its next try, or ends; a step that is not tolerated ends its run."""
    now = clock(session)
    run = runs.lock_to_close(session, claim.run.id)
    named = f"{type(error).__name__}: {error}".removesuffix(": ")
    sentence = str(error) or named if isinstance(error, PipelineError) else named
    over = runs.is_over(run) or run.status == RunStatus.CANCELLING
    if isinstance(error, Waiting) and not over:
        _look_again(session, run, claim, error, now)
        return
    wait = None if over else _wait(session, claim, error, retry, now)
    if wait is not None:
        _queue_again(session, claim, now, wait, error=sentence, memory=None)
        outcome = Outcome.PARKED if isinstance(error, Parked) else Outcome.RETRY
        _end_attempt(session, claim, outcome, now, error=sentence, trace=trace)
        return
    stopped = isinstance(error, Cancelled)
    _finish(session, claim, StepStatus.CANCELLED if stopped else StepStatus.FAILED, now, error=sentence)
    outcome = Outcome.CANCELLED if stopped else Outcome.FAILED
    _end_attempt(session, claim, outcome, now, error=sentence, trace=None if stopped else trace)
    _after_failure(session, run, claim.step, sentence, now, carried=carried)


def _queue_again(session: Session, claim: Claim, now: datetime, wait: float, **values: Any) -> None:
    again = {
        "not_before": now + timedelta(seconds=wait),
        "task_id": canvases.task_id(claim.step.id, claim.step.generation, claim.fence),
        "published_at": None,
        "published": 0,
        "queued_at": now,
    }
    _finish(session, claim, StepStatus.QUEUED, now, **again, **values)


def _look_again(session: Session, run: Run, claim: Claim, error: Waiting, now: datetime) -> None:
    """Park a step that looked in vain; one look after the other is one row that grows longer, however many they are."""
    known = select(Step.memory).where(Step.id == claim.step.id).with_for_update(key_share=True)
    heard = _remembered(session.scalar(known), claim.step.generation)
    wait = error.again_in if heard == claim.memory else 0.0  # somebody has called while it looked
    memory = {"generation": claim.step.generation, "kept": {**heard, **error.memory}}
    _queue_again(session, claim, now, wait, error=str(error), memory=memory)
    before = (Attempt.step_id == claim.step.id, Attempt.fence == claim.fence - 1, Attempt.outcome == Outcome.PARKED)
    earlier = session.scalar(select(Attempt).where(*before, Attempt.generation == claim.step.generation))
    if earlier is None:
        _end_attempt(session, claim, Outcome.PARKED, now, error=str(error))
    else:
        session.execute(delete(Attempt).where(Attempt.id == claim.attempt_id))
        earlier.fence, earlier.worker, earlier.finished_at, earlier.error = claim.fence, claim.owner, now, str(error)
    if error.for_data:
        run.status, run.waiting_for, run.error = RunStatus.WAITING, WaitingFor.DATA, str(error)
    if isinstance(error, Blocked):
        blocks.block(session, run, str(error), tell=not error.known)
    if isinstance(error, ApprovalWanted):
        approvals.ask(session, run, str(error), error.facts)


def _remembered(memory: dict[str, Any] | None, generation: int) -> dict[str, Any]:
    return dict(memory["kept"]) if memory and memory["generation"] == generation else {}


def call(session: Session, step_id: UUID, **heard: Any) -> UUID | None:
    """Have a step that waits look at once, and find `heard` in its memory; its run, to be published, if it does.

    A step that is looking right now looks once more.
    """
    step = session.scalar(select(Step).where(Step.id == step_id).with_for_update(key_share=True))
    if step is None or step.status not in {StepStatus.QUEUED, StepStatus.RUNNING}:
        return None
    kept = {**_remembered(step.memory, step.generation), **heard}
    step.memory = {"generation": step.generation, "kept": kept}
    if step.status == StepStatus.RUNNING or step.not_before is None:
        return None
    step.not_before = clock(session)
    return step.run_id


def tries(session: Session, claim: Claim) -> int:
    """How many tries of the claimed step have failed since it was planned, or run again."""
    of_step = (Attempt.step_id == claim.step.id, Attempt.generation == claim.step.generation)
    return session.scalar(select(func.count()).where(*of_step, Attempt.outcome == Outcome.RETRY)) or 0


def keep_output(session: Session, attempt_id: UUID, output: str) -> None:
    """Keep what a program or a task of another application said, also when its step is somebody else's by now."""
    session.execute(update(Attempt).where(Attempt.id == attempt_id).values(output=output))


def _wait(session: Session, claim: Claim, error: Exception, retry: Retry, now: datetime) -> float | None:
    """Seconds until the next try, or None to give up; parking uses up no attempt, but has its limit in time."""
    outcome = Outcome.PARKED if isinstance(error, Parked) else Outcome.RETRY
    of_step = (Attempt.step_id == claim.step.id, Attempt.generation == claim.step.generation)
    before = session.scalar(select(func.count()).where(*of_step, Attempt.outcome == outcome)) or 0
    first = session.scalar(select(func.min(Attempt.started_at)).where(*of_step)) or now
    if outcome == Outcome.PARKED:
        patience = retry.give_up_after or PARKING.give_up_after
        retry = replace(PARKING, first=min(PARKING.first, retry.first), give_up_after=patience)
    return retry.decide(error, before + 1, str(claim.step.id), first, now)


def _after_failure(session: Session, run: Run, step: Step, error: str, now: datetime, *, carried: bool = False) -> None:
    if runs.is_over(run):
        runs.close_leftovers(session, run)
    elif step.tolerated or run.status == RunStatus.CANCELLING:
        advance(session, run, step.stage, now, carried=carried)
    elif runs.is_final(run):
        run.waiting_for = None
        runs.close_leftovers(session, run)
    else:
        runs.close(session, run, RunStatus.FAILED, f"{step.name}: {error}")


def _finish(session: Session, claim: Claim, status: StepStatus, now: datetime, **values: Any) -> None:
    finished_at = None if status == StepStatus.QUEUED else now
    said = {"error": None, **values}
    _write(session, claim, status=status, lease_owner=None, lease_until=None, finished_at=finished_at, **said)


def _end_attempt(
    session: Session,
    claim: Claim,
    outcome: Outcome,
    now: datetime,
    *,
    error: str | None = None,
    trace: str | None = None,
) -> None:
    session.execute(
        update(Attempt)
        .where(Attempt.id == claim.attempt_id)
        .values(outcome=outcome, finished_at=now, error=error, traceback=trace)
        .execution_options(synchronize_session=False)
    )


def advance(session: Session, run: Run, stage: int, now: datetime, *, carried: bool = False) -> None:
    """Queue the stage after `stage` when that one is finished; close a run that has none left.

    The run's row is locked, and its schedule's if it may be the last stage (see `runs.lock_to_close`).

    A body that its chord does not bring (`carried` is false, or a header step was tried again outside of it) counts as
    unpublished: the caller publishes it.
    """
    open_steps = select(Step.stage).where(Step.run_id == run.id, Step.status.not_in(FINAL_STEP))
    next_stage = session.scalar(open_steps.order_by(Step.stage).limit(1))
    if next_stage is None:
        if run.status == RunStatus.CANCELLING:
            runs.close_stopped(session, run)
        elif run.status in {RunStatus.QUEUED, RunStatus.RUNNING}:
            runs.close(session, run, RunStatus.SUCCEEDED)
        return
    if next_stage <= stage:
        return
    again = select(Step.id).where(Step.run_id == run.id, Step.stage == stage, Step.fence > 1).limit(1)
    outside = {} if carried and session.scalar(again) is None else {"published_at": None}
    session.execute(
        update(Step)
        .where(Step.run_id == run.id, Step.stage == next_stage, Step.status == StepStatus.PENDING)
        .values(status=StepStatus.QUEUED, queued_at=now, **outside)
        .execution_options(synchronize_session=False)
    )


def lose_message(session: Session, step_id: UUID, task: str) -> None:
    """Who was brought this message has done nothing that counts: if the step still waits for it, it is sent once more.

    So it does where a standby has taken over from a database before it had heard of the claim.
    """
    session.execute(
        update(Step)
        .where(Step.id == step_id, Step.task_id == UUID(task), Step.status == StepStatus.QUEUED)
        .values(published_at=None)
    )


def carries_nothing(session: Session, step: Step) -> None:
    """The message of a step that is done ended badly: its chord or chain does not bring the next stage along."""
    runs.lock(session, step.run_id)
    told = step.task_id
    session.refresh(step)
    if step.task_id != told or step.finished_at is None:  # meanwhile it is to be carried out again
        return
    step.fence += 1  # the others of its stage see it: `advance`
    following = (Step.run_id == step.run_id, Step.canvas == step.canvas, Step.stage == step.stage + 1)
    session.execute(
        update(Step)
        .where(*following, Step.status == StepStatus.QUEUED, Step.fence == 0)
        .values(published_at=None)
        .execution_options(synchronize_session=False)
    )


# ---- release of what died


def release(
    session: Session, step: Step, now: datetime, why: str = "its process died", *, blameless: bool = False
) -> None:
    """Take a running step away from an owner that died or fell silent; it is queued again, or failed as poisonous.

    `blameless`: the process was ended for reasons of its own, and that says nothing about the step.
    """
    run = runs.lock_to_close(session, step.run_id)
    fence, lease = step.fence, step.lease_until
    session.refresh(step)
    # Meanwhile recorded, taken over by somebody else, or renewed after all.
    if step.status != StepStatus.RUNNING or (step.fence, step.lease_until) != (fence, lease):
        return
    session.execute(
        update(Attempt)
        .where(Attempt.step_id == step.id, Attempt.fence == fence, Attempt.outcome == Outcome.RUNNING)
        .values(outcome=Outcome.PARKED if blameless else Outcome.ABANDONED, finished_at=now, error=why)
        .execution_options(synchronize_session=False)
    )
    killed = 0 if blameless else _deaths(session, step)
    # Raised here too: whoever comes back from the dead finds a fence that is not its own.
    step.fence, step.lease_owner, step.lease_until = fence + 1, None, None
    runs.note(
        session, run.id, "healed", f"{step.name}: {why}; " + ("given up" if killed >= POISONOUS else "queued again")
    )
    if run.status == RunStatus.CANCELLING:
        step.status, step.finished_at, step.error = StepStatus.CANCELLED, now, run.error
        session.flush()
        advance(session, run, step.stage, now)
        return
    if killed >= POISONOUS or runs.is_over(run):
        step.status, step.finished_at = StepStatus.FAILED, now
        died = "1 process" if killed == 1 else f"{killed} processes"
        step.error = f"abandoned: {died} died or fell silent while carrying it out, the last one: {why}"
        session.flush()
        _after_failure(session, run, step, step.error, now)
        return
    step.status, step.published_at, step.published, step.queued_at = StepStatus.QUEUED, None, 0, now
    step.task_id = canvases.task_id(step.id, step.generation, step.fence)


def owned_by(session: Session, owners: Collection[str]) -> Sequence[Step]:
    """The steps that these processes have claimed."""
    return session.scalars(select(Step).where(Step.status == StepStatus.RUNNING, Step.lease_owner.in_(owners))).all()


def hand_back(session: Session, step_id: UUID, now: datetime, why: str) -> None:
    """Queue a step again whose process was ended on purpose, unless it is somebody else's by now."""
    step = session.get_one(Step, step_id)
    if step.status == StepStatus.RUNNING and step.lease_owner and owners.is_dead(step.lease_owner):
        release(session, step, now, why, blameless=True)


def progressed(session: Session, attempt_id: UUID) -> None:
    """Something of this attempt stays done: should its process die, that is no sign that the step kills processes."""
    session.execute(update(Attempt).where(Attempt.id == attempt_id).values(progressed=True))


def _deaths(session: Session, step: Step) -> int:
    """How many processes in a row the step has cost without anything being done."""
    mine = (Attempt.step_id == step.id, Attempt.generation == step.generation)
    last = select(func.coalesce(func.max(Attempt.fence), 0)).where(*mine, Attempt.progressed).scalar_subquery()
    died = (*mine, Attempt.outcome == Outcome.ABANDONED, Attempt.fence > last)
    return session.scalar(select(func.count()).where(*died)) or 0


def working_on(session: Session, attempt_id: UUID, what: str) -> None:
    """Remember what the attempt is about to make: should its process die, that is suspected, and not its whole step."""
    mine = update(Attempt).where(Attempt.id == attempt_id)
    session.execute(mine.values(working_on=what, progressed=True))


@dataclass(frozen=True)
class Suspicion:
    """What earlier tries of a step say: whether care is called for, and what has cost processes often enough."""

    careful: bool = False
    deadly: frozenset[str] = frozenset()


def suspicion(session: Session, claim: Claim) -> Suspicion:
    """How this try is to go about it, by how those before it in the same generation ended."""
    mine = (Attempt.step_id == claim.step.id, Attempt.generation == claim.step.generation)
    wrong = (*mine, Attempt.outcome.in_((Outcome.ABANDONED, Outcome.RETRY)))
    if session.scalar(select(Attempt.id).where(*wrong).limit(1)) is None:
        return Suspicion()
    died = (*mine, Attempt.outcome == Outcome.ABANDONED, Attempt.working_on.is_not(None))
    # The first process died before anybody looked so closely.
    deadly = select(Attempt.working_on).where(*died).group_by(Attempt.working_on)
    found = session.scalars(deadly.having(func.count() >= POISONOUS - 1))
    return Suspicion(careful=True, deadly=frozenset(one for one in found if one is not None))


def not_known(session: Session, task: UUID, name: str, worker: str) -> None:
    """A worker was given the message of a step whose task it does not know: its file is missing there, or older.

    Reconcile sends the message again, since another worker may know it; after the `UNKNOWN`th time the step has failed.
    """
    step = session.scalar(select(Step).where(Step.task_id == task, Step.status == StepStatus.QUEUED))
    if step is None:
        return
    run = runs.lock_to_close(session, step.run_id)
    session.refresh(step)
    if step.status != StepStatus.QUEUED or step.task_id != task:
        return
    way = "put its file into the workflows/ of every worker, and start the workers again"
    step.error = f'worker {worker} does not know the task "{name}": {way}'
    if step.published < UNKNOWN:
        return
    now = clock(session)
    step.status, step.finished_at = StepStatus.FAILED, now
    step.error = f"given up after {step.published} messages: {step.error}"
    session.flush()
    _after_failure(session, run, step, step.error, now)


# ---- what waits


def wake(session: Session, queue: str, now: datetime, *, run_id: UUID | None = None, limit: int | None = None) -> None:
    """What waits in this queue for its next try is tried now: of one run or of all, and the first `limit` of it."""
    waiting: list[Any] = [ACTIVE_STEP, Step.status == StepStatus.QUEUED, Step.queue == queue, Step.not_before > now]
    if run_id is not None:
        waiting.append(Step.run_id == run_id)
    first = select(Step.id).where(*waiting).order_by(Step.not_before).limit(limit)
    session.execute(
        update(Step).where(Step.id.in_(first)).values(not_before=now).execution_options(synchronize_session=False)
    )


def at_work(session: Session, queue: str) -> int:
    """How many steps of this queue are being carried out, by all workers."""
    running = (ACTIVE_STEP, Step.status == StepStatus.RUNNING, Step.queue == queue)
    return session.scalar(select(func.count()).where(*running)) or 0
