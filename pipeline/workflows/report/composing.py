"""What a batch of deliveries carries: documents, templates and attachments, and the exact bytes of each message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from sqlalchemy.orm import Session

from pipeline.adapters import copies, mail_routes, messages, outbox, storage
from pipeline.adapters import documents as renderer
from pipeline.adapters.documents import Enclosure, Envelope, FileLink
from pipeline.adapters.secret_keys import secret_keys
from pipeline.errors import Blocked, DefinitionError, PermanentError
from pipeline.handle import RunHandle
from pipeline.models import Artifact, Delivery, Document, DocumentStatus, made_at
from pipeline.schedule import Person
from pipeline.services import artifacts, documents, links, optouts, places
from pipeline.services.shares import FOR_A_PERSON
from pipeline.settings import settings
from pipeline.timing import parse_duration
from pipeline.workflows.report.planning import report_of
from pipeline.workflows.report.rendering import templates_of

# Encoded attachments kept at hand: the one document of a report that is not split goes to everybody.
KEPT_ATTACHMENTS = 8


@dataclass(frozen=True)
class File:
    """A document's file in one format, and the name that it has in a message."""

    document: Document
    kind: str
    name: str
    stored: Artifact


class Letters:
    """Everything that the deliveries of one batch share, and the message or the files of each.

    Raises Blocked for a signing key that is none: it is our fault, and no recipient's.
    """

    def __init__(self, run: RunHandle) -> None:
        self.run = run
        self.report, self.definition = report_of(run.definition), run.definition.message
        self.sender = self.definition.sender or settings().mail_from
        self.list_id = f"<{run.name}.{messages.domain_of(self.sender)}>"
        self.templates: Path = templates_of(run)
        self.signer = _signer()
        self.link_for = parse_duration(self.definition.link_for)
        self.documents: Mapping[UUID, Document] = {}
        self.carried: Mapping[UUID, Sequence[UUID]] = {}
        self.stored: Mapping[UUID, dict[str, Artifact]] = {}
        self._encoded: dict[tuple[UUID, str], messages.EncodedAttachment] = {}
        self._files: dict[tuple[UUID, Sequence[str] | None], list[File]] = {}

    def load(self, session: Session, claimed: Sequence[Delivery]) -> None:
        """Read what the deliveries of one claim are about; the templates and the attachments at hand stay."""
        self.carried = documents.carried(session, claimed)
        ids = list({one for carried in self.carried.values() for one in carried})
        self.documents = documents.by_id(session, ids)
        self.stored = artifacts.of_documents(session, ids)
        self._files.clear()

    @property
    def can_link(self) -> bool:
        """Whether there is an address that links can begin with."""
        return bool(settings().public_url)

    def copies(self, delivery: Delivery) -> tuple[str, str]:
        """Write the delivery's files where its address says; what takes them, and the places.

        Files for elsewhere are kept in the outbox unless mail is live. Raises Blocked for a place that is none.
        """
        (document,) = self.documents_of(delivery)
        folder, files = self.run.definition.folders[delivery.address], self.files_of(document)
        read = storage.store().read
        if folder.is_elsewhere and not mail_routes.is_live(settings()):
            ident, at = str(delivery.id), made_at(delivery.id)
            kept = [outbox.keep(read(file.uri), ident, at, folder.folder, kind) for kind, file in files.items()]
            return places.OUTBOX, f"kept as {', '.join(kept)}"
        try:
            return "file", ", ".join(
                copies.copy_to(folder, {**self.names(document), "format": kind}, read(file.uri))
                for kind, file in files.items()
            )
        except DefinitionError as error:
            raise Blocked(str(error), again_in=FOR_A_PERSON) from error

    def message(self, delivery: Delivery, *, linked: bool = False) -> bytes:
        """The exact bytes of one message: the same on every attempt. `linked`: its files as links, however small."""
        all_ = self.documents_of(delivery)
        enclosed = [one for one in all_ if one.status == DocumentStatus.RENDERED]
        files = {document.id: self.wanted(document, self.definition.attach) for document in enclosed}
        linked = linked or self._are_large([file for some in files.values() for file in some])
        unsubscribe_url = self._unsubscribe_url(delivery)
        parts = renderer.render_message_parts(
            [self._enclosure(delivery, document, files[document.id], linked=linked) for document in enclosed],
            self.templates,
            delivery.context,
            Envelope(
                schedule=self.run.name,
                sender=self.sender,
                subject=self.definition.subject,
                unsubscribe_url=unsubscribe_url,
                links_end=self.date(delivery) + self.link_for,
                missing=[one.key for one in all_ if one.status == DocumentStatus.FAILED],
            ),
        )
        return messages.compose(
            sender=self.sender,
            recipient=Person(email=delivery.address, name=delivery.context.get("name")),
            subject=parts.subject,
            text=parts.text,
            html=parts.html,
            images=parts.images,
            attachments=[] if linked else [self._attachment(file) for some in files.values() for file in some],
            message_id=delivery.message_id or "",
            delivery_id=str(delivery.id),
            reply_to=self.definition.reply_to,
            date=self.date(delivery),
            list_id=self.list_id,
            unsubscribe_url=unsubscribe_url,
            signer=self.signer,
        )

    def date(self, delivery: Delivery) -> datetime:
        """What the message is dated, and its links count from: one that is sent once more is of its own day."""
        return made_at(delivery.id) if delivery.repeat else self.run.claim.run.created_at

    def documents_of(self, delivery: Delivery) -> list[Document]:
        """What the delivery carries, by key; a document that could not be rendered is none only where others are."""
        found = [self.documents[one] for one in self.carried.get(delivery.id, ()) if one in self.documents]
        if not found:
            raise PermanentError(f'the document of "{delivery.key}" is gone')
        return sorted(found, key=lambda one: one.key)

    def files_of(self, document: Document) -> dict[str, Artifact]:
        """The document's files by format, in the order the report names them."""
        found = self.stored.get(document.id, {})
        return {kind: found[kind] for kind in self.report.formats if kind in found}

    def wanted(self, document: Document, said: Sequence[str] | None) -> list[File]:
        """The files that go along, of the formats that were `said`; all of them where nobody said anything."""
        at = document.id, None if said is None else tuple(said)
        if at not in self._files:
            run, wanted = self.run.claim.run, self.report.formats if said is None else said
            self._files[at] = [
                File(document, kind, documents.file_name(run, document.key, kind), stored)
                for kind, stored in self.files_of(document).items()
                if kind in wanted
            ]
        return self._files[at]

    def _are_large(self, files: Sequence[File]) -> bool:
        return self.can_link and sum(file.stored.size for file in files) > self.definition.link_above

    def _enclosure(self, delivery: Delivery, document: Document, files: Sequence[File], *, linked: bool) -> Enclosure:
        about = document.context or {}
        if not linked:
            return Enclosure(about, [file.name for file in files])
        return Enclosure(
            about, links=[FileLink(file.name, self.link(delivery, file), file.stored.size) for file in files]
        )

    def link(self, delivery: Delivery, file: File) -> str:
        keys = secret_keys(settings())
        token = links.document_token(
            keys, delivery.id, file.document.id, file.kind, self.date(delivery) + self.link_for
        )
        return f"{settings().public_url}/d/{token}"

    def _unsubscribe_url(self, delivery: Delivery) -> str | None:
        if not (self.run.definition.offers_unsubscribe and self.can_link):
            return None
        return f"{settings().public_url}/u/{optouts.unsubscribe_token(secret_keys(settings()), delivery.id)}"

    def _attachment(self, file: File) -> messages.EncodedAttachment:
        at = file.document.id, file.kind
        if at not in self._encoded:
            data = storage.store().read(file.stored.uri)
            while len(self._encoded) >= KEPT_ATTACHMENTS:
                self._encoded.pop(next(iter(self._encoded)))
            self._encoded[at] = messages.encode(messages.Attachment(file.name, file.stored.media_type, data))
        return self._encoded[at]

    def names(self, document: Document) -> dict[str, str]:
        """What the words in braces of folders and webhooks stand for."""
        name, period = self.report.name or self.run.name, self.run.period.label
        return {"schedule": self.run.name, "report": name, "period": period, "key": document.key}


def _signer() -> messages.Signer | None:
    try:
        return messages.configured_signer(settings())
    except DefinitionError as error:
        raise Blocked(f"{error}: nothing goes out before it is mended", again_in=FOR_A_PERSON) from error
