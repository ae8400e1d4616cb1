"""What planning decided, as rows: a document for every key, a delivery for every recipient, and why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from pipeline.models import Channel, DeliveryStatus, DocumentStatus, new_id

# What stands for the rows whose key is NULL: they make no document, but they are counted and shown.
NULL_KEY = "(no key)"
# The key of a delivery that carries all documents of its address.
COMBINED = "*"
# A batch is one Celery message: many enough to keep every worker busy, never more than hundreds of messages.
RENDER_BATCHES, LARGEST_RENDER_BATCH = 50, 250
DELIVER_BATCHES, LARGEST_DELIVER_BATCH = 40, 500


@dataclass(frozen=True, slots=True)
class Addressee:
    """Somebody who gets the document of `key`; `problem` says why nothing can be sent to the address.

    `ended`: how the address ended its subscription to this key, if it did.
    """

    address: str
    key: str
    name: str | None = None
    locale: str | None = None
    zone: str | None = None
    problem: str | None = None
    ended: str | None = None


@dataclass(frozen=True)
class Freeze:
    """What planning decided, before any of it is a row."""

    rows_by_key: Mapping[str | None, int]
    addressees: Sequence[Addressee] = ()
    # Whether a document is wanted even when nobody is to be mailed (deliver_to, or no recipients at all).
    unaddressed_wanted: bool = False
    # The folders that get a copy, and the webhooks that are posted it, as the schedule file has them.
    folders: Sequence[str] = ()
    webhooks: Sequence[str] = ()
    # Whether an address gets one message with all its documents.
    combine: bool = False
    domain: str = "localhost"
    suppressed: Mapping[str, str] = field(default_factory=dict)


def batch_size(count: int, batches: int, largest: int) -> int:
    """How many of `count` one message carries: 1,000 make 50 messages, 100,000 make 400."""
    return min(max(1, -(-count // batches)), largest)


def planned_documents(freeze: Freeze, known: Mapping[str, UUID]) -> Iterator[dict[str, Any]]:
    """A row for every key: to be rendered, in batches in the order of the keys, or skipped with the reason."""
    addressed = {addressee.key for addressee in freeze.addressees}
    keys = sorted(key for key in freeze.rows_by_key if key is not None)
    wanted = [key for key in keys if freeze.unaddressed_wanted or key in addressed]
    size = batch_size(len(wanted), RENDER_BATCHES, LARGEST_RENDER_BATCH)
    batches = {key: number // size for number, key in enumerate(wanted)}
    for key in keys:
        missing = None if key in batches else f'no recipient has the key "{key}"'
        yield _document(known.get(key), key, freeze.rows_by_key[key], batches.get(key), missing)
    if freeze.rows_by_key.get(None):
        count = freeze.rows_by_key[None]
        yield _document(known.get(NULL_KEY), NULL_KEY, count, None, f"{count:,} rows have no key (NULL)")


def _document(known: UUID | None, key: str, rows: int, batch: int | None, missing: str | None) -> dict[str, Any]:
    status = DocumentStatus.SKIPPED if missing else DocumentStatus.PLANNED
    return {"id": known or new_id(), "key": key, "rows": rows, "batch": batch, "status": status, "error": missing}


def planned_deliveries(freeze: Freeze, documents: Mapping[str, UUID]) -> Iterator[dict[str, Any]]:
    """A row for every message, and for every recipient who gets nothing, with the reason.

    A message carries the document of a key or, where they are combined, all those of its address.
    """
    mails = _mails(freeze, documents)
    sendable = sum(1 for one in mails if one.key in documents or one.key == COMBINED)
    everywhere = len(freeze.folders) + len(freeze.webhooks)
    size = batch_size(sendable + len(documents) * everywhere, DELIVER_BATCHES, LARGEST_DELIVER_BATCH)
    number = 0
    for one in mails:
        status, reason = _verdict(one, documents, freeze.suppressed)
        row = _delivery(Channel.EMAIL, one.address, one.key, documents.get(one.key), number // size)
        delivery_id = row["id"]
        yield {
            **row,
            "status": status,
            "reason": reason,
            "batch": row["batch"] if status == DeliveryStatus.PLANNED else None,
            "context": {"name": one.name, "locale": one.locale, "zone": one.zone},
            # Fixed here, the same on every attempt: a relay can tell a repeat (delivery.md).
            "message_id": f"<{delivery_id}@{freeze.domain}>",
        }
        number += one.key in documents or one.key == COMBINED
    # Each place has batches of its own: one that is down holds up nothing else.
    first = -(-number // size)
    places = [(Channel.FILE, one) for one in freeze.folders] + [(Channel.WEBHOOK, one) for one in freeze.webhooks]
    for channel, address in places:
        for number, (key, document_id) in enumerate(documents.items()):
            yield _delivery(channel, address, key, document_id, first + number // size)
        first += -(-len(documents) // size)


def _mails(freeze: Freeze, documents: Mapping[str, UUID]) -> list[Addressee]:
    """Each message's recipient, in the order of keys and addresses; somebody named twice counts once."""
    merged = {(one.key, one.address): one for one in reversed(freeze.addressees)}
    if freeze.combine:
        whole = {one.address: one for one in reversed(freeze.addressees) if _can_carry(one, documents)}
        merged = {at: one for at, one in merged.items() if not _can_carry(one, documents)}
        merged |= {(COMBINED, address): replace(one, key=COMBINED) for address, one in whole.items()}
    return sorted(merged.values(), key=lambda one: (one.key, one.address))


def carried_keys(freeze: Freeze, documents: Mapping[str, UUID]) -> dict[str, list[str]]:
    """The keys whose documents each combined message carries, by address."""
    found: dict[str, list[str]] = {}
    for one in freeze.addressees if freeze.combine else ():
        if _can_carry(one, documents) and one.key not in (mine := found.setdefault(one.address, [])):
            mine.append(one.key)
    return found


def _can_carry(one: Addressee, documents: Mapping[str, UUID]) -> bool:
    return not one.problem and not one.ended and one.key in documents


def _verdict(
    one: Addressee, documents: Mapping[str, UUID], suppressed: Mapping[str, str]
) -> tuple[DeliveryStatus, str | None]:
    if one.problem:
        return DeliveryStatus.FAILED, one.problem
    if one.key not in documents and one.key != COMBINED:
        return DeliveryStatus.SKIPPED, f'no rows for the key "{one.key}" in this period'
    if one.ended or one.address in suppressed:
        return DeliveryStatus.SUPPRESSED, suppressed.get(one.address) or one.ended
    return DeliveryStatus.PLANNED, None


def _delivery(channel: Channel, address: str, key: str, document_id: UUID | None, batch: int) -> dict[str, Any]:
    return {
        "id": new_id(),
        "channel": channel,
        "address": address,
        "key": key,
        "document_id": document_id,
        "status": DeliveryStatus.PLANNED,
        "reason": None,
        "batch": batch,
        "generation": 1,
        "deferrals": 0,
        "context": {},
        "message_id": None,
    }
