"""What a document is made of, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from pipeline.adapters.messages import EncodedAttachment
from pipeline.columns import Row
from pipeline.report import WHOLE, Report
from pipeline.timing import Period

DocumentFormat: TypeAlias = Literal["pdf", "xlsx", "csv", "html"]

# Rows of one document; above it the renderer refuses before it starts (PIPELINE_DOCUMENT_MAX_ROWS).
MAX_ROWS = 100_000
# Rows that a PDF's or HTML's table shows: WeasyPrint lays out about 1,000 rows a second, and nobody reads 50 pages.
MAX_TABLE_ROWS = 2_000
# Rows that stand for all of them where the rest is in the XLSX or CSV beside it.
EXCERPT_ROWS = 40
# Bytes of HTML, most of them `data:` images, that are laid out at most.
MAX_HTML_BYTES = 20_000_000


@dataclass(frozen=True)
class Content:
    """Everything one document shows; the same content gives the same bytes.

    `name` is the schedule's or report's name, `key` the value the report is split by (`all`: not split), `columns` the
    dataset's column names in their order (default: those of the first row; needed where there may be no rows).
    `extra` is what the report's own build() returned. `generated_at` is UTC; `locale` such as de_DE, `zone` an IANA
    name: both decide how dates and numbers read.
    """

    report: Report
    name: str
    key: str
    rows: Sequence[Row]
    period: Period
    params: Mapping[str, Any]
    extra: Mapping[str, Any]
    generated_at: datetime
    locale: str
    zone: str
    columns: Sequence[str] = ()

    @property
    def template(self) -> str:
        """The folder in templates/ whose files this document prefers to those of `_base`."""
        return self.report.template or self.name

    @property
    def shown_key(self) -> str:
        """The key as people see it: empty for the one document of a report that is not split."""
        return self.key if self.report.split_by or self.key != WHOLE else ""


@dataclass(frozen=True)
class Document:
    """Rendered bytes; `pages` of a PDF; `warnings` tell what an author may want to know, and failed nothing."""

    data: bytes
    media_type: str
    suffix: str
    pages: int | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileLink:
    """A file that is too large to attach: its name, the address it is read from, its size in bytes."""

    name: str
    url: str
    size: int


@dataclass(frozen=True)
class Enclosure:
    """One document in a message: its Content or its `message_facts`, the names of files attached, links to others."""

    about: Content | Mapping[str, Any]
    attachments: Sequence[str] = ()
    links: Sequence[FileLink] = ()


@dataclass(frozen=True)
class Envelope:
    """What a message says besides its documents.

    `links_end` is when the links do; `missing` are keys whose documents could not be made; `subject` is the schedule's
    own Jinja2 line, which wins over `subject.txt`.
    """

    schedule: str = ""
    sender: str = ""
    subject: str | None = None
    unsubscribe_url: str | None = None
    links_end: datetime | None = None
    missing: Sequence[str] = ()


@dataclass(frozen=True)
class MessageParts:
    """What an e-mail says: the subject is one line, `html` has its CSS inlined and names `images` by content id."""

    subject: str
    text: str
    html: str
    images: tuple[EncodedAttachment, ...] = ()
