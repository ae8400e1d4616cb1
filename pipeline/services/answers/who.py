"""Did they get theirs? Searches all runs for a key, a name, an address or a domain, and answers in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from pipeline.adapters.messages import as_in_rows
from pipeline.errors import Refused
from pipeline.models import Delivery, DeliveryDocument, Document, Recipient, Run
from pipeline.services import documents, optouts
from pipeline.services.answers import plain, sentences
from pipeline.services.answers.summary import title

# What the document is called, where that says more than its key: "JetBlue Airways" for B6.
TITLE = Document.context["title"].as_string()


@dataclass(frozen=True)
class Answer:
    """What became of one document for one address, or of one that nobody was to get (`address` is None then)."""

    run_id: UUID
    schedule: str
    title: str
    period: dict[str, str]
    zone: str
    key: str
    address: str | None
    name: str | None
    channel: str | None
    status: str
    relay: str | None
    reply: str | None
    reason: str | None
    not_before: datetime | None
    sent_at: datetime | None
    message_id: str | None
    document_status: str | None
    document_error: str | None
    # The delivery, and where it is an intended repeat which one, of which.
    delivery_id: UUID | None
    repeat: int
    repeat_of: UUID | None
    sentence: str = ""


@dataclass(frozen=True)
class Who:
    """The answers, newest first; `match` is exact, contains or none, `more` how many older ones were left out."""

    text: str
    since: datetime | None
    match: str
    answers: list[Answer]
    more: int
    # What they get nothing more of, in sentences.
    left_out: list[str]


def who(session: Session, text: str, since: datetime | None = None, limit: int = 20) -> Who:
    """What was, or was to be, sent to whomever `text` names, in runs opened at or after `since` (aware).

    A key, name, address, domain or document's title that is exactly `text` wins (letters' case aside); else those that
    contain it. Raises Refused for no text at all.
    """
    text = as_in_rows(text.strip())
    if not text:
        raise Refused("say whom: a key, a name, an address or a domain")
    for match, fits in (("exact", _is), ("contains", _contains)):
        deliveries, unaddressed = _deliveries(text, fits, since), _unaddressed(text, fits, since)
        total = sum(
            session.scalar(select(func.count()).select_from(one.subquery())) or 0 for one in (deliveries, unaddressed)
        )
        if total:
            newest = (Run.created_at.desc(), Run.id.desc())
            rows = session.execute(deliveries.order_by(*newest, Delivery.key, Delivery.address).limit(limit))
            found = _of_deliveries(session, rows.all())
            others = session.execute(unaddressed.order_by(*newest, Document.key).limit(limit))
            found += [_of_document(run, document) for run, document in others]
            # By the run's id, which is its time: the sort is stable, so keys stay in order within a run.
            found.sort(key=lambda one: one.run_id, reverse=True)
            addresses = {one.address for one in found[:limit] if one.address}
            left_out = optouts.left_out(session, list(addresses))
            return Who(text, since, match, found[:limit], max(total - limit, 0), left_out)
    return Who(text, since, "none", [], 0, optouts.left_out(session, [text]))


def _deliveries(text: str, fits: Any, since: datetime | None) -> Any:
    named = Delivery.address.in_(select(Recipient.address).where(fits(Recipient.name, text)))
    name = Delivery.context["name"].as_string()
    carried = Delivery.id.in_(
        select(DeliveryDocument.delivery_id)
        .join(Document, Document.id == DeliveryDocument.document_id)
        .where(_called(text, fits))
    )
    wanted = or_(fits(Delivery.key, text), carried, _addressed(text, fits), fits(name, text), named, fits(TITLE, text))
    joined = select(Run, Delivery, Document).join(Delivery, Delivery.run_id == Run.id)
    return joined.outerjoin(Document, Document.id == Delivery.document_id).where(wanted, *_after(since))


def _unaddressed(text: str, fits: Any, since: datetime | None) -> Any:
    """Documents that no delivery knows: nobody was to get them."""
    delivered = exists().where(and_(Delivery.run_id == Document.run_id, Delivery.key == Document.key))
    combined = exists().where(DeliveryDocument.document_id == Document.id)
    joined = select(Run, Document).join(Document, Document.run_id == Run.id)
    return joined.where(_called(text, fits), ~delivered, ~combined, *_after(since))


def _called(text: str, fits: Any) -> ColumnElement[bool]:
    return or_(fits(Document.key, text), fits(TITLE, text))


def _addressed(text: str, fits: Any) -> ColumnElement[bool]:
    """By the whole address or by its domain, with or without the @."""
    domain = text.removeprefix("@")
    of_domain = Delivery.address.iendswith(f"@{domain}", autoescape=True)
    return or_(fits(Delivery.address, text), of_domain) if "@" not in domain else fits(Delivery.address, text)


def _is(column: Any, text: str) -> ColumnElement[bool]:
    # SQLite's lower() knows ASCII only: the text as it was typed is tried as well.
    return or_(column == text, func.lower(column) == text.lower())


def _contains(column: Any, text: str) -> ColumnElement[bool]:
    return column.icontains(text, autoescape=True)  # type: ignore[no-any-return]


def _after(since: datetime | None) -> Sequence[ColumnElement[bool]]:
    return [] if since is None else [Run.created_at >= since]


def _of_deliveries(session: Session, rows: Sequence[Any]) -> list[Answer]:
    keys = documents.combined_keys(session, [delivery for _, delivery, _ in rows])
    return [
        _of_delivery(run, delivery, document, keys.get(delivery.id, delivery.key)) for run, delivery, document in rows
    ]


def _of_delivery(run: Run, delivery: Delivery, document: Document | None, key: str) -> Answer:
    return _with_sentence(
        run,
        key=key,
        address=delivery.address,
        name=delivery.context.get("name"),
        channel=delivery.channel,
        status=delivery.status,
        relay=delivery.relay,
        reply=delivery.reply,
        reason=delivery.reason,
        not_before=delivery.not_before,
        sent_at=delivery.sent_at,
        message_id=delivery.message_id,
        document_status=document.status if document else None,
        document_error=document.error if document else None,
        delivery_id=delivery.id,
        repeat=delivery.repeat,
        repeat_of=delivery.repeat_of,
    )


def _of_document(run: Run, document: Document) -> Answer:
    nothing = dict.fromkeys(("address", "name", "channel", "relay", "reply", "not_before", "sent_at", "message_id"))
    return _with_sentence(
        run,
        key=document.key,
        status=document.status,
        reason=document.error,
        document_status=document.status,
        document_error=document.error,
        delivery_id=None,
        repeat=0,
        repeat_of=None,
        **nothing,
    )


def _with_sentence(run: Run, **found: Any) -> Answer:
    answer = Answer(
        run_id=run.id,
        schedule=run.schedule_key,
        title=title(run.definition, run.schedule_key),
        period=plain.period(run.period),
        zone=run.zone,
        **found,
    )
    return replace(answer, sentence=sentences.sentence(answer, run.status))
