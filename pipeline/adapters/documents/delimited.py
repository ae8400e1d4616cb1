"""CSV, and what keeps a spreadsheet from running a text as a formula."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from pipeline.adapters.documents.content import Content, Document
from pipeline.adapters.documents.context import shown
from pipeline.columns import Number, coerced

# How a formula begins in some spreadsheet (OWASP, CSV injection); the full-width signs count in Japanese editions.
FORMULA_SIGNS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def neutralised(text: str) -> str:
    """`text`, with an apostrophe before it where a spreadsheet would take it for a formula."""
    return f"'{text}" if text.startswith(FORMULA_SIGNS) else text


def render(content: Content) -> Document:
    """RFC 4180: commas, CRLF, quotes where needed; numbers with a point, dates as ISO 8601 in the document's zone.

    UTF-8 with a byte order mark: without it Excel reads the file in the machine's old code page, and Zürich breaks.
    """
    content, table = shown(content, hide_key=False)
    out, zone = io.StringIO(newline=""), ZoneInfo(content.zone)
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([neutralised(column.label) for column in table.columns])
    writer.writerows([_plain(coerced(c, row[c.name]), zone) for c in table.columns] for row in content.rows)
    return Document(out.getvalue().encode("utf-8-sig"), "text/csv; charset=utf-8", ".csv")


def _plain(value: Any, zone: ZoneInfo) -> Any:
    if isinstance(value, str):
        return neutralised(value)
    if isinstance(value, datetime):
        return (value.astimezone(zone) if value.tzinfo else value).isoformat(sep=" ", timespec="seconds")
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, Number):
        return value
    return neutralised(str(value))
