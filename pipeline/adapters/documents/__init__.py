"""Documents from rows: PDF, XLSX, CSV, HTML, and the e-mail around them."""

from __future__ import annotations

from pathlib import Path

from pipeline.adapters.documents.content import MAX_ROWS, Content, Document, DocumentFormat, MessageParts

__all__ = ["Content", "Document", "DocumentFormat", "MessageParts", "render"]


def render(content: Content, format: DocumentFormat, templates: Path, *, max_rows: int = MAX_ROWS) -> Document:
    from pipeline.adapters.documents import pdf

    return pdf.render(content, templates)
