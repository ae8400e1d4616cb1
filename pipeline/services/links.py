"""Links to documents in messages: signed, for a while, without signing in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline import tokens
from pipeline.db import clock
from pipeline.errors import NotFound
from pipeline.models import Artifact, Delivery, Document, Run, RunArtifact
from pipeline.services import artifacts, documents

IDS = 16


@dataclass(frozen=True)
class SharedFile:
    """A stored file and the name to save it under; its bytes lie in the store at `uri`."""

    name: str
    media_type: str
    size: int
    sha256: str
    uri: str


def document_token(keys: Sequence[bytes], delivery_id: UUID, document_id: UUID, kind: str, expires: datetime) -> str:
    """The token of a link to one file of a document, in the message of one delivery, until `expires` (aware)."""
    return tokens.issue(keys, tokens.Purpose.DOCUMENT, delivery_id.bytes + document_id.bytes + kind.encode(), expires)


def file_token(keys: Sequence[bytes], run_id: UUID, artifact_id: UUID, expires: datetime) -> str:
    """The token of a link to what a run has stored, for whoever has it, until `expires` (aware)."""
    return tokens.issue(keys, tokens.Purpose.FILE, run_id.bytes + artifact_id.bytes, expires)


def linked_file(session: Session, keys: Sequence[bytes], token: str) -> SharedFile:
    """The file behind such a link. Raises Refused for a token that is none or has ended, NotFound for what is gone."""
    body = tokens.read(keys, tokens.Purpose.FILE, token, clock(session))
    run_id, artifact_id = UUID(bytes=body[:IDS]), UUID(bytes=body[IDS:])
    mine = select(RunArtifact.name).where(RunArtifact.run_id == run_id, RunArtifact.artifact_id == artifact_id)
    name = session.scalar(mine.limit(1))
    if name is None:
        raise NotFound("this file is not kept any more: ask for it again")
    return stored_file(session, session.get_one(Run, run_id), name)


def stored_file(session: Session, run: Run, name: str) -> SharedFile:
    """What the run knows by this name, which it does."""
    joined = select(RunArtifact, Artifact, Document).join(Artifact, Artifact.id == RunArtifact.artifact_id)
    joined = joined.outerjoin(Document, Document.id == RunArtifact.document_id)
    _, stored, document = session.execute(joined.where(RunArtifact.run_id == run.id, RunArtifact.name == name)).one()
    saved_as = documents.artifact_name(run, name, stored.uri, document.key if document else None)
    return SharedFile(saved_as, stored.media_type, stored.size, stored.sha256, stored.uri)


def shared_file(session: Session, keys: Sequence[bytes], token: str) -> SharedFile:
    """The file behind a link. Raises Refused for a token that is none or has ended, NotFound for what is gone."""
    body = tokens.read(keys, tokens.Purpose.DOCUMENT, token, clock(session))
    delivery_id, document_id, kind = UUID(bytes=body[:IDS]), UUID(bytes=body[IDS : 2 * IDS]), body[2 * IDS :].decode()
    document = session.get(Document, document_id)
    file = artifacts.of_documents(session, [document_id]).get(document_id, {}).get(kind)
    if document is None or file is None or session.get(Delivery, delivery_id) is None:
        raise NotFound("this document is not kept any more: ask for the report again")
    name = documents.file_name(session.get_one(Run, document.run_id), document.key, kind)
    return SharedFile(name, file.media_type, file.size, file.sha256, file.uri)
