"""The engine: a step is claimed, carried out, and recorded."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, overload
from uuid import UUID

from celery import Task
from celery.canvas import Signature
from celery.exceptions import Ignore, SoftTimeLimitExceeded
from sqlalchemy.exc import DBAPIError

from pipeline import leases, log
from pipeline.celery import QUEUES, TIME_LIMITS, app
from pipeline.db import clock, is_away, persist, reading, transaction
from pipeline.errors import Cancelled, DefinitionError, PermanentError, Skip, StaleClaim, TransientError, Waiting
from pipeline.failpoints import failpoint
from pipeline.handle import RunHandle
from pipeline.models import RunStatus
from pipeline.retry import Retry
from pipeline.services import limits, runs, steps
from pipeline.settings import settings
from pipeline.tasks.canvas import read
from pipeline.tasks.publishing import publish
from pipeline.tasks.registry import STEPS, StepDefinition, bound_parameters, check_new, find_workflow

logger = log.get(__name__)


@overload
def step(function: Callable[..., Any]) -> Task: ...
@overload
def step(
    *, retry: Retry = ..., queue: str = ..., tolerated: bool = ..., limits: tuple[float, float] = ...
) -> Callable[[Callable[..., Any]], Task]: ...
def step(
    function: Callable[..., Any] | None = None,
    *,
    retry: Retry | None = None,
    queue: str = "default",
    tolerated: bool = False,
    limits: tuple[float, float] = TIME_LIMITS,
) -> Any:
    """Make a function `(run, …)` a step: a Celery task that claims its row before and records it after.

    `retry` is the default that a schedule file may override; `queue` one of default, render, deliver; a `tolerated`
    step that fails lets its run go on to the next stage; `limits` are seconds, soft and hard. What the function returns
    is JSON up to 64 kB, or a Celery canvas of steps to run next. The next step, if it is put as `.s()` and not `.si()`,
    is given the list of what the stage before it returned: always a list, also of one.
    """

    def declare(found: Callable[..., Any]) -> Task:
        if queue not in QUEUES:
            raise DefinitionError(f'step {found.__name__}: queue "{queue}" is not one of {", ".join(QUEUES)}')
        name = f"{found.__module__.rpartition('.')[2]}.{found.__name__}"
        check_new(name, found, getattr(STEPS.get(name), "function", None))
        STEPS[name] = StepDefinition(found, retry or Retry(), queue, tolerated)
        task = app.task(name=name, bind=True, soft_time_limit=limits[0], time_limit=limits[1], typing=False)
        return task(carry_out)

    return declare if function is None else declare(function)


def carry_out(task: Task, step_id: str) -> None:
    # Durable: a claim that a crashed database forgot would leave no trace of this try, and its fence to somebody else.
    claim = persist(lambda session: steps.claim(session, UUID(step_id), task.request.id))
    if claim is None:
        _pass_over(task, step_id)
        return
    failpoint(f"{claim.step.kind}.claimed")
    carried = bool(task.request.chord or task.request.chain)
    definition = STEPS[claim.step.task]
    with log.bound(run=str(claim.run.id), step=claim.step.name):
        try:
            act_and_record(definition, claim, carried=carried)
        except StaleClaim as stale:
            logger.warning(str(stale))
            with transaction(durable=False) as session:
                steps.lose_message(session, UUID(step_id), task.request.id)
        failpoint(f"{claim.step.kind}.recorded")
        _pass_on(claim)


def _pass_over(task: Task, step_id: str) -> None:
    """There is nothing to do. Raises Ignore where somebody else is at it: a chord that counted this would end early."""
    logger.debug("nothing to do", step=step_id, task=task.request.id)
    with reading() as session:
        if steps.is_being_done(session, UUID(step_id), task.request.id):
            raise Ignore


def act_and_record(definition: StepDefinition, claim: steps.Claim, *, carried: bool) -> None:
    """Act, and write how it ended; the lease is renewed until that is written, however long the database is away."""
    acted = False
    with RunHandle(claim) as handle, leases.kept(handle):
        try:
            result, stages = read(_called(definition, handle), handle)
            handle.recording = acted = True
            failpoint(f"{claim.step.kind}.acted")
            persist(lambda session: steps.record(session, claim, result, stages, carried=carried))
        except StaleClaim:
            raise
        except Exception as error:  # whatever a step raises becomes a row, never a lost message
            if acted and _nobody_can_be_told(error, handle):
                raise  # for so long that its lease lapses
            handle.recording = True
            retry = Retry.from_json(claim.step.retry, on=definition.retry.on)
            failure = _stopped(error, claim, retry, handle) or _named(error, retry)
            trace = getattr(failure, "trace", None)
            trace = traceback.format_exc() if trace is None else trace or None
            if isinstance(failure, Waiting):
                logger.info("step looks again", why=str(failure))
            else:
                logger.warning("step failed", error=str(failure))
            persist(lambda session: steps.record_failure(session, claim, failure, trace, retry, carried=carried))


def _nobody_can_be_told(error: Exception, handle: RunHandle) -> bool:
    """Whether what is done could not be recorded: the database was away for too long, or for all of the step's time."""
    if isinstance(error, SoftTimeLimitExceeded):
        return not handle.cancelled
    return isinstance(error, DBAPIError) and is_away(error)


