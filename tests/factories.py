"""Rows for tests, one call each: every function commits by itself, so call it outside of any transaction.

The story: every Monday at 07:00 Berlin time each customer gets last week's shipments.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from pipeline import schedule as definitions
from pipeline.adapters.home import Loaded, ScheduleFile
from pipeline.db import reading, transaction
from pipeline.models import (
    Artifact,
    Attempt,
    Delivery,
    DeliveryAttempt,
    Document,
    Run,
    RunArtifact,
    RunEvent,
    Schedule,
    Step,
    new_id,
)
from pipeline.services import loading, runs, schedules
from pipeline.services.runs import Request

# Monday 16 November 2026, 07:00 in Berlin.
MONDAY = datetime(2026, 11, 16, 6, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SHIPMENTS: dict[str, Any] = {
    "report": {
        "name": "shipments",
        "title": "Your shipments",
        "period": "last_week",
        "database": "warehouse",
        "sql": "select * from shipments where shipped_at >= :start and shipped_at < :end",
        "split_by": "customer",
        "params": {"region": "eu", "limit": 10},
    },
    "when": {"cron": "0 7 * * mon", "timezone": "Europe/Berlin"},
    "recipients": [
        {"email": "anna@acme.example", "key": "ACME", "name": "Anna Miller"},
        {"email": "bob@globex.example", "key": "Globex", "name": "Bob Brown"},
    ],
}


def schedule_file(key: str = "shipments", **changes: Any) -> ScheduleFile:
    """A schedule file as it is read from a home, with some of its fields changed; None drops one."""
    definition = {name: value for name, value in {**SHIPMENTS, **changes}.items() if value is not None}
    parsed = definitions.parse(definition, f"schedules/{key}.yaml")
    return ScheduleFile(key, f"schedules/{key}.yaml", definition, parsed, definitions.revision(definition))


def make_schedule(key: str = "shipments", **changes: Any) -> Schedule:
    """The schedule's row, synced from a file like `schedule_file(key, **changes)` beside those that are there."""
    file = schedule_file(key, **changes)
    with transaction(durable=False) as session:
        loading.sync(session, Loaded({key: file}), retire=False)
        return session.get_one(Schedule, key)


def make_run(schedule: str = "shipments", *, due_at: datetime = MONDAY, **values: Any) -> Run:
    """A run with its step `start`, opened at `due_at`; `values` are columns, `params` and `scope` among them."""
    with reading() as session:
        missing = session.get(Schedule, schedule) is None
    if missing:
        make_schedule(schedule)
    with transaction(durable=False) as session:
        row, stored = schedules.current(session, schedule)
        definition = definitions.parse(stored, schedule)
        request = Request(schedule, trigger=values.pop("trigger", "schedule"))
        run = runs.add(session, request, row, stored, definition, due_at=due_at, now=due_at)
        _set(run, {"id": run.id, **values})
        return run


def finished_run(schedule: str = "shipments", *, due_at: datetime = MONDAY, **values: Any) -> Run:
    """A run that took twelve seconds; `status` succeeded unless said otherwise."""
    times = {"started_at": due_at + SECOND, "finished_at": due_at + 13 * SECOND}
    run = make_run(schedule, due_at=due_at, **{"status": "succeeded", **times, **values})
    with transaction(durable=False) as session:
        start = session.query(Step).filter_by(run_id=run.id).one()
        _set(start, {"status": "succeeded", "fence": 1, **times})
        session.add(_attempt(start, "succeeded", due_at))
    return run


