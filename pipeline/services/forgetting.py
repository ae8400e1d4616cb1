"""A person is forgotten on demand: what rows and files say of an address goes, and counts stay as they are."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, cast, delete, exists, func, inspect, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from pipeline.bulk import CHUNK, insert_new
from pipeline.db import clock
from pipeline.errors import Refused
from pipeline.models import (
    FINAL_RUN,
    Approval,
    Artifact,
    Attempt,
    Audit,
    Backfill,
    Delivery,
    DeliveryAttempt,
    DeliveryDocument,
    DeliveryStatus,
    Document,
    Notice,
    NoticeDelivery,
    OptOut,
    Recipient,
    Relay,
    Run,
    RunArtifact,
    RunEvent,
    Schedule,
    ScheduleRevision,
    Slot,
    Step,
    Subscription,
    Suppression,
    new_id,
)
from pipeline.services import audit
from pipeline.services.answers import wording
from pipeline.services.audit import Actor

# What a text says instead of the address.
GONE = "(forgotten)"
# Datasets of people; those of a run that has ended are needed by nobody, until it is planned anew.
DATASETS = ("dataset:recipients", "dataset:subscriptions")
TEXTS: tuple[InstrumentedAttribute[Any], ...] = (
    Delivery.reply, Delivery.reason, DeliveryAttempt.text, RunEvent.text, Run.error, Step.error, Document.error,
    Attempt.error, Attempt.traceback, Attempt.output, Relay.last_error, Relay.block_reason, Relay.stop_reason,
    NoticeDelivery.answer, Approval.reason, Approval.note, Approval.answered_by, Run.triggered_by,
    Backfill.triggered_by, Backfill.cancelled_by, Schedule.note, Schedule.paused_by, Slot.reason,
)  # fmt: skip
VALUES: tuple[InstrumentedAttribute[Any], ...] = (Run.scope, Run.params, Document.context, Notice.facts, Step.result)
# Of these no two may become the same.
UNIQUE: tuple[InstrumentedAttribute[Any], ...] = (Run.idempotency_key,)


@dataclass
class Forgotten:
    """What went, by kind. `deliveries` are those that named the address, `files` the stored ones that were let go of.

    `stays`: what cannot be changed, or not yet, in sentences.
    """

    counts: Counter[str] = field(default_factory=Counter)
    deliveries: list[UUID] = field(default_factory=list)
    documents: list[UUID] = field(default_factory=list)
    files: list[UUID] = field(default_factory=list)
    stays: list[str] = field(default_factory=list)


def forget(session: Session, actor: Actor, address: str, mark: str) -> Forgotten:
    """Erase what rows say of the address, and let go of the files that are about it alone (`unused`).

    What was to be sent is not sent any more; `mark`, a keyed hash, keeps the address suppressed. Raises Refused while
    a message is on its way. A caller that only wants to know rolls back.
    """
    done = Forgotten()
    mine = _is(Delivery.address, address)
    if session.scalar(select(exists().where(mine, Delivery.status == DeliveryStatus.SENDING))):
        raise Refused("a message to this address is just on its way: do it again in a minute")
    done.deliveries = list(session.scalars(select(Delivery.id).where(mine)))
    done.documents = list(session.scalars(_only_theirs(address)))
    _let_go_of_files(session, address, done)
    _rows(session, actor, address, mark, done)
    _deliveries(session, address, done)
    _texts(session, address, done)
    _definitions(session, address, done)
    _what_stays(session, address, done)
    audit.record(
        session, actor, "forget", "address", mark, counts={name: count for name, count in done.counts.items() if count}
    )
    return done


def unused(session: Session, done: Forgotten) -> list[Artifact]:
    """Of the files that were let go of, those that no run knows any more: they can be deleted at once."""
    known = exists().where(RunArtifact.artifact_id == Artifact.id)
    found: list[Artifact] = []
    for at in range(0, len(done.files), CHUNK):
        some = Artifact.id.in_(done.files[at : at + CHUNK])
        found += session.scalars(select(Artifact).where(some, ~known))
    return found


def _is(column: Any, address: str) -> ColumnElement[bool]:
    return or_(column == address, func.lower(column) == address.lower())


def _only_theirs(address: str) -> Any:
    """Documents that were made for this address and for no other, nor copied to a folder."""
    mine, other = _is(Delivery.address, address), aliased(Delivery)
    others = ~_is(other.address, address)
    to_others = exists().where(other.document_id == Document.id, others)
    among_others = exists().where(
        DeliveryDocument.document_id == Document.id, DeliveryDocument.delivery_id == other.id, others
    )
    theirs = or_(
        Document.id.in_(select(Delivery.document_id).where(mine, Delivery.document_id.is_not(None))),
        Document.id.in_(select(DeliveryDocument.document_id).join(Delivery).where(mine)),
    )
    return select(Document.id).where(theirs, ~to_others, ~among_others)


def _let_go_of_files(session: Session, address: str, done: Forgotten) -> None:
    ended = select(Run.id).where(Run.status.in_(FINAL_RUN))
    mailed = select(Delivery.run_id).where(_is(Delivery.address, address))
    # A run that was narrowed, by keys or to somebody else, has frozen people whom it was not to mail.
    narrowed = select(Run.id).where(or_(Run.scope["keys"].as_string() != "[]", Run.scope["to"].as_string() != "[]"))
    people = (RunArtifact.name.in_(DATASETS), RunArtifact.run_id.in_(ended))
    concerned = or_(RunArtifact.run_id.in_(mailed), RunArtifact.run_id.in_(narrowed))
    done.counts["lists of recipients"] = _let_go(session, [*people, concerned], done)
    for at in range(0, len(done.documents), CHUNK):
        some = done.documents[at : at + CHUNK]
        done.counts["files"] += _let_go(session, [RunArtifact.document_id.in_(some)], done)
        session.execute(update(Document).where(Document.id.in_(some)).values(context=None))
    done.counts["documents"] = len(done.documents)


def _let_go(session: Session, where: Sequence[ColumnElement[bool]], done: Forgotten) -> int:
    gone = session.scalars(delete(RunArtifact).where(*where).returning(RunArtifact.artifact_id)).all()
    done.files += gone
    return len(gone)


def _rows(session: Session, actor: Actor, address: str, mark: str, done: Forgotten) -> None:
    """Who it was, and what they wanted; that nothing more is sent to them is kept, under their mark."""
    for table in (Recipient, Subscription, OptOut, Suppression):
        name = table.__tablename__.replace("_", "-")
        done.counts[name] = _count(session, delete(table).where(_is(table.address, address)))
    row = {"address": mark, "reason": "forgotten on demand", "source": str(actor), "created_at": clock(session)}
    insert_new(session, Suppression, [row])


def _deliveries(session: Session, address: str, done: Forgotten) -> None:
    """The rows stay, and are counted, under a name that is nobody's; what was still to be sent is not."""
    mine, token = _is(Delivery.address, address), f"forgotten-{new_id()}"
    still = (DeliveryStatus.PLANNED, DeliveryStatus.QUEUED, DeliveryStatus.DEFERRED)
    skipped = {"status": DeliveryStatus.SKIPPED, "reason": "forgotten on demand", "not_before": None}
    done.counts["deliveries not sent any more"] = _count(
        session, update(Delivery).where(mine, Delivery.status.in_(still)).values(**skipped)
    )
    for table in (Delivery, Document):  # a report that is split by the address
        session.execute(update(table).where(_is(table.key, address)).values(key=token))
    nobody = {"address": token, "context": {"name": None, "locale": None, "zone": None}}
    done.counts["deliveries"] = _count(session, update(Delivery).where(mine).values(**nobody))


