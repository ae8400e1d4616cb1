"""Opens a run for a slot or a trigger, which is a row with its first step."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline import pools, schedule, timing
from pipeline.adapters import home
from pipeline.bulk import insert_all
from pipeline.db import clock
from pipeline.errors import Occupied, Refused
from pipeline.models import Run, RunStatus, Schedule, Step, Trigger, new_run_id
from pipeline.policies import Overlap
from pipeline.report import Scalar
from pipeline.services import audit, canvases, deadlines, limits, turns
from pipeline.services.audit import BEAT, Actor
from pipeline.services.due import zone_of
from pipeline.services.runs.binding import parameters
from pipeline.settings import settings

# The task that expands a run's one first step into its workflow's canvas, and the one that waits before it.
START_TASK = limits.START
READY_TASK = "waiting.ready"


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
                # As whoever sent it knows it: doors put who sends it in front.
                key = request.idempotency_key.partition("/")[2] or request.idempotency_key
                raise Occupied(f'the idempotency key "{key}" was used for another request: run {known.id}', known.id)
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
            run.run_id,
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