def _called(definition: StepDefinition, handle: RunHandle) -> Any:
    step = handle.claim.step
    try:
        return definition.function(handle, *handle.claim.inputs, *step.args, **step.kwargs)
    except Skip as nothing_to_do:
        return runs.Verdict(RunStatus.SKIPPED, str(nothing_to_do))


def _stopped(error: Exception, claim: steps.Claim, retry: Retry, handle: RunHandle) -> Exception | None:
    """Why the step did not come to its end, where it was stopped: libraries make anything of that."""
    interrupted = handle.interrupted or isinstance(error, SoftTimeLimitExceeded)
    if handle.cancelled and (interrupted or handle.ending):
        return Cancelled(handle.cancelled)
    if handle.ending:
        return handle.given_back()
    if not interrupted:
        return None
    soft = retry.time_limit or app.tasks[claim.step.task].soft_time_limit or TIME_LIMITS[0]
    return TransientError(f"took longer than its time limit of {soft:g} s allows and was stopped")


def _named(error: Exception, retry: Retry) -> Exception:
    """The error as a class that says whether trying again can help: ours, or one that the step's retry names."""
    if isinstance(error, DBAPIError) and is_away(error):
        return TransientError(f"the pipeline's database is away: {error.orig}")
    if isinstance(error, MemoryError):
        return TransientError("ran out of memory")
    if isinstance(error, (PermanentError, TransientError, *(retry.on if isinstance(retry.on, tuple) else [retry.on]))):
        return error
    return PermanentError(f"{type(error).__name__}: {error}")


def _pass_on(claim: steps.Claim) -> None:
    """Publish what comes next, and call who waits; where the database is away by now, reconcile does."""
    try:
        publish(claim.run.id)
        _hand_on(claim.step.pool)
    except DBAPIError as error:
        if not is_away(error):
            raise
        logger.warning("the database is away; reconcile publishes later", error=str(error.orig))


def _hand_on(pool: str | None) -> None:
    """Call whoever waits for the place that a step of this pool has left; reconcile would, too, a moment later."""
    size = settings().places.get(pool or "")
    if pool is None or size is None:
        return
    with reading() as session:
        if not limits.is_awaited(session, pool):
            return
    with transaction(durable=False) as session:
        called = limits.call_for(session, [limits.Limit(limits.POOL, pool, size)], clock(session))
    for run_id in called:
        publish(run_id)


@app.task(name="run.expand", bind=True, typing=False)
def _expand_task(self: Task, step_id: str) -> None:
    carry_out(self, step_id)


def expand(run: RunHandle) -> Signature:
    """The step `start`: the canvas of the run's workflow, made by its own function."""
    found = find_workflow(run.claim.run.workflow)
    canvas = found(run, **bound_parameters(run.claim.run.workflow, run.params if run.definition.workflow else {}))
    if not isinstance(canvas, Signature):
        raise PermanentError(
            f"workflow {run.claim.run.workflow} returned {type(canvas).__name__}, not a canvas of steps"
        )
    return canvas


STEPS[runs.START_TASK] = StepDefinition(expand, Retry(attempts=3, first=10), "default", tolerated=False)