def _texts(session: Session, address: str, done: Forgotten) -> None:
    """What servers, programs and people wrote, without the address in it."""
    found = re.compile(re.escape(address), re.IGNORECASE)
    for column in (*TEXTS, *VALUES, *UNIQUE):
        is_json = column in VALUES
        (key,) = inspect(column.class_).primary_key
        text = cast(column, Text) if is_json else column
        rows = session.execute(select(key, column).where(text.icontains(address, autoescape=True))).all()
        for row_id, said in rows:
            gone = f"{GONE} {row_id}" if column in UNIQUE else GONE
            value = (
                json.loads(found.sub(gone, json.dumps(said, ensure_ascii=False))) if is_json else found.sub(gone, said)
            )
            session.execute(update(column.class_).where(key == row_id).values({column.key: value}))
        done.counts["texts"] += len(rows)


def _definitions(session: Session, address: str, done: Forgotten) -> None:
    """Schedule files that name the address: their old revisions and ended runs forget it, the file is a person's."""
    found = re.compile(re.escape(address), re.IGNORECASE)

    def scrubbed(said: Any) -> Any:
        return json.loads(found.sub(GONE, json.dumps(said, ensure_ascii=False)))

    named = cast(Run.definition, Text).icontains(address, autoescape=True)
    for run in session.scalars(select(Run).where(named, Run.status.in_(FINAL_RUN))):
        run.definition = scrubbed(run.definition)
        done.counts["texts"] += 1
    named = cast(ScheduleRevision.definition, Text).icontains(address, autoescape=True)
    current = dict(session.execute(select(Schedule.key, Schedule.revision)).all())
    for row in session.scalars(select(ScheduleRevision).where(named)):
        if current.get(row.schedule_key) == row.revision:
            done.stays.append(
                f"the schedule file of {row.schedule_key} names the address: take it out, and do it again"
            )
        else:
            row.definition = scrubbed(row.definition)
            done.counts["texts"] += 1
    session.flush()


def _what_stays(session: Session, address: str, done: Forgotten) -> None:
    under_way = session.scalar(select(func.count()).select_from(Run).where(Run.status.not_in(FINAL_RUN)))
    if under_way:
        done.stays.append(
            f"{wording.counted(under_way, 'run is', 'runs are')} under way, and may have frozen a list of recipients "
            "with the address in it: do it again when that has ended"
        )
    texts = (cast(Audit.detail, Text), Audit.by, Audit.subject)
    named = or_(*(text.icontains(address, autoescape=True) for text in texts))
    if count := session.scalar(select(func.count()).select_from(Audit).where(named)):
        acts = "act in the record names" if count == 1 else "acts in the record name"
        done.stays.append(f"{count} {acts} the address (who it was, a reason, a parameter): nobody can change those")
    done.stays.append(
        "what the reports themselves say of a person (datasets, documents that others got too) stays until it is "
        "purged by age; messages that were sent lie with their servers"
    )


def _count(session: Session, statement: Any) -> int:
    return int(session.execute(statement.execution_options(synchronize_session=False)).rowcount)  # type: ignore[attr-defined]
