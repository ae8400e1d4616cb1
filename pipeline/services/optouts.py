"""Who wants no more of a schedule's reports: said with one click in a message, or by somebody who was told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline import tokens
from pipeline.bulk import among, insert_new
from pipeline.db import clock
from pipeline.errors import NotFound
from pipeline.models import Delivery, OptOut, Run
from pipeline.services import audit, documents, subscriptions
from pipeline.services.audit import Actor


@dataclass(frozen=True)
class Subscription:
    """What a link to unsubscribe is about; `ended`: this address gets no more of it."""

    address: str
    schedule: str
    title: str
    locale: str | None
    ended: bool


def unsubscribe_token(keys: Sequence[bytes], delivery_id: UUID) -> str:
    """The token of a message's link. It lasts as long as the delivery's row: people keep messages."""
    return tokens.issue(keys, tokens.Purpose.UNSUBSCRIBE, delivery_id.bytes)


def subscription(session: Session, keys: Sequence[bytes], token: str) -> Subscription:
    """What the page behind a link shows; nothing is changed, since scanners open every link.

    Raises Refused for a token that is none, NotFound for a message of which nothing is known any more.
    """
    return _told(session, *_meant(session, keys, token))


def unsubscribe(session: Session, keys: Sequence[bytes], token: str, actor: Actor) -> Subscription:
    """End it, however often it is asked (RFC 8058: a POST, without signing in). Raises as `subscription`."""
    delivery, run = _meant(session, keys, token)
    if opt_out(session, delivery.address, run.schedule_key, f"the link in message {delivery.message_id}"):
        audit.record(session, actor, "unsubscribe", "delivery", delivery.id, schedule=run.schedule_key)
    return _told(session, delivery, run)


def opt_out(session: Session, address: str, schedule: str, source: str) -> bool:
    """Send this address nothing more of the schedule, whoever lists it; whether that is new.

    Its subscriptions end, and their rows stay.
    """
    subscriptions.end(session, schedule, address, source)
    row = {"address": address, "schedule_key": schedule, "source": source, "created_at": clock(session)}
    return insert_new(session, OptOut, [row]) > 0


def opted_out(session: Session, addresses: Sequence[str], schedule: str) -> dict[str, str]:
    """Why nothing of the schedule is sent to these addresses: those that opted out, with how."""
    out = select(OptOut.address, OptOut.created_at, OptOut.source).where(OptOut.schedule_key == schedule)
    rows = among(session, out, addresses)
    return {address: f"unsubscribed on {when:%Y-%m-%d} by {source}" for address, when, source in rows}


def barred(session: Session, addresses: Sequence[str], schedule: str) -> dict[str, str]:
    """Why nothing of the schedule is sent to these addresses: suppressed everywhere, or unsubscribed from it."""
    return opted_out(session, addresses, schedule) | documents.suppressions(session, addresses)


def left_out(session: Session, addresses: Sequence[str]) -> list[str]:
    """What these addresses get nothing more of, in sentences: of all, or of one schedule."""
    out = select(OptOut.address, OptOut.schedule_key, OptOut.created_at, OptOut.source)
    said = [f"{one} gets nothing more at all: {why}" for one, why in documents.suppressions(session, addresses).items()]
    for address, schedule, when, source in among(session, out, addresses):
        said.append(f"{address} gets nothing more of {schedule}: unsubscribed on {when:%Y-%m-%d} by {source}")
    return sorted(said)


def barred_deliveries(session: Session, deliveries: Sequence[Delivery], schedule: str) -> dict[UUID, str]:
    """Why these deliveries are not made, by id: their address is barred, or has ended its subscription to their key.

    A message that carries several documents goes out whole until its address is barred.
    """
    addresses = list({one.address for one in deliveries})
    out, over = barred(session, addresses, schedule), subscriptions.ended(session, addresses, schedule)
    found = {one.id: out.get(one.address) or over.get((one.address, one.key)) for one in deliveries}
    return {delivery_id: why for delivery_id, why in found.items() if why}


def _meant(session: Session, keys: Sequence[bytes], token: str) -> tuple[Delivery, Run]:
    body = tokens.read(keys, tokens.Purpose.UNSUBSCRIBE, token, clock(session))
    delivery = session.get(Delivery, UUID(bytes=body))
    if delivery is None:
        raise NotFound("nothing is known of this message any more: answer it, to be taken off its list by a person")
    return delivery, session.get_one(Run, delivery.run_id)


def _told(session: Session, delivery: Delivery, run: Run) -> Subscription:
    report = run.definition.get("report")
    title = report.get("title") if isinstance(report, dict) else None
    ended = session.get(OptOut, (delivery.address, run.schedule_key)) is not None
    locale = delivery.context.get("locale")
    return Subscription(delivery.address, run.schedule_key, str(title or run.schedule_key), locale, ended)
