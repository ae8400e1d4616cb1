"""What planning decided, as rows: a document for every key, a delivery for every recipient, and why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pipeline.adapters.drafts import Addressee, Draft
from pipeline.models import Channel, DeliveryStatus, DocumentStatus, new_id

# What stands for the rows whose key is NULL: they make no document, but they are counted and shown.
NULL_KEY = "(no key)"
# The key of a delivery that carries all documents of its address.
COMBINED = "*"
# A batch is one Celery message: many enough to keep every worker busy, never more than hundreds of messages.
RENDER_BATCHES, LARGEST_RENDER_BATCH = 50, 250
DELIVER_BATCHES, LARGEST_DELIVER_BATCH = 16, 500
# A batch costs its sender as much time as some fifty messages: so many for each process keep all of them busy to the
# end, and more would only cost.
DELIVER_BATCHES_EACH = 4


@dataclass(frozen=True)
class Freeze:
    """What planning decided, before any of it is a row."""

    draft: Draft
    # Whether a document is wanted even when nobody is to be mailed (deliver_to, or no recipients at all).
    unaddressed_wanted: bool = False
    # The folders that get a copy, and the webhooks that are posted it, as the schedule file has them.
    folders: Sequence[str] = ()
    webhooks: Sequence[str] = ()
    domain: str = "localhost"
    # How many are expected to send.
    processes: int = 1


def batch_size(count: int, batches: int, largest: int) -> int:
    """How many of `count` one message carries: 1,000 make 50 messages, 100,000 make 400."""
    return min(max(1, -(-count // batches)), largest)


def planned_documents(freeze: Freeze) -> Iterator[dict[str, Any]]:
    """A row for every key: to be rendered, in batches in the order of the keys, or skipped with the reason."""
    draft, everything = freeze.draft, freeze.unaddressed_wanted
    size = batch_size(draft.count_keys(named=not everything), RENDER_BATCHES, LARGEST_RENDER_BATCH)
    number = 0
    for key, rows, named in draft.counted():
        if named or everything:
            yield _document(key, rows, number // size, None)
            number += 1
        else:
            yield _document(key, rows, None, f'no recipient has the key "{key}"')
    if draft.without_key:
        yield _document(NULL_KEY, draft.without_key, None, f"{draft.without_key:,} rows have no key (NULL)")


def _document(key: str, rows: int, batch: int | None, missing: str | None) -> dict[str, Any]:
    status = DocumentStatus.SKIPPED if missing else DocumentStatus.PLANNED
    return {"id": new_id(), "key": key, "rows": rows, "batch": batch, "status": status, "error": missing}


def planned_deliveries(freeze: Freeze) -> Iterator[dict[str, Any]]:
    """A row for every message, and for every recipient who gets nothing, with the reason.

    A message carries the document of a key or, where they are combined, all those of its address. The draft knows the
    documents.
    """
    draft = freeze.draft
    documents = draft.count_documents()
    everywhere = len(freeze.folders) + len(freeze.webhooks)
    batches = min(DELIVER_BATCHES_EACH * freeze.processes, DELIVER_BATCHES)
    size = batch_size(draft.count_mails() + documents * everywhere, batches, LARGEST_DELIVER_BATCH)
    number = 0
    for one, document_id in draft.mails():
        status, reason = _verdict(one, document_id)
        row = _delivery(Channel.EMAIL, one.address, one.key, document_id, number // size)
        row["status"], row["reason"] = status, reason
        if status != DeliveryStatus.PLANNED:
            row["batch"] = None
        row["context"] = {"name": one.name, "locale": one.locale, "zone": one.zone}
        # Fixed here, the same on every attempt: a relay can tell a repeat.
        row["message_id"] = f"<{row['id']}@{freeze.domain}>"
        yield row
        number += document_id is not None or one.key == COMBINED
    # Each place has batches of its own: one that is down holds up nothing else.
    first = -(-number // size)
    places = [(Channel.FILE, one) for one in freeze.folders] + [(Channel.WEBHOOK, one) for one in freeze.webhooks]
    for channel, address in places:
        for number, (key, made) in enumerate(draft.documents()):
            yield _delivery(channel, address, key, made, first + number // size)
        first += -(-documents // size)


def _verdict(one: Addressee, document_id: UUID | None) -> tuple[DeliveryStatus, str | None]:
    if one.problem:
        return DeliveryStatus.FAILED, one.problem
    if document_id is None and one.key != COMBINED:
        return DeliveryStatus.SKIPPED, f'no rows for the key "{one.key}" in this period'
    if one.ended or one.barred:
        return DeliveryStatus.SUPPRESSED, one.barred or one.ended
    return DeliveryStatus.PLANNED, None


def _delivery(channel: Channel, address: str, key: str, document_id: UUID | None, batch: int) -> dict[str, Any]:
    return {
        "id": new_id(),
        "channel": channel,
        "address": address,
        "key": key,
        "repeat": 0,
        "document_id": document_id,
        "status": DeliveryStatus.PLANNED,
        "reason": None,
        "batch": batch,
        "generation": 1,
        "deferrals": 0,
        "context": {},
        "message_id": None,
    }
