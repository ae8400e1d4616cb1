"""Documents from rows: PDF, XLSX, CSV, HTML, and the e-mail around them; each loads only what its format needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.adapters.documents.bundles import base_templates, bundle, unpack
from pipeline.adapters.documents.content import (
    MAX_ROWS,
    Content,
    Document,
    DocumentFormat,
    Enclosure,
    Envelope,
    FileLink,
    MessageParts,
)
from pipeline.errors import PermanentError

__all__ = [
    "Content",
    "Document",
    "DocumentFormat",
    "Enclosure",
    "Envelope",
    "FileLink",
    "MessageParts",
    "base_templates",
    "bundle",
    "message_facts",
    "render",
    "render_message_parts",
    "unpack",
    "warm_up",
]


def render(
    content: Content,
    format: DocumentFormat,  # noqa: A002 - the report's own word
    templates: Path,
    *,
    max_rows: int = MAX_ROWS,
) -> Document:
    """`content` as a document, from `templates`: an unpacked bundle, which must not change while it is in use.

    The same content gives the same bytes, in any process. Raises PermanentError, naming the thing and the way out, for
    more than `max_rows` rows, a missing or refused file, an undefined variable, or anything else a retry cannot mend.
    """
    if len(content.rows) > max_rows:
        raise PermanentError(
            f"{content.name}: {len(content.rows):,} rows are more than the {max_rows:,} that one document may have "
            "(PIPELINE_DOCUMENT_MAX_ROWS): split_by a column, or aggregate in the query"
        )
    match format:
        case "pdf":
            from pipeline.adapters.documents import pdf

            return pdf.render(content, templates)
        case "html":
            from pipeline.adapters.documents import web

            return web.render(content, templates)
        case "xlsx":
            from pipeline.adapters.documents import workbook

            return workbook.render(content, templates)
        case "csv":
            from pipeline.adapters.documents import delimited

            return delimited.render(content)
        case _:
            raise PermanentError(f'"{format}" is not a format: pdf, xlsx, csv or html')


def message_facts(content: Content, templates: Path) -> dict[str, Any]:
    """What a message says of a document, as JSON (a few hundred bytes): with it `deliver` needs no rows."""
    from pipeline.adapters.documents import messages

    return messages.message_facts(content, templates)


def key_figures(content: Content) -> dict[str, Any]:
    """The figures of a document by the names that `send_if` knows. Raises PermanentError as `render` does."""
    from pipeline.adapters.documents import context

    return context.key_figures(content)


def render_message_parts(
    enclosures: Sequence[Enclosure], templates: Path, recipient: Mapping[str, Any], envelope: Envelope
) -> MessageParts:
    """The e-mail to one recipient around one document or several.

    `recipient` may give name, locale and zone. Raises PermanentError for an undefined name, a template or an image that
    is missing, or an empty subject.
    """
    from pipeline.adapters.documents import messages

    return messages.render_message_parts(enclosures, templates, recipient, envelope)


def warm_up() -> None:
    """Load WeasyPrint and the base templates, render a page, and settle the garbage collector.

    For a process that renders many PDFs, before its first one: 20 to 30 % less time for each, half a second once.
    """
    from pipeline.adapters.documents import warming

    warming.warm_up()
