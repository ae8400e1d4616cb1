"""Mailing a preview to one address, by the same ways as a run: PIPELINE_MAIL decides where it really goes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from pipeline.adapters import mailer, messages
from pipeline.authoring.preview import Preview
from pipeline.errors import Refused
from pipeline.replies import Kind
from pipeline.schedule import Person
from pipeline.settings import settings


@dataclass(frozen=True)
class Posted:
    """Where a preview went: the address on the envelope, the relay and its answer."""

    address: str
    relay: str
    reply: str


def post(preview: Preview, to: str) -> Posted:
    """Hand the preview's message to the relay, for `to` alone. Raises a PipelineError saying why it did not go out."""
    address = messages.valid_address(to, "--to")
    relay_url, envelope = mailer.target(settings(), address)
    relay = mailer.relay_for(relay_url)
    sender = messages.split_address(preview.sender)[1]
    try:
        verdict = relay.send(sender, envelope, _composed(preview, address), lambda: None)
    finally:
        mailer.close_relays()
    reply = f"{verdict.code} {verdict.text}".strip()
    if verdict.kind != Kind.ACCEPTED:
        raise Refused(f"relay {relay} did not take the message for {envelope}: {reply}")
    return Posted(envelope, str(relay), reply)


def _composed(preview: Preview, address: str) -> bytes:
    number = uuid4()
    domain = messages.domain_of(preview.sender)
    return messages.compose(
        sender=preview.sender,
        recipient=Person(email=address),
        subject=preview.message.subject,
        text=preview.message.text,
        html=preview.message.html,
        images=preview.message.images,
        attachments=preview.attached,
        message_id=f"<{number}@{domain}>",
        delivery_id=f"preview-{number}",
        reply_to=preview.reply_to,
        date=datetime.now(UTC),
        list_id=f"<{preview.schedule}.{domain}>",
        signer=messages.configured_signer(settings()),
    )
