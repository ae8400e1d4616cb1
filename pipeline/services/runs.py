"""Runs as rows: opening one for a slot or a trigger, naming one, and closing it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, cast, exists, select, update
from sqlalchemy.orm import Session

from pipeline import pools, schedule, timing
from pipeline.adapters import home
from pipeline.db import clock, insert_all
from pipeline.errors import NotFound, Occupied, Refused
from pipeline.mistakes import did_you_mean
from pipeline.models import (
    FINAL_RUN,
    Backfill,
    DeliveryStatus,
    Run,
    RunEvent,
    RunStatus,
    Schedule,
    Step,
    StepStatus,
    Trigger,
    WaitingFor,
    new_run_id,
)
from pipeline.policies import Overlap
from pipeline.report import Report, Scalar
from pipeline.services import audit, canvases, deadlines, limits, turns
from pipeline.services.audit import BEAT, Actor
from pipeline.services.due import zone_of
from pipeline.settings import settings


@dataclass(frozen=True)
class Verdict:
    """How a step ends its run, or what it leaves it waiting for."""

    status: RunStatus
    error: str | None = None
    waiting_for: WaitingFor | None = None


# The task that expands a run's one first step into its workflow's canvas, and the one that waits before it.
START_TASK = limits.START
READY_TASK = "waiting.ready"
# Runs that one pass looks at.
LIMIT = 500


@dataclass(frozen=True)
class Request:
    """A wish for one run, whichever door it came through."""

    schedule_key: str
    params: Mapping[str, Scalar] = field(default_factory=dict)
    period: str | None = None
    keys: Sequence[str] = ()
    to: Sequence[str] = ()
    send: bool = True
    # Without waiting for its data (`ready_when`, `after`).
    at_once: bool = False
    trigger: Trigger = Trigger.MANUAL
    actor: Actor = BEAT
    # Scoped to the caller by whoever makes it; `celery call` uses its task id.
    idempotency_key: str | None = None

    @property
    def scope(self) -> dict[str, Any]:
        narrowed = {"keys": sorted(self.keys), "to": sorted(self.to), "send": self.send}
        return {**narrowed, "now": True} if self.at_once else narrowed

    @property
    def told(self) -> dict[str, Any]:
        """What of it goes on record for good: to how many addresses, but not which; the run itself knows them."""
        return {
            "period": self.period,
            "params": dict(self.params),
            "keys": list(self.keys),
            "to": len(self.to) or None,
            "send": None if self.send else False,
            "now": self.at_once or None,
        }

    @property
    def hash(self) -> str:
        """The same wish has the same hash; the same idempotency key with another hash is refused."""
        said = [self.schedule_key, dict(self.params), self.period, self.scope]
        return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def open_run(session: Session, request: Request) -> tuple[Run, bool]:
    """The run that `request` wishes for, and whether it is new; the same idempotency key gives the same run.

    Raises NotFound for an unknown schedule and Refused for a parameter, period or address that cannot be.
    """
    from pipeline.services import schedules

    for address in request.to:
        if not re.fullmatch(r"[^\s@]+@[^\s@]+", address):
            raise Refused(f'"{address}" is not an e-mail address: write it like ops@example.com', field="to")
    now = clock(session)
    row, stored = schedules.current(session, request.schedule_key)
    session.refresh(row, with_for_update={"key_share": True})
    if request.idempotency_key:
        known = session.scalar(select(Run).where(Run.idempotency_key == request.idempotency_key))
        if known is not None:
            if known.request_hash != request.hash:
                raise Refused(
                    f'the idempotency key "{request.idempotency_key}" was used for another request: run {known.id}'
                )
            return known, False
    definition = schedule.parse(stored, f"schedule {row.key}")
    _refuse_a_second(session, row.key, definition)
    run = add(session, request, row, stored, definition, due_at=now, now=now)
    audit.record(session, request.actor, "trigger", "run", run.id, schedule=row.key, at=now, **request.told)
    return run, True


def refuse_a_second(session: Session, run: Run) -> None:
    """Raises Occupied when the run, which has ended, would overlap with one of its schedule that is active."""
    _refuse_a_second(session, run.schedule_key, schedule.parse(run.definition, f"run {run.id}"))


def _refuse_a_second(session: Session, key: str, definition: schedule.Schedule) -> None:
    """Raises Occupied when the schedule lets one run at a time, and one is active."""
    if definition.overlap == Overlap.ALLOW:
        return
    for run in turns.in_the_way(session, [key]).get(key, []):
        raise Occupied(
            f"run {run.run_id} of {key} is {run.doing}, and its runs do not overlap (overlap: {definition.overlap}): "
            f"`pipeline show {run.run_id}` shows how far it is, `pipeline cancel {run.run_id}` ends it",
            run_id=run.run_id,
        )


def draft(
    request: Request,
    definition: schedule.Schedule,
    stored: dict[str, Any],
    revision: str,
    *,
    due_at: datetime,
    now: datetime,
    code_version: str,
    not_before: datetime | None = None,
) -> Run:
    """A new run, in no database yet; `stored`, which `definition` was read from, is pinned.

    So are its parameters, its deadlines, and its period, computed from `due_at` (UTC) in the schedule's zone. Raises
    Refused for those that cannot be.
    """
    _check_scope(request, definition)
    zone = zone_of(definition)
    start_by, finish_by = deadlines.of(definition, request.trigger, request.scope, not_before or due_at)
    return Run(
        id=new_run_id(),
        workflow=definition.workflow or definition.kind,
        schedule_key=request.schedule_key,
        revision=revision,
        trigger=request.trigger,
        triggered_by=str(request.actor),
        idempotency_key=request.idempotency_key,
        request_hash=request.hash,
        due_at=due_at,
        zone=zone,
        period=period_of(request.period or definition.period_spec, due_at, zone).to_json(),
        params=parameters(definition, request.params),
        scope=request.scope,
        definition=stored,
        code_version=code_version,
        not_before=not_before,
        start_by=start_by,
        finish_by=finish_by,
        status=RunStatus.QUEUED,
        generation=1,
        created_at=now,
    )


def _check_scope(request: Request, definition: schedule.Schedule) -> None:
    """Raises Refused where less than all is wished of what can only be done as a whole."""
    if definition.kind in {"command", "task"} and (request.keys or request.to or not request.send):
        raise Refused(
            f"{request.schedule_key} runs a {definition.kind}, and that as a whole: keys, addresses and not to send "
            "(--key, --to, --no-send) are for reports",
            field="keys" if request.keys else "to" if request.to else "send",
        )


def add_all(session: Session, drafts: Sequence[Run]) -> None:
    """Insert the runs, each with its first step: queued, or pending where the run was opened to wait for its turn.

    It is `start`; one that has to wait for its data first is `ready`, with `start` behind it.
    """
    columns = [column.key for column in Run.__table__.columns]
    insert_all(session, Run, [{name: getattr(run, name) for name in columns} for run in drafts])
    insert_all(session, Step, [row for run in drafts for row in canvases.first_rows(run, _first_steps(run))])


def _first_steps(run: Run) -> list[canvases.Planned]:
    start = canvases.Planned(name="start", task=START_TASK)
    condition = run.definition.get("ready_when")
    if run.scope.get("now") or not (condition or run.definition.get("after")):
        return [start]
    pool = pools.of_kind(run.definition, "ready", (condition or {}).get("database"))
    return [canvases.Planned(name="ready", task=READY_TASK, pool=pool), start]


def add(
    session: Session,
    request: Request,
    row: Schedule,
    stored: dict[str, Any],
    definition: schedule.Schedule,
    *,
    due_at: datetime,
    now: datetime,
) -> Run:
    """Insert a new run of the schedule `row`, see `draft`, with its one step `start`."""
    version = home.code_version(settings().home)
    run = draft(request, definition, stored, row.revision, due_at=due_at, now=now, code_version=version)
    session.flush()  # the schedule's row may be new, too
    add_all(session, [run])
    return session.get_one(Run, run.id)


def period_of(spec: str, at: datetime, zone: str) -> timing.Period:
    """The period that `spec` means at the instant `at`, local to `zone`. Raises Refused for one that cannot be."""
    try:
        return timing.period(spec, at, zone)
    except ValueError as error:
        raise Refused(str(error), field="period") from None


def parameters(definition: schedule.Schedule, given: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The report's defaults, under the schedule's values, under those of the trigger.

    Raises Refused for one that the report does not have, or of the wrong type.
    """
    if definition.kind == "workflow":  # its own signature says what it takes
        return {**definition.params, **given}
    defaults = definition.report.params if isinstance(definition.report, Report) else definition.params
    for name in {**definition.params, **given}:
        if name not in defaults:
            known = (
                f"known parameters: {', '.join(sorted(defaults))}"
                if defaults
                else f"the {definition.kind} has no parameters"
            )
            hint = did_you_mean(name, defaults, known)
            raise Refused(f'there is no parameter "{name}": {hint}', field=f"params.{name}")
    merged = {**definition.params, **given}
    return {**defaults, **{name: _like(name, value, defaults[name]) for name, value in merged.items()}}