def make_step(run: Run, name: str, *, status: str = "succeeded", attempts: tuple[str, ...] = (), **values: Any) -> Step:
    """A step of the run, behind those it has, with one attempt for each outcome in `attempts`."""
    at = run.created_at
    with transaction(durable=False) as session:
        ordinal = session.query(Step).filter_by(run_id=run.id).count()
        step = Step(
            id=new_id(),
            run_id=run.id,
            name=name,
            task=f"report.{name.partition(':')[0]}",
            args=[int(one) for one in name.split(":")[1:] if one.isdigit()],
            kwargs={},
            canvas=2,
            stage=1 + ordinal,
            ordinal=0,
            generation=1,
            status=status,
            queue="default",
            retry={"attempts": 5, "first": 30.0, "factor": 2.0, "ceiling": 900.0},
            task_id=new_id(),
            fence=len(attempts),
            published_at=at,
            queued_at=at,
            started_at=at if attempts else None,
            finished_at=at + 2 * SECOND if status in {"succeeded", "failed"} else None,
        )
        _set(step, values)
        session.add(step)
        session.flush()
        error = step.error or "it did not work"
        for number, outcome in enumerate(attempts, start=1):
            failed = outcome not in {"succeeded", "running"}
            trace = (
                f"Traceback (most recent call last):\nTransientError: {error}"
                if outcome in {"failed", "retry"}
                else None
            )
            session.add(_attempt(step, outcome, at, fence=number, error=error if failed else None, traceback=trace))
        return step


def _attempt(step: Step, outcome: str, at: datetime, *, fence: int = 1, **values: Any) -> Attempt:
    return Attempt(
        run_id=step.run_id,
        step_id=step.id,
        generation=1,
        fence=fence,
        worker="worker-1/5f2b/4711/99",
        outcome=outcome,
        started_at=at + fence * SECOND,
        finished_at=None if outcome == "running" else at + (fence + 1) * SECOND,
        **values,
    )


def make_document(run: Run, key: str = "ACME", *, status: str = "rendered", **values: Any) -> Document:
    """A document of the run; a rendered one has three pages."""
    with transaction(durable=False) as session:
        pages = 3 if status == "rendered" else None
        document = Document(id=new_id(), run_id=run.id, key=key, batch=0, rows=42, status=status, pages=pages)
        _set(document, values)
        session.add(document)
        return document


def make_file(run: Run, document: Document, uri: str, **values: Any) -> Artifact:
    """A stored file of the document, whose bytes are the caller's affair."""
    with transaction(durable=False) as session:
        kind = uri.rpartition(".")[2]
        artifact = Artifact(
            id=new_id(),
            sha256="0" * 64,
            kind="document",
            media_type="application/pdf",
            size=12_345,
            uri=uri,
            created_at=run.created_at,
        )
        _set(artifact, values)
        session.add(artifact)
        session.flush()
        name = f"document:{document.key}.{kind}"
        session.add(
            RunArtifact(run_id=run.id, name=name, artifact_id=artifact.id, document_id=document.id, format=kind)
        )
        return artifact


def make_delivery(
    run: Run, address: str = "anna@acme.example", key: str = "ACME", *, status: str = "accepted", **values: Any
) -> Delivery:
    """A delivery of the run; an accepted one was handed over to relay.example three minutes after the run was due."""
    with transaction(durable=False) as session:
        delivery = Delivery(
            id=new_id(),
            run_id=run.id,
            document_id=None,
            channel="email",
            address=address,
            key=key,
            batch=0,
            status=status,
            context={"name": None, "locale": None, "zone": None},
            message_id=f"<{new_id()}@example.com>",
        )
        accepted = {"relay": "smtp.example", "reply": "250 2.0.0 queued as 4F2A", "sent_at": run.due_at + 191 * SECOND}
        _set(delivery, {**(accepted if status == "accepted" else {}), **values})
        session.add(delivery)
        return delivery


def make_delivery_attempt(delivery: Delivery, event: str, at: datetime = MONDAY, **values: Any) -> DeliveryAttempt:
    with transaction(durable=False) as session:
        row = DeliveryAttempt(delivery_id=delivery.id, attempt_id=new_id(), at=at, event=event, **values)
        session.add(row)
        return row


def make_event(run_id: UUID, kind: str, text: str, at: datetime = MONDAY) -> RunEvent:
    with transaction(durable=False) as session:
        event = RunEvent(run_id=run_id, at=at, kind=kind, text=text)
        session.add(event)
        return event


def _set(row: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(row, name, value)
