"""Links to documents in messages: signed, for a while, without signing in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from pipeline import tokens
from pipeline.db import clock
from pipeline.errors import NotFound
from pipeline.models import Delivery, Document, Run
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
