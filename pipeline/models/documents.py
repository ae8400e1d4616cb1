"""What runs have made: documents, and all that is stored as bytes."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from pipeline.models.base import Base, new_id, one_of


class DocumentStatus(StrEnum):
    PLANNED = "planned"
    RENDERED = "rendered"
    FAILED = "failed"
    SKIPPED = "skipped"


class Artifact(Base):
    __tablename__ = "artifacts"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    sha256: Mapped[str]
    kind: Mapped[str]
    media_type: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    # Contains the sha256: whoever writes late cannot overwrite other bytes.
    uri: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None] = mapped_column(index=True)


class Document(Base):
    __tablename__ = "documents"
    __table_args__ = (
        UniqueConstraint("run_id", "key"),
        one_of("status", DocumentStatus),
        Index("ix_documents_run_id_batch", "run_id", "batch"),
        # What is counted by status, and listed where something went wrong: not through all that a document says.
        Index("ix_documents_run_id_status", "run_id", "status"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"))
    key: Mapped[str]
    batch: Mapped[int | None]
    rows: Mapped[int]
    status: Mapped[str]
    error: Mapped[str | None]
    pages: Mapped[int | None]
    # What the message about it says: key figures and summary, as computed when it was rendered.
    context: Mapped[dict[str, Any] | None]


class RunArtifact(Base):
    """Which artifact a run knows under which name: datasets, batches, the template bundle, documents."""

    __tablename__ = "run_artifacts"
    __table_args__ = (
        Index("ix_run_artifacts_artifact_id", "artifact_id"),
        Index("ix_run_artifacts_document_id", "document_id"),
    )

    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    artifact_id: Mapped[UUID] = mapped_column(ForeignKey("artifacts.id"))
    document_id: Mapped[UUID | None] = mapped_column(ForeignKey("documents.id"))
    format: Mapped[str | None]


class WithdrawnLink(Base):
    """A link to a file that was taken back before it ended.

    `subject` is the delivery whose message has it (all links of that message), or the id of a link that was shared.
    """

    __tablename__ = "withdrawn_links"
    __table_args__ = (Index("ix_withdrawn_links_run_id", "run_id"),)

    subject: Mapped[UUID] = mapped_column(primary_key=True)
    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"))
    at: Mapped[datetime]
    by: Mapped[str]
