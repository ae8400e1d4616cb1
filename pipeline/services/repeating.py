"""An intended repeat is not a double: a stored document is sent once more, as a delivery of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sqlalchemy import exists, func, insert, or_, select
from sqlalchemy.orm import Session

from pipeline.adapters import messages
from pipeline.db import clock
from pipeline.errors import NotFound, Refused
from pipeline.mistakes import did_you_mean
from pipeline.models import (
    OPEN_DELIVERY,
    Channel,
    Delivery,
    DeliveryDocument,
    DeliveryStatus,
    Document,
    DocumentStatus,
    Run,
    new_id,
)
from pipeline.services import audit, freezing, optouts, settling
from pipeline.services.audit import Actor

# People whom one document is sent once more at a time, and keys among which the one is looked for that was meant.
MOST = 10_000
# Addresses that get nothing, of which it is said why.
TOLD = 3


def resend(
    session: Session, actor: Actor, run: Run, keys: Sequence[str], *, to: str | None = None, reason: str | None = None
) -> list[Delivery]:
    """Have the stored documents of `keys` sent once more, to their recipients, another address or one of its webhooks.

    Each is a delivery of its own, with a new Message-ID or Idempotency-Key, linked to the first; the run, whose row and
    schedule's row are locked, may have ended long ago. Raises NotFound for a key without a delivery, Refused for what
    cannot be sent, or is being sent once more already: of two who ask at once the second is told.
    """
    address = to if _is_webhook(to) else messages.valid_address(to) if to else None
    # A message that carries several of the keys is one.
    firsts = list(dict.fromkeys(one for key in keys for one in _firsts(session, run, key, address)))
    barred = optouts.barred(session, list({address or one.address for one in firsts}), run.schedule_key)
    unfit = {one: why for one in firsts if (why := _why_not(session, one, address, barred))}
    # Of several the others get theirs.
    firsts = [one for one in firsts if one not in unfit]
    if not firsts:
        said = dict.fromkeys(f"{address or one.address}: {why}" for one, why in unfit.items())
        raise Refused("nothing is sent to " + "; ".join(list(said)[:TOLD]))
    made = [_repeat(session, actor, first, address or first.address, reason) for first in firsts]
    audit.record(
        session, actor, "resend", "run", run.id, schedule=run.schedule_key,
        keys=list(keys), elsewhere=bool(to), reason=reason, deliveries=[str(row.id) for row in made],
    )  # fmt: skip
    settling.go_on(session, run, late=True)
    return made


def again(
    session: Session, actor: Actor, run: Run, addresses: Sequence[str], reason: str | None = None
) -> list[Delivery]:
    """Have these addresses sent once more what they were sent of the run, whose row is locked; it is still open.

    Raises Refused for an address that nothing went out to, or that gets nothing any more.
    """
    for barred, why in optouts.barred(session, list(addresses), run.schedule_key).items():
        raise Refused(f"nothing is sent to {barred}: {why}")
    made = []
    for address in dict.fromkeys(addresses):
        sent = (DeliveryStatus.ACCEPTED, DeliveryStatus.BOUNCED, DeliveryStatus.COMPLAINED)
        mine = (Delivery.run_id == run.id, Delivery.channel == Channel.EMAIL, Delivery.address == address)
        had = select(Delivery).where(*mine, Delivery.repeat == 0, Delivery.status.in_(sent)).order_by(Delivery.key)
        found = session.scalars(had).all()
        if not found:
            raise Refused(f"--force is for who had theirs: of run {run.id} {settling.stands(session, run, address)}")
        made += [_repeat(session, actor, first, address, reason) for first in found]
    return made


def _why_not(session: Session, first: Delivery, address: str | None, barred: Mapping[str, str]) -> str | None:
    """Why it is not sent once more to `address`, or to its own, if there is a reason."""
    to = address or first.address
    if to in barred:
        return barred[to]
    if address is None and first.status == DeliveryStatus.FAILED and first.batch is None:
        return first.reason or first.status  # the plan refused it, for an address that could be none
    unsettled = Delivery.status.in_((*OPEN_DELIVERY, DeliveryStatus.UNCERTAIN))
    mine = (Delivery.repeat_of == first.id, Delivery.address == to, unsettled)
    row = session.scalar(select(Delivery).where(*mine).limit(1))
    if row is None:
        return None
    way_out = "resolve` settles it" if row.status == DeliveryStatus.UNCERTAIN else "skip` gives it up"
    return f"{first.key} is being sent once more already ({row.status}: {row.reason}): `pipeline {way_out}"


def _is_webhook(to: str | None) -> bool:
    return bool(to) and re.match(r"https?://|hook:", to or "") is not None


def _firsts(session: Session, run: Run, key: str, address: str | None) -> list[Delivery]:
    """The deliveries of the key as they were planned; to another address one of them: its own, or who has theirs.

    What a repeat is linked to it makes good, and of several nobody can say whose failure a stranger's mail made good.

    They are those by mail or, where nobody was to be mailed or a webhook is asked for, those of webhooks.
    """
    carried = exists().where(
        DeliveryDocument.delivery_id == Delivery.id, Document.id == DeliveryDocument.document_id, Document.key == key
    )
    sent = (Channel.WEBHOOK,) if _is_webhook(address) else (Channel.EMAIL, Channel.WEBHOOK)
    of_run = (Delivery.run_id == run.id, Delivery.channel.in_(sent), Delivery.repeat == 0)
    mine = select(Delivery).where(*of_run, or_(Delivery.key == key, carried))
    first = (Delivery.address != address, Delivery.status != DeliveryStatus.ACCEPTED) if address is not None else ()
    found = list(session.scalars(mine.order_by(Delivery.channel, *first, Delivery.address).limit(MOST + 1)))
    if len(found) > MOST and address is None:
        raise Refused(
            f'more than {MOST:,} were to be sent the key "{key}" in run {run.id}: so many are a run of their own. '
            "Say for whom with --to, or trigger the schedule again"
        )
    found = [one for one in found if one.channel == Channel.EMAIL] or found
    if not found:
        known = session.scalars(select(Document.key).where(Document.run_id == run.id).limit(MOST))
        raise NotFound(f'nobody was to be sent the key "{key}" in run {run.id}{did_you_mean(key, known, lead=": ")}')
    posted = ", ".join(one.address for one in found if one.channel == Channel.WEBHOOK)
    if posted and address is not None and not _is_webhook(address):
        raise NotFound(f'nobody was to be mailed the key "{key}" in run {run.id}: it went to {posted}')
    if posted and _is_webhook(address) and address not in {one.address for one in found}:
        raise NotFound(f"the run posts nothing to {address}: it does to {posted}")
    if address is not None:
        found = sorted(found, key=lambda one: (one.address != address, one.status != DeliveryStatus.ACCEPTED))[:1]
    for one in found:
        _refuse_unsent(session, one)
    return found


def _refuse_unsent(session: Session, first: Delivery) -> None:
    if first.status in OPEN_DELIVERY:
        raise Refused(f"{first.key} to {first.address} is still {first.status}: it is sent by itself")
    if first.status == DeliveryStatus.UNCERTAIN:
        raise Refused(f"{first.key} to {first.address} is uncertain: `pipeline resolve` settles it")
    document = session.get(Document, first.document_id) if first.document_id else None
    if document is not None and document.status != DocumentStatus.RENDERED:
        raise Refused(f"{first.key} has no document that could be sent: {document.error or document.status}")
    if document is None and first.key != freezing.COMBINED:
        raise Refused(f"{first.key} has no document that could be sent: {first.reason or first.status}")


def _repeat(session: Session, actor: Actor, first: Delivery, address: str, reason: str | None) -> Delivery:
    same = (Delivery.run_id == first.run_id, Delivery.channel == first.channel, Delivery.key == first.key)
    last = session.scalar(select(func.max(Delivery.repeat)).where(*same, Delivery.address == address)) or 0
    one = new_id()
    because = f": {reason}" if reason else ""
    row = Delivery(
        id=one,
        run_id=first.run_id,
        document_id=first.document_id,
        channel=first.channel,
        address=address,
        key=first.key,
        repeat=last + 1,
        repeat_of=first.id,
        batch=first.batch or 0,
        status=DeliveryStatus.DEFERRED,
        # Somebody else is not called by the first one's name.
        context=first.context if address == first.address else {**first.context, "name": None},
        message_id=f"<{one}@{first.message_id.rpartition('@')[2].rstrip('>')}>" if first.message_id else None,
        reason=f"to be sent once more, says {actor.by}{because}",
        not_before=clock(session),
    )
    session.add(row)
    session.flush()
    carried = select(DeliveryDocument.document_id).where(DeliveryDocument.delivery_id == first.id)
    documents = [{"delivery_id": one, "document_id": document} for document in session.scalars(carried)]
    if documents:
        session.execute(insert(DeliveryDocument), documents)
    settling.note(session, row, "asked for", row.reason or "")
    return row