def _like(name: str, value: Scalar, default: Scalar) -> Scalar:
    """`value`, which may be text from a command line, as the type of the parameter's default."""
    field = f"params.{name}"
    if not isinstance(value, str | int | float | None):
        raise Refused(
            f"parameter {name}={json.dumps(value, default=str)}: must be one value, not a list or mapping", field=field
        )
    if default is None or value is None:
        return value
    if isinstance(default, str):
        return str(value)
    if isinstance(default, bool):
        said = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(str(value).lower())
        if said is None:
            raise Refused(f'parameter {name}="{value}": must be true or false', field=field)
        return said
    try:
        return _number(value, type(default))
    except ValueError:
        wanted = "a whole number" if isinstance(default, int) else "a number"
        wrong = f'parameter {name}="{value}": must be {wanted}, as its default {default} is'
        raise Refused(wrong, field=field) from None


def _number(value: str | float, kind: type[int | float]) -> int | float:
    """Raises ValueError for what is no number of that kind: no half is cut off, and infinity is none."""
    number = kind(value)
    if isinstance(value, bool) or not math.isfinite(number) or (isinstance(value, float) and number != value):
        raise ValueError(value)
    return number


def find(session: Session, text: str | None) -> Run:
    """The run that `text` names: an id or its beginning, a task id, NAME, NAME@2026-11-16, or nothing for the latest.

    A day is the local one that a run was due on or, where none was, what its period is called, such as 2026-W46.
    Raises NotFound when nothing fits, Refused when several do.
    """
    if not text:
        return _first(session, select(Run), "there is no run yet: `pipeline trigger NAME` makes one")
    by_key = session.scalar(select(Run).where(Run.idempotency_key == text))
    if by_key is not None:
        return by_key
    digits = text.replace("-", "").lower()
    if len(digits) >= 4 and set(digits) <= set("0123456789abcdef"):
        found = _by_beginning(session, digits)
        if found is not None:
            return found
    name, _, day = text.partition("@")
    of_name = select(Run).where(Run.schedule_key == name)
    if not day:
        return _first(session, of_name, _nothing_called(session, name))
    return _of_day(session, of_name, name, day)


