"""Links to documents in messages: signed, for a while, without signing in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline import tokens
from pipeline.bulk import insert_new
from pipeline.db import clock
from pipeline.errors import NotFound, Refused
from pipeline.models import Artifact, Delivery, Document, Run, RunArtifact, WithdrawnLink
from pipeline.services import artifacts, audit, documents, runs
from pipeline.services.audit import Actor

IDS = 16
# Links that the record names.
MOST_NAMED = 20


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


def file_token(keys: Sequence[bytes], run_id: UUID, artifact_id: UUID, link_id: UUID, expires: datetime) -> str:
    """The token of a link to what a run has stored, for whoever has it, until `expires` (aware)."""
    return tokens.issue(keys, tokens.Purpose.FILE, run_id.bytes + artifact_id.bytes + link_id.bytes, expires)


def linked_file(session: Session, keys: Sequence[bytes], token: str) -> SharedFile:
    """The file behind such a link. Raises Refused for a token that is none, has ended or was taken back.

    NotFound for what is gone.
    """
    run_id, artifact_id, link_id = _ids(tokens.read(keys, tokens.Purpose.FILE, token, clock(session)))
    _refuse_withdrawn(session, link_id)
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
    """The file behind a link in a message. Raises as `linked_file` does."""
    body = tokens.read(keys, tokens.Purpose.DOCUMENT, token, clock(session))
    (delivery_id, document_id), kind = _ids(body[: 2 * IDS]), body[2 * IDS :].decode()
    _refuse_withdrawn(session, delivery_id)
    document = session.get(Document, document_id)
    file = artifacts.of_documents(session, [document_id]).get(document_id, {}).get(kind)
    if document is None or file is None or session.get(Delivery, delivery_id) is None:
        raise NotFound("this document is not kept any more: ask for the report again")
    name = documents.file_name(session.get_one(Run, document.run_id), document.key, kind)
    return SharedFile(name, file.media_type, file.size, file.sha256, file.uri)


def _ids(body: bytes) -> list[UUID]:
    return [UUID(bytes=body[at : at + IDS]) for at in range(0, len(body), IDS)]


# ---- taken back


def withdraw(session: Session, actor: Actor, keys: Sequence[bytes], link: str, reason: str | None = None) -> bool:
    """Take back the link (its address, or its token): of a message, all of that message; whether that is new.

    Raises Refused for what is no link of ours to a file, or has ended; NotFound where its run is gone.
    """
    *_, kind, token = f"/{link.rstrip('/')}".split("/")
    if kind == "d":
        subject, _ = _ids(tokens.read(keys, tokens.Purpose.DOCUMENT, token, clock(session))[: 2 * IDS])
        delivery = session.get(Delivery, subject)
        run = session.get(Run, delivery.run_id) if delivery else None
    else:
        run_id, _, subject = _ids(tokens.read(keys, tokens.Purpose.FILE, token, clock(session)))
        run = session.get(Run, run_id)
    if run is None:
        raise NotFound("the run behind this link is not kept any more: it leads nowhere")
    return _take_back(session, actor, run, [subject], reason) > 0


def withdraw_messages(
    session: Session, actor: Actor, run: Run, addresses: Sequence[str] = (), reason: str | None = None
) -> int:
    """Take back the links in all messages of the run, or in those to `addresses`; in how many that is new.

    Also in those that are still to go out; what is resent later has links of its own. Raises Refused for an address
    that nothing is for.
    """
    mine = select(Delivery.id, Delivery.address).where(Delivery.run_id == run.id)
    found = session.execute(mine.where(Delivery.address.in_(addresses)) if addresses else mine).all()
    missing = sorted(set(addresses) - {address for _, address in found})
    if missing:
        raise Refused(f"of run {run.id} nothing is for {missing[0]}; nothing was changed", field="addresses")
    return _take_back(session, actor, run, [delivery_id for delivery_id, _ in found], reason)


def are_withdrawn(session: Session, delivery_id: UUID) -> bool:
    """Whether the links in the message of a delivery were taken back."""
    return session.get(WithdrawnLink, delivery_id) is not None


def _take_back(session: Session, actor: Actor, run: Run, subjects: Sequence[UUID], reason: str | None) -> int:
    now = clock(session)
    new = insert_new(
        session, WithdrawnLink, [{"subject": one, "run_id": run.id, "at": now, "by": actor.by} for one in subjects]
    )
    if new:
        what = f"links in {new} messages" if len(subjects) > 1 else "a link"
        runs.note(session, run.id, "withdrawn", f"{what} taken back, says {actor.by}{f': {reason}' if reason else ''}")
        few = [str(one) for one in subjects[:MOST_NAMED]]
        audit.record(
            session, actor, "withdraw", "run", run.id, schedule=run.schedule_key, at=now, reason=reason, links=new,
            of=few,
        )  # fmt: skip
    return new


def _refuse_withdrawn(session: Session, subject: UUID) -> None:
    if session.get(WithdrawnLink, subject) is not None:
        raise Refused("this link was taken back: ask for the report again")
