"""The engine: @step and @workflow, the tasks that open runs and answer for them, and the dispatch of canvases."""

from __future__ import annotations

import inspect
import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar, overload
from uuid import UUID

from celery import Task, chain, chord, group
from celery.canvas import Signature, _chain, _chord
from celery.exceptions import SoftTimeLimitExceeded
from celery.result import denied_join_result
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError, IntegrityError

from pipeline import leases, log
from pipeline.adapters import owners
from pipeline.celery import HARD_AFTER, QUEUES, TIME_LIMITS, app, broken_workflows, load_workflows
from pipeline.db import clock, is_away, persist, reading, transaction
from pipeline.errors import (
    BrokerAway,
    Cancelled,
    DefinitionError,
    PermanentError,
    Refused,
    Skip,
    StaleClaim,
    TransientError,
    Waiting,
)
from pipeline.failpoints import failpoint
from pipeline.handle import RunHandle
from pipeline.mistakes import did_you_mean
from pipeline.models import Door, Run, RunStatus, Step, StepStatus, Trigger
from pipeline.retry import Retry
from pipeline.schedule import Schedule
from pipeline.services import (
    approvals,
    cancelling,
    canvases,
    limits,
    priorities,
    publishing,
    rerunning,
    runs,
    schedules,
    steps,
    wish,
)
from pipeline.services.audit import Actor
from pipeline.settings import settings

logger = log.get(__name__)
# What a step returns is kept on its row and handed on; larger things are files.
LARGEST_RESULT = 64 * 1024
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class StepDefinition:
    """A step as its @step declares it."""

    function: Callable[..., Any]
    retry: Retry
    queue: str
    tolerated: bool

    @property
    def kind(self) -> str:
        return self.function.__name__


STEPS: dict[str, StepDefinition] = {}
WORKFLOWS: dict[str, Callable[..., Any]] = {}


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
        _check_new(name, found, getattr(STEPS.get(name), "function", None))
        STEPS[name] = StepDefinition(found, retry or Retry(), queue, tolerated)
        task = app.task(name=name, bind=True, soft_time_limit=limits[0], time_limit=limits[1], typing=False)
        return task(_carry_out)

    return declare if function is None else declare(function)


def workflow(function: Function) -> Function:
    """Make a function `(run, typed parameters…) -> canvas` a workflow, found by its name."""
    _check_new(function.__name__, function, WORKFLOWS.get(function.__name__))
    WORKFLOWS[function.__name__] = function
    return function


def _check_new(name: str, function: Callable[..., Any], known: Callable[..., Any] | None) -> None:
    """Raises DefinitionError for a name that another module has taken: one of the two would never be run."""
    if known is not None and known.__module__ != function.__module__:
        raise DefinitionError(f'"{name}" is taken by {known.__module__}.{known.__name__}: give it another name')


def find_workflow(name: str) -> Callable[..., Any]:
    """The workflow called `name`. Raises PermanentError with those that exist."""
    if name not in WORKFLOWS:
        hint = did_you_mean(name, WORKFLOWS, f"known workflows: {', '.join(sorted(WORKFLOWS))}")
        raise PermanentError("; ".join([f'there is no workflow "{name}": {hint}', *broken_workflows.values()]))
    return WORKFLOWS[name]