def _by_beginning(session: Session, digits: str) -> Run | None:
    if len(digits) > 32:
        return None
    low, high = (UUID(digits.ljust(32, fill)) for fill in "0f")
    runs = session.scalars(select(Run).where(Run.id.between(cast(low, Uuid), cast(high, Uuid))).limit(3)).all()
    if len(runs) > 1:
        raise Refused(
            f'"{digits}" is the beginning of several runs, such as {runs[0].id} and {runs[1].id}: type more of it'
        )
    if not runs and len(digits) == 32:
        return session.scalar(select(Run).join(Step, Step.run_id == Run.id).where(Step.task_id == UUID(digits)))
    return runs[0] if runs else None


def _of_day(session: Session, of_name: Any, name: str, day: str) -> Run:
    about: Run | None = None
    for run in session.scalars(of_name.order_by(Run.created_at.desc()).limit(2000)):
        if day == run.due_at.astimezone(timing.find_zone(run.zone)).date().isoformat():
            return run  # type: ignore[no-any-return]
        if about is None and day == run.period["label"]:
            about = run
    if about is None:
        raise NotFound(f'there is no run of "{name}" due on or about {day}: `pipeline runs {name}` lists them')
    return about


def _first(session: Session, statement: Any, otherwise: str) -> Run:
    run = session.scalar(statement.order_by(Run.created_at.desc(), Run.id.desc()).limit(1))
    if run is None:
        raise NotFound(otherwise)
    return run  # type: ignore[no-any-return]


def _nothing_called(session: Session, name: str) -> str:
    # By their schedules: to look for what is distinct among a million runs takes a second.
    has_run = exists().where(Run.schedule_key == Schedule.key)
    known = session.scalars(select(Schedule.key).where(has_run).order_by(Schedule.key)).all()
    hint = did_you_mean(name, known, f"there are runs of {', '.join(known) or 'nothing'}")
    return f'there is no run "{name}": {hint}'


