"""Handing over a batch of deliveries: the ledger is written before and after every final dot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from pipeline import log
from pipeline.adapters import copies, mailer, messages, storage
from pipeline.adapters import documents as renderer
from pipeline.db import clock, persist, reading, transaction
from pipeline.errors import Parked, PermanentError, StaleClaim
from pipeline.handle import RunHandle
from pipeline.models import Artifact, Channel, Delivery, DeliveryStatus, Document
from pipeline.replies import Kind, Streak, Verdict
from pipeline.report import Report
from pipeline.schedule import Person
from pipeline.services import artifacts, deliveries, documents, places, steps
from pipeline.settings import settings
from pipeline.workflows.report.planning import report_of
from pipeline.workflows.report.rendering import templates_of

logger = log.get(__name__)
# Encoded attachments kept at hand: the one document of a report that is not split goes to everybody.
KEPT_ATTACHMENTS = 8


def send_batch(run: RunHandle, batch: int) -> None:
    """Hand over the batch's open deliveries, one after the other; each ends as a row.

    Raises Parked when the relay is down or refuses us: what was certainly not sent is queued again.
    """
    with transaction(durable=False) as session:
        steps.renew(session, run.claim)  # a process that slept takes nothing from the one that took over
        claimed = deliveries.claim(session, run.id, batch, run.attempt_id)
    if not claimed:
        return
    ledger = Ledger(run.attempt_id)
    post = Post(run, claimed, ledger)
    try:
        for delivery in claimed:
            run.alive()
            post.deliver(delivery)
    finally:
        ledger.flush()
        persist(lambda session: deliveries.requeue(session, run.id, run.attempt_id))


def attachment_name(run: RunHandle, report: Report, key: str, kind: str) -> str:
    """`customer_shipments-ACME-2026-W46.pdf`; the key is left out where there is one document for all."""
    stem = [run.name, *([key] if report.split_by else []), run.period.label]
    return f"{copies.safe_name('-'.join(stem))}.{kind}"


class Ledger:
    """What happened to deliveries, committed in order; the answer to one message waits for the dot of the next."""

    def __init__(self, attempt_id: UUID) -> None:
        self.attempt_id = attempt_id
        self._known: list[Callable[[Session], None]] = []

    def dot(self, delivery: Delivery, relay: str) -> None:
        """Commit, durably, that the final dot is about to be written. Raises StaleClaim when it must not be."""
        with transaction() as session:
            self._write(session)
            deliveries.dot(session, delivery.id, self.attempt_id, relay)
        self._known.clear()

    def accepted(self, delivery: Delivery, relay: str, code: int | None, reply: str) -> None:
        at = datetime.now(UTC)
        self._known.append(
            lambda s: deliveries.accepted(s, delivery.id, self.attempt_id, relay=relay, code=code, reply=reply, at=at)
        )

    def not_sent(self, delivery: Delivery) -> None:
        """It was certainly not sent, though the dot may have been announced: it is queued again."""
        self._known.append(lambda s: deliveries.take_back(s, delivery.id, self.attempt_id))

    def settle(self, delivery: Delivery, status: DeliveryStatus, reason: str, **details: Any) -> None:
        self._known.append(lambda s: deliveries.settle(s, delivery.id, self.attempt_id, status, reason, **details))

    def suppress(self, address: str, reason: str, source: str) -> None:
        self._known.append(lambda s: deliveries.suppress(s, address, reason, source))

    def flush(self) -> None:
        """Commit what is known; while the database is away, the replies are kept and written when it returns."""
        if self._known:
            persist(self._write)
            self._known.clear()

    def _write(self, session: Session) -> None:
        for write in self._known:
            with suppress(StaleClaim):  # it wrote nothing: what became of the others is still told
                write(session)


class Post:
    """Everything that the deliveries of one batch share: their documents, templates, relay and attachments."""

    def __init__(self, run: RunHandle, claimed: Sequence[Delivery], ledger: Ledger) -> None:
        self.run, self.ledger = run, ledger
        self.report = report_of(run.definition)
        self.sender = run.definition.message.sender or settings().mail_from
        # The envelope's sender is the address alone.
        self.return_path = messages.split_address(self.sender)[1]
        ids = list({delivery.document_id for delivery in claimed if delivery.document_id})
        with reading() as session:
            self.documents: Mapping[UUID, Document] = documents.by_id(session, ids)
            self.files = artifacts.of_documents(session, ids)
            self.suppressed = documents.suppressions(session, [delivery.address for delivery in claimed])
        self.templates: Path = templates_of(run)
        self._encoded: dict[tuple[UUID, str], messages.EncodedAttachment] = {}
        self.streak = Streak()

    def deliver(self, delivery: Delivery) -> None:
        """One delivery; a message or file that cannot be made fails alone, naming what is wrong."""
        if delivery.address in self.suppressed:
            self.ledger.settle(delivery, DeliveryStatus.SUPPRESSED, self.suppressed[delivery.address])
            return
        try:
            self._copy(delivery) if delivery.channel == Channel.FILE else self._mail(delivery)
        except PermanentError as error:
            logger.warning("delivery failed", delivery=str(delivery.id), error=str(error))
            self.ledger.settle(delivery, DeliveryStatus.FAILED, str(error))

    def _copy(self, delivery: Delivery) -> None:
        document = self._document(delivery)
        places = [
            copies.copy_to(delivery.address, self._names(document, kind), storage.store().read(file.uri))
            for kind, file in self._files(document).items()
        ]
        self.ledger.accepted(delivery, "file", None, ", ".join(places))

    def _mail(self, delivery: Delivery) -> None:
        data = self.message(delivery)
        try:
            relay_url, address = mailer.target(settings(), delivery.address)
            relay = mailer.relay_for(relay_url)
            place = places.name(str(relay), catcher=relay.catcher, meant=delivery.address, address=address)
            verdict = relay.send(self.return_path, address, data, lambda: self.ledger.dot(delivery, place))
        except (mailer.RelayDown, mailer.ConfigurationFault) as error:
            self.ledger.not_sent(delivery)
            raise Parked(str(error), retry_after=error.verdict.wait) from error
        except mailer.NotAccepted as error:
            verdict = error.verdict
        judged = self.streak.judged(verdict)
        self._settle(delivery, place, verdict)
        if judged.stops_everyone:
            raise Parked(f"relay {relay}: {judged.code} {judged.text}")

    def message(self, delivery: Delivery) -> bytes:
        """The exact bytes of one message: the same on every attempt."""
        document, definition = self._document(delivery), self.run.definition.message
        attached = self._attachments(document)
        parts = renderer.render_message_parts(
            document.context or {},
            self.templates,
            delivery.context,
            [name for name, _ in attached],
            schedule=self.run.name,
            sender=self.sender,
            subject=definition.subject,
        )
        return messages.compose(
            sender=self.sender,
            recipient=Person(email=delivery.address, name=delivery.context.get("name")),
            subject=parts.subject,
            text=parts.text,
            html=parts.html,
            attachments=[part for _, part in attached],
            message_id=delivery.message_id or "",
            delivery_id=str(delivery.id),
            reply_to=definition.reply_to,
            date=self.run.claim.run.created_at,
            list_id=f"<{self.run.name}.{messages.domain_of(self.sender)}>",
        )

    def _document(self, delivery: Delivery) -> Document:
        if delivery.document_id is None or delivery.document_id not in self.documents:
            raise PermanentError(f'the document of "{delivery.key}" is gone')
        return self.documents[delivery.document_id]

    def _files(self, document: Document) -> dict[str, Artifact]:
        """The document's files by format, in the order the report names them."""
        found = self.files.get(document.id, {})
        return {kind: found[kind] for kind in self.report.formats if kind in found}

    def _attachments(self, document: Document) -> list[tuple[str, messages.EncodedAttachment]]:
        wanted = self.run.definition.message.attach or self.report.formats
        return [
            self._attachment(document, kind, file) for kind, file in self._files(document).items() if kind in wanted
        ]

    def _attachment(self, document: Document, kind: str, file: Artifact) -> tuple[str, messages.EncodedAttachment]:
        name = attachment_name(self.run, self.report, document.key, kind)
        if (document.id, kind) not in self._encoded:
            data = storage.store().read(file.uri)
            while len(self._encoded) >= KEPT_ATTACHMENTS:
                self._encoded.pop(next(iter(self._encoded)))
            self._encoded[document.id, kind] = messages.encode(messages.Attachment(name, file.media_type, data))
        return name, self._encoded[document.id, kind]

    def _names(self, document: Document, kind: str) -> dict[str, str]:
        name = self.report.name or self.run.name
        period = self.run.period.label
        return {"schedule": self.run.name, "report": name, "period": period, "key": document.key, "format": kind}

    def _settle(self, delivery: Delivery, relay: str, verdict: Verdict) -> None:
        reply = f"{verdict.code} {verdict.text}".strip()
        match verdict.kind:
            case Kind.ACCEPTED:
                self.ledger.accepted(delivery, relay, verdict.code, reply)
            case Kind.UNKNOWN:
                self.ledger.settle(delivery, DeliveryStatus.UNCERTAIN, reply, relay=relay, code=verdict.code)
            case Kind.THROTTLED | Kind.RECIPIENT_TRANSIENT:
                self._defer(delivery, relay, verdict, reply)
            case _:
                self.ledger.settle(delivery, DeliveryStatus.FAILED, reply, relay=relay, code=verdict.code)
                if verdict.suppresses and places.instead(relay) is None:
                    self.ledger.suppress(delivery.address, reply, f"relay {relay}, run {self.run.id}")

    def _defer(self, delivery: Delivery, relay: str, verdict: Verdict, reply: str) -> None:
        retry = self.run.definition.retry_for("deliver")
        with reading() as session:
            now = clock(session)
        due = deliveries.next_due(
            now,
            delivery.deferrals,
            retry,
            first_at=self.run.claim.run.created_at,
            seed=str(delivery.id),
            retry_after=verdict.wait,
        )
        status = DeliveryStatus.DEFERRED if due else DeliveryStatus.EXPIRED
        self.ledger.settle(delivery, status, reply, relay=relay, code=verdict.code, not_before=due)
