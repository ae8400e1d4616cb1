"""What a batch of deliveries carries: documents, templates and attachments, and the exact bytes of each message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

from pipeline.adapters import copies, messages, storage
from pipeline.adapters import documents as renderer
from pipeline.db import reading
from pipeline.errors import PermanentError
from pipeline.handle import RunHandle
from pipeline.models import Artifact, Delivery, Document
from pipeline.report import Report
from pipeline.schedule import Person
from pipeline.services import artifacts, documents
from pipeline.settings import settings
from pipeline.workflows.report.planning import report_of
from pipeline.workflows.report.rendering import templates_of

# Encoded attachments kept at hand: the one document of a report that is not split goes to everybody.
KEPT_ATTACHMENTS = 8


def attachment_name(run: RunHandle, report: Report, key: str, kind: str) -> str:
    """`customer_shipments-ACME-2026-W46.pdf`; the key is left out where there is one document for all."""
    stem = [run.name, *([key] if report.split_by else []), run.period.label]
    return f"{copies.safe_name('-'.join(stem))}.{kind}"


class Letters:
    """Everything that the deliveries of one batch share, and the message or the files of each."""

    def __init__(self, run: RunHandle) -> None:
        self.run = run
        self.report = report_of(run.definition)
        self.sender = run.definition.message.sender or settings().mail_from
        self.templates: Path = templates_of(run)
        self.documents: Mapping[UUID, Document] = {}
        self.stored: Mapping[UUID, dict[str, Artifact]] = {}
        self._encoded: dict[tuple[UUID, str], messages.EncodedAttachment] = {}

    def load(self, claimed: Sequence[Delivery]) -> None:
        """Read what the deliveries of one claim are about; the templates and the attachments at hand stay."""
        ids = list({delivery.document_id for delivery in claimed if delivery.document_id})
        with reading() as session:
            self.documents = documents.by_id(session, ids)
            self.stored = artifacts.of_documents(session, ids)

    def copies(self, delivery: Delivery) -> list[str]:
        """Write the delivery's files where its address says; the places."""
        document = self._document(delivery)
        return [
            copies.copy_to(delivery.address, self._names(document, kind), storage.store().read(file.uri))
            for kind, file in self._files(document).items()
        ]

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
        found = self.stored.get(document.id, {})
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