def goes_on(session: Session, run_id: UUID) -> bool:
    """Whether work may be done for the run now: it has not ended, nor is it being cancelled."""
    run = session.get_one(Run, run_id, populate_existing=True)
    return not is_over(run) and run.status != RunStatus.CANCELLING


def lock(session: Session, run_id: UUID) -> Run:
    """The run's row, locked until the transaction ends: whoever joins its steps goes through here."""
    # NO KEY UPDATE: a plain FOR UPDATE makes a claim, which holds its step and refers to the run, wait for whoever
    # closes the run and waits for that step.
    locked = select(Run).where(Run.id == run_id).with_for_update(key_share=True)
    return session.scalars(locked.execution_options(populate_existing=True)).one()


def lock_to_close(session: Session, run_id: UUID) -> Run:
    """The run's row, locked behind its schedule's: whoever may end the run goes through here."""
    turns.lock(session, session.scalars(select(Run.schedule_key).where(Run.id == run_id)).one())
    return lock(session, run_id)


def close(
    session: Session, run: Run, status: RunStatus, error: str | None = None, waiting_for: WaitingFor | None = None
) -> None:
    """End a run whose row, and schedule's row, is locked: what has not started of it never will, nor is it sent.

    With `waiting_for` its deferred deliveries are still made, and complete it later. The run that waits for its turn
    behind it is queued.
    """
    from pipeline.services import notices
    from pipeline.services.notices import endings

    now = clock(session)
    run.status, run.error, run.finished_at, run.waiting_for = status, error, now, waiting_for
    close_leftovers(session, run)
    _cancel_unstarted(session, run, now)
    session.flush()
    notices.aside(session, lambda: endings.run_ended(session, run))
    if run.backfill_id is None:
        turns.begin_next(session, run.schedule_key)
    else:
        turns.begin_next_of(session, session.get_one(Backfill, run.backfill_id))


def cancel(session: Session, run: Run, by: str, reason: str | None = None) -> None:
    """End a run whose row, and schedule's row, is locked: at once, or as soon as what is at work of it is done.

    Nothing of it starts any more; what went out stays recorded. One that has ended but for late deliveries gives those
    up; one that is over, or is being cancelled, stays as it is.
    """
    if is_over(run) or run.status == RunStatus.CANCELLING:
        return
    said = f"cancelled by {by}{f': {reason}' if reason else ''}"
    note(session, run.id, "cancelled", said)
    if is_final(run):
        _give_up_late(session, run, said)
        return
    run.stop_at = None
    _stop(session, run, said)


def _stop(session: Session, run: Run, said: str) -> None:
    at_work = select(Step.id).where(Step.run_id == run.id, Step.status == StepStatus.RUNNING).limit(1)
    run.error, run.waiting_for = said, None
    if session.scalar(at_work) is None:
        close_stopped(session, run)
        return
    run.status = RunStatus.CANCELLING
    _cancel_unstarted(session, run, clock(session))


def close_stopped(session: Session, run: Run) -> None:
    """End a run that was stopped, once nothing of it is at work: as cancelled, or as failed if its time was used up."""
    close(session, run, RunStatus.FAILED if run.stop_at else RunStatus.CANCELLED, run.error)


# ---- the time that a run may take


def go_on(run: Run, now: datetime) -> None:
    """The run, whose row is locked, works, or works again after it has waited: its time counts from here."""
    run.status, run.waiting_for, run.error = RunStatus.RUNNING, None, None
    allow_time(run, now)


def allow_time(run: Run, now: datetime) -> None:
    """The run has its whole time from `now` on."""
    limit = run.definition.get("time_limit")
    run.stop_at = now + timing.parse_duration(limit) if limit else None


def out_of_time(session: Session, now: datetime) -> Sequence[UUID]:
    """Runs that work, and whose time is used up; while one waits for a person or its data, nothing is counted."""
    over = (Run.stop_at.is_not(None), Run.stop_at <= now, Run.finished_at.is_(None), Run.status == RunStatus.RUNNING)
    return session.scalars(select(Run.id).where(*over).order_by(Run.stop_at).limit(LIMIT)).all()