def bound_parameters(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The workflow's parameters by the types of its signature. Raises Refused for one that is unknown or wrong."""
    from pydantic import TypeAdapter, ValidationError

    known = {
        one.name: one for one in list(inspect.signature(find_workflow(name), eval_str=True).parameters.values())[1:]
    }
    for parameter in given.keys() - known.keys():
        hint = did_you_mean(parameter, known, f"known parameters: {', '.join(known) or 'none'}")
        raise Refused(f'there is no parameter "{parameter}": {hint}', field=f"params.{parameter}")
    bound = {}
    for parameter, one in known.items():
        if parameter not in given and one.default is inspect.Parameter.empty:
            missing = f'parameter "{parameter}" is missing: give it with -p {parameter}=…'
            raise Refused(missing, field=f"params.{parameter}")
        if parameter in given:
            kind = Any if one.annotation is inspect.Parameter.empty else one.annotation
            try:
                bound[parameter] = TypeAdapter(kind).validate_python(given[parameter])
            except ValidationError as error:
                wrong = f'parameter {parameter}="{given[parameter]}": {error.errors()[0]["msg"]}'
                raise Refused(wrong, field=f"params.{parameter}") from None
    return bound


# ---- carrying out one step: claim, act, record


def _carry_out(task: Task, step_id: str) -> None:
    # Durable: a claim that a crashed database forgot would leave no trace of this try, and its fence to somebody else.
    with transaction() as session:
        claim = steps.claim(session, UUID(step_id), task.request.id)
    if claim is None:
        logger.debug("nothing to do", step=step_id, task=task.request.id)
        return
    failpoint(f"{claim.step.kind}.claimed")
    carried = bool(task.request.chord or task.request.chain)
    definition = STEPS[claim.step.task]
    with log.bound(run=str(claim.run.id), step=claim.step.name):
        try:
            _act_and_record(definition, claim, carried=carried)
        except StaleClaim as stale:
            logger.warning(str(stale))
            with transaction(durable=False) as session:
                steps.lose_message(session, UUID(step_id), task.request.id)
        failpoint(f"{claim.step.kind}.recorded")
        publish(claim.run.id)
        _hand_on(claim.step.pool)


def _act_and_record(definition: StepDefinition, claim: steps.Claim, *, carried: bool) -> None:
    """Act, and write how it ended; the lease is renewed until that is written, however long the database is away."""
    acted = False
    with RunHandle(claim) as handle, leases.kept(handle):
        try:
            result, stages = _read(_called(definition, handle), handle)
            acted = True
            failpoint(f"{claim.step.kind}.acted")
            persist(lambda session: steps.record(session, claim, result, stages, carried=carried))
        except StaleClaim:
            raise
        except Exception as error:  # whatever a step raises becomes a row, never a lost message
            if acted and isinstance(error, DBAPIError) and is_away(error):
                raise  # done, and nobody could be told for so long: its lease lapses
            retry = Retry.from_json(claim.step.retry, on=definition.retry.on)
            failure = _named(error, retry, handle.cancelled)
            trace = getattr(failure, "trace", None)
            trace = traceback.format_exc() if trace is None else trace or None
            if isinstance(failure, Waiting):
                logger.info("step looks again", why=str(failure))
            else:
                logger.warning("step failed", error=str(failure))
            persist(lambda session: steps.record_failure(session, claim, failure, trace, retry, carried=carried))


def _called(definition: StepDefinition, handle: RunHandle) -> Any:
    step = handle.claim.step
    try:
        return definition.function(handle, *handle.claim.inputs, *step.args, **step.kwargs)
    except Skip as nothing_to_do:
        return runs.Verdict(RunStatus.SKIPPED, str(nothing_to_do))


def _named(error: Exception, retry: Retry, cancelled: str | None) -> Exception:
    """The error as a class that says whether trying again can help: ours, or one that the step's retry names."""
    if isinstance(error, SoftTimeLimitExceeded) and cancelled:
        return Cancelled(cancelled)
    if isinstance(error, SoftTimeLimitExceeded):
        limit = "its time limit" if retry.time_limit is None else f"its time limit of {retry.time_limit:g} s"
        return TransientError(f"took longer than {limit} allows and was stopped")
    if isinstance(error, DBAPIError) and is_away(error):
        return TransientError(f"the pipeline's database is away: {error.orig}")
    if isinstance(error, MemoryError):
        return TransientError("ran out of memory")
    if isinstance(error, (PermanentError, TransientError, *(retry.on if isinstance(retry.on, tuple) else [retry.on]))):
        return error
    return PermanentError(f"{type(error).__name__}: {error}")


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


# ---- canvases: Celery's own words for what comes next, kept as rows


def _read(returned: Any, handle: RunHandle) -> tuple[Any, list[list[canvases.Planned]]]:
    """What a step returned: a result to keep, or the stages of the canvas to run next."""
    if isinstance(returned, Signature):
        return None, [[_planned(one, handle.definition) for one in stage] for stage in stages_of(returned)]
    if isinstance(returned, runs.Verdict):
        return returned, []
    try:
        size = len(json.dumps(returned, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise PermanentError(f"step {handle.claim.step.name} returned what is not JSON: {error}") from None
    if size > LARGEST_RESULT:
        raise PermanentError(
            f"step {handle.claim.step.name} returned {size:,} bytes: use run.put(name, file) above 64 kB"
        )
    return returned, []


def stages_of(canvas: Signature) -> list[list[Signature]]:
    """The stages of a chain, chord, group or single step, in order.

    Raises Refused for a group whose members are not single steps: rows know one line of stages.
    """
    if isinstance(canvas, _chord):
        return [_members(canvas.tasks), *stages_of(canvas.body)]
    if isinstance(canvas, group):
        return [_members(canvas.tasks)]
    if isinstance(canvas, _chain):
        return [stage for one in canvas.tasks for stage in stages_of(one)]
    return [[canvas]]


def _members(members: Any) -> list[Signature]:
    found = list(members.tasks if isinstance(members, group) else members)
    for one in found:
        if isinstance(one, _chain | _chord | group):
            raise Refused("a group's members must be single steps: put what follows behind the group")
    if not found:
        raise Refused("a group is empty: leave it out, or skip the run")
    return found


def _planned(signature: Signature, definition: Schedule) -> canvases.Planned:
    if signature.task not in STEPS:
        raise Refused(f'"{signature.task}" is no step: decorate the function with @step')
    declared = STEPS[signature.task]
    said = [str(one) for one in (*signature.args, *signature.kwargs.values())]
    return canvases.Planned(
        name=":".join([declared.kind, *said]),
        task=signature.task,
        args=json.loads(json.dumps(signature.args, default=str)),
        kwargs=json.loads(json.dumps(signature.kwargs, default=str)),
        takes_results=not signature.immutable,
        tolerated=declared.tolerated,
        queue=declared.queue,
        pool=definition.pool_for(declared.kind, signature.options.get("pool")),
        retry=definition.retry_for(declared.kind, declared.retry),
    )


def publish(run_id: UUID) -> bool:
    """Publish the canvas of a run's steps that are due and have no message; True when there was one.

    A broker that is away costs nothing but time: the steps stay unpublished, and reconcile comes back to them.
    """
    try:
        return bool(publish_all([run_id]))
    except BrokerAway as error:
        logger.warning("the broker is away; reconcile publishes later", run=str(run_id), error=str(error))
        return False


def publish_all(run_ids: Sequence[UUID]) -> list[UUID]:
    """Publish the canvases of several runs, see `publish`: the runs that there was one of.

    Raises BrokerAway at the first one that cannot be; those before it are marked as published.
    """
    with reading() as session:
        ready = publishing.publishable(session, run_ids, clock(session))
    sent: list[UUID] = []
    try:
        # Nobody here waits for results: else every publish subscribes to them first, 20 s long if the broker is away.
        with denied_join_result():
            for run_id, stages in ready.items():
                _canvas(stages).apply_async()
                failpoint("publish.sent")
                sent.append(run_id)
    # What Celery's result store gives up with is a plain RuntimeError.
    except (BrokerError, ConnectionError, OSError, RuntimeError) as error:
        raise BrokerAway(str(error)) from error
    finally:
        if sent:
            with transaction(durable=False) as session:
                carried = [step for run_id in sent for stage in ready[run_id] for step in stage]
                publishing.mark_published(session, carried, clock(session))
    return sent


def _canvas(stages: Sequence[Sequence[Step]]) -> Signature:
    first, *later = [[_signature(one) for one in stage] for stage in stages]
    links = [stage[0] for stage in later]
    if len(first) == 1:
        return chain(first[0], *links) if links else first[0]
    if not links:
        return group(first)
    return chord(first, chain(*links) if len(links) > 1 else links[0])


def _signature(row: Step) -> Signature:
    """The message of one step: ids only; run and step stand in its headers, so that Flower's view matches ours."""
    return app.signature(
        row.task,
        kwargs={"step_id": str(row.id)},
        immutable=True,
        task_id=str(row.task_id),
        queue=row.queue,
        priority=priorities.for_broker(row.priority, app.conf.broker_url),
        headers={"run": str(row.run_id), "step": row.name},
        kwargsrepr=repr({"run": str(row.run_id), "step": row.name}),
        link_error=[failed.s()],
        **_limits(row),
    )


def _limits(row: Step) -> dict[str, float]:
    """The schedule's own limit of time for one attempt, where it says one: soft, and a while later hard."""
    limit = row.retry.get("time_limit")
    return {} if limit is None else {"soft_time_limit": limit, "time_limit": limit + HARD_AFTER}


# ---- tasks of the engine itself


@app.task(name="run.expand", bind=True, typing=False)
def _expand_task(self: Task, step_id: str) -> None:
    _carry_out(self, step_id)


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


@app.task(name="run.failed", ignore_result=True)
def failed(task_id: str) -> None:
    """The one error path: a step's task ended outside of our hands (killed, past its hard limit, unknown task).

    A dead process's claim is released here and now; a living one's is left to its lease. One that had recorded its step
    has not brought along what comes next.
    """
    with transaction() as session:
        row = session.scalar(select(Step).where(Step.task_id == UUID(task_id)))
        if row is None:
            return
        if row.status == StepStatus.RUNNING and row.lease_owner and owners.is_dead(row.lease_owner):
            steps.release(session, row, clock(session), _killed(row))
        elif row.finished_at is not None:
            steps.carries_nothing(session, row)
        run_id = row.run_id
    publish(run_id)


def _killed(row: Step) -> str:
    limit = row.retry.get("time_limit")
    of = "hard time limit" if limit is None else f"time limit of {limit:g} s"
    return f"its process was killed ({of}, memory or a signal)"


def trigger(request: runs.Request) -> tuple[UUID, bool]:
    """Open the run that `request` wishes for and publish its first step: the one path behind every door.

    Returns the run's id and whether it is new. Raises Refused or NotFound with a sentence.
    """
    run, new = open_run(request)
    if new:
        publish(run.id)
    return run.id, new


def open_run(request: runs.Request) -> tuple[Run, bool]:
    """Open the run without publishing it, for a caller that answers first; reconcile would publish it, too."""
    with reading() as session:
        _, definition = schedules.current(session, request.schedule_key)
    if definition.get("workflow"):
        load_workflows()  # a team's code may take its time: no writer waits for it
    try:
        return _opened(request)
    except IntegrityError:  # the same key for two schedules in the same moment: now the other one's run is there
        return _opened(request)


def _opened(request: runs.Request) -> tuple[Run, bool]:
    with transaction() as session:
        run, new = runs.open_run(session, request)
        if new and run.definition.get("workflow"):
            bound_parameters(run.workflow, run.params)
    return run, new


def rerun(run_id: UUID, actor: Actor, wish: rerunning.Wish) -> tuple[Run, bool]:
    """Reopen a run and publish where it begins: the one path behind every door; see `rerunning.rerun`."""
    with transaction() as session:
        run, new = rerunning.rerun(session, run_id, actor, wish)
    if new:
        publish(run_id)
    return run, new


@app.task(name="run.start", bind=True, typing=False)
def start(self: Task, schedule: Any = None, params: Any = None, **said: Any) -> str:
    """Open a run of `schedule`; returns its id. Celery's task id is its idempotency key.

    `said` are the other fields of `wish.Wish`: period, key, to, send, now, by. A wish that cannot be granted makes this
    task FAILURE with the sentence as its error.
    """
    wished = wish.read({"schedule": schedule, "params": params, **said}, "run.start")
    request = runs.Request(
        schedule_key=wished.schedule,
        params=wished.params,
        period=wished.period,
        keys=wished.key,
        to=wished.to,
        send=wished.send,
        at_once=wished.now,
        trigger=Trigger.API,
        actor=Actor(wished.by or self.request.origin or "call", Door.CELERY, self.request.origin),
        idempotency_key=self.request.id,
    )
    return str(trigger(request)[0])


@app.task(name="run.cancel", bind=True)
def cancel(self: Task, run: str, reason: str | None = None, by: str | None = None) -> dict[str, Any]:
    """End a run, for an application that only sends tasks: its id, and its status after that.

    Raises NotFound, and Refused for a run that has ended; both make this task FAILURE with the sentence as its error.
    """
    actor = Actor(by or "celery call", Door.CELERY, self.request.hostname)
    with transaction() as session:
        found = cancelling.cancel(session, runs.find(session, run).id, actor, reason)
        return {"id": str(found.id), "status": found.status}


@app.task(name="run.rerun", bind=True)
def rerun_task(self: Task, run: str, by: str | None = None, **said: Any) -> dict[str, Any]:
    """Reopen a run; `said` are the fields of `rerunning.Wish`. Answers with its id, status and generation.

    Raises NotFound, and Refused for what cannot be; both make this task FAILURE with the sentence as its error.
    """
    known = {one.name for one in fields(rerunning.Wish)}
    for name in said.keys() - known:
        hint = did_you_mean(name, known, f"it takes {', '.join(sorted(known))}")
        raise Refused(f'run.rerun has no "{name}": {hint}')
    actor = Actor(by or "celery call", Door.CELERY, self.request.hostname)
    with reading() as session:
        run_id = runs.find(session, run).id
    found, new = rerun(run_id, actor, rerunning.Wish(**said))
    return {"id": str(found.id), "status": found.status, "generation": found.generation, "new": new}


@app.task(name="run.approve", bind=True)
def approve(self: Task, run: str, note: str | None = None, by: str | None = None) -> dict[str, Any]:
    """Let a run that waits for an approval send what it has made; raises Refused for one that was answered before."""
    actor = Actor(by or "celery call", Door.CELERY, self.request.hostname)
    with transaction() as session:
        found, called = approvals.approve(session, actor, runs.find(session, run).id, note)
        said = {"id": str(found.id), "status": found.status}
    if called:
        publish(called)
    return said


@app.task(name="run.reject", bind=True)
def reject(self: Task, run: str, note: str | None = None, by: str | None = None) -> dict[str, Any]:
    """End a run that waits for an approval, nothing of it being sent; raises Refused as `run.approve` does."""
    actor = Actor(by or "celery call", Door.CELERY, self.request.hostname)
    with transaction() as session:
        found = approvals.reject(session, actor, runs.find(session, run).id, note)
        return {"id": str(found.id), "status": found.status}


@app.task(name="run.status")
def status(run: str) -> dict[str, Any]:
    """Where a run stands, as JSON: id, status, progress in numbers, error."""
    from pipeline.services import answers

    with reading() as session:
        return answers.progress(session, runs.find(session, run))
