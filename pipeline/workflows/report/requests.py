"""What a webhook is posted: a document's facts and its files, as JSON that is the same on every try."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from pipeline.adapters import mail_routes, storage, webhooks
from pipeline.destinations import Webhook
from pipeline.errors import Blocked, DefinitionError, PermanentError
from pipeline.models import Delivery, Document, made_at
from pipeline.replies import Verdict
from pipeline.services import places
from pipeline.services.shares import FOR_A_PERSON
from pipeline.settings import settings
from pipeline.workflows.report.composing import File, Letters


def request(letters: Letters, delivery: Delivery) -> webhooks.Request:
    """The request, signed for now. Raises Blocked for a secret that is not set: nobody's document is lost by that."""
    webhook, body = letters.run.definition.webhooks[delivery.address], payload(letters, delivery)
    (document,) = letters.documents_of(delivery)
    try:
        return webhooks.request(webhook, letters.names(document), str(delivery.id), body)
    except DefinitionError as error:
        raise Blocked(str(error), again_in=FOR_A_PERSON) from error


def place(wanted: webhooks.Request) -> str:
    """What the ledger calls where it goes."""
    return wanted.server if mail_routes.is_live(settings()) else places.OUTBOX


def hand_over(wanted: webhooks.Request, delivery: Delivery, announce: Callable[[], None]) -> Verdict:
    """Post it, or keep it in the outbox while mail is caught or redirected. Raises as `webhooks.post`."""
    if place(wanted) != places.OUTBOX:
        return webhooks.post(wanted, announce)
    return webhooks.keep(wanted, str(delivery.id), made_at(delivery.id), announce)


# ---- the body


def payload(letters: Letters, delivery: Delivery) -> bytes:
    """The body of the request. Raises PermanentError for files that are too large, and cannot be links."""
    (document,) = letters.documents_of(delivery)
    webhook = letters.run.definition.webhooks[delivery.address]
    files = letters.wanted(document, webhook.attach)
    linked = _linked(letters, webhook, sum(file.stored.size for file in files))
    body = {
        **_facts(letters, delivery, document),
        "files": [_file(letters, delivery, file, linked=linked) for file in files],
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _linked(letters: Letters, webhook: Webhook, size: int) -> bool:
    if size <= webhook.link_above:
        return False
    if not letters.can_link:
        raise PermanentError(
            f"its files have {size:,} bytes, more than link_above ({webhook.link_above:,}) of the webhook: set "
            "PIPELINE_PUBLIC_URL, and they are links, or raise link_above"
        )
    return True


def _facts(letters: Letters, delivery: Delivery, document: Document) -> dict[str, Any]:
    run, about = letters.run.claim.run, document.context or {}
    return {
        "delivery": str(delivery.id),
        "repeat_of": str(delivery.repeat_of) if delivery.repeat_of else None,
        "run": str(run.id),
        "schedule": run.schedule_key,
        "report": letters.report.name or run.schedule_key,
        "title": about.get("title", letters.report.title),
        "key": document.key if letters.report.split_by else None,
        "period": run.period,
        "due_at": run.due_at.isoformat(),
        "rows": document.rows,
        "figures": about.get("figures", []),
        "summary": about.get("summary", ""),
    }


def _file(letters: Letters, delivery: Delivery, file: File, *, linked: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": file.name,
        "format": file.kind,
        "media_type": file.stored.media_type,
        "size": file.stored.size,
        "sha256": file.stored.sha256,
    }
    if linked:
        return {**found, "url": letters.link(delivery, file)}
    return {**found, "content": base64.b64encode(storage.store().read(file.stored.uri)).decode()}