def stop_if_out_of_time(session: Session, run: Run, now: datetime) -> None:
    """End the run, whose row and whose schedule's row is locked, as failed if its time is used up.

    As when somebody cancels it: what is at work stops, nothing else begins, what went out stays recorded.
    """
    if run.status != RunStatus.RUNNING or run.stop_at is None or run.stop_at > now:
        return
    said = f"took longer than its time limit of {run.definition.get('time_limit')} allows and was stopped"
    note(session, run.id, "stopped", said)
    _stop(session, run, said)


def _give_up_late(session: Session, run: Run, said: str) -> None:
    from pipeline.services import deliveries

    run.waiting_for = None
    deliveries.close_open(session, run.id, DeliveryStatus.CANCELLED, f"not sent: {said}", deferred=True)
    _cancel_unstarted(session, run, clock(session))


def being_cancelled(session: Session, run_id: UUID) -> str | None:
    """Why the run is to end, while its steps at work have not stopped yet; None for any other."""
    cancelling = (Run.id == run_id, Run.status == RunStatus.CANCELLING)
    row = session.execute(select(Run.error).where(*cancelling)).one_or_none()
    return None if row is None else row[0] or "the run is cancelled"


def _cancel_unstarted(session: Session, run: Run, now: datetime) -> None:
    unstarted = (StepStatus.PENDING, StepStatus.QUEUED)
    session.execute(
        update(Step)
        .where(Step.run_id == run.id, Step.status.in_(unstarted))
        .values(status=StepStatus.CANCELLED, finished_at=now)
        .execution_options(synchronize_session="fetch")
    )


def close_leftovers(session: Session, run: Run) -> None:
    """End what an ended run has not rendered or sent: when it ends, and again when a step that was at work is done."""
    from pipeline.services import deliveries, documents

    ended = run.error or f"the run ended as {run.status}"
    deferred = run.waiting_for != WaitingFor.DEFERRED
    deliveries.close_open(session, run.id, DeliveryStatus.CANCELLED, f"not sent: {ended}", deferred=deferred)
    documents.close_planned(session, run.id, f"not rendered: {ended}")


def apply(session: Session, run: Run, verdict: Verdict) -> None:
    """Close a run whose row is locked, or leave it open with what it waits for; one that has ended may end better."""
    if is_final(run):
        _end_anew(session, run, verdict)
    elif verdict.status == RunStatus.WAITING and run.status == RunStatus.CANCELLING:
        close_stopped(session, run)
    elif verdict.status == RunStatus.WAITING:
        run.status, run.waiting_for, run.error = RunStatus.WAITING, verdict.waiting_for, verdict.error
    else:
        close(session, run, verdict.status, verdict.error, verdict.waiting_for)


def end_waiting_for_data(run: Run, now: datetime) -> None:
    """The run, whose row is locked, goes on if it was its data that it waited for."""
    if run.status == RunStatus.WAITING and run.waiting_for == WaitingFor.DATA:
        go_on(run, now)


def _end_anew(session: Session, run: Run, verdict: Verdict) -> None:
    """Late deliveries change how a run ended, if its deliveries were what it ended by; when it ended stays."""
    from pipeline.services.notices import endings

    run.waiting_for = verdict.waiting_for
    counted = select(Step.id).where(Step.run_id == run.id, Step.task == "report.finish", Step.result.is_not(None))
    if run.status not in {RunStatus.SUCCEEDED, RunStatus.PARTIAL, RunStatus.FAILED} or session.scalar(counted) is None:
        return
    status = RunStatus.PARTIAL if verdict.status == RunStatus.WAITING else verdict.status
    if status != run.status:
        note(session, run.id, "completed", f"{run.status} before, {status} now")
    run.status, run.error = status, verdict.error
    if status == RunStatus.SUCCEEDED:
        endings.run_ended(session, run)


def is_final(run: Run) -> bool:
    return run.status in FINAL_RUN


def is_over(run: Run) -> bool:
    """Whether nothing more happens to it: final, and no late deliveries are to complete it."""
    return is_final(run) and run.waiting_for is None


def note(session: Session, run_id: UUID, kind: str, text: str) -> None:
    """Append a line to the run's history."""
    session.add(RunEvent(run_id=run_id, at=clock(session), kind=kind, text=text))


def last_note(session: Session, run_id: UUID, kind: str) -> str | None:
    """The newest line of this kind in the run's history."""
    mine = select(RunEvent.text).where(RunEvent.run_id == run_id, RunEvent.kind == kind)
    return session.scalar(mine.order_by(RunEvent.id.desc()).limit(1))
