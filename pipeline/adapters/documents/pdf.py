"""HTML to PDF with WeasyPrint: tagged, deterministic, and failing where WeasyPrint only logs."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from weasyprint import CSS, HTML
from weasyprint.css.counters import CounterStyle
from weasyprint.text.fonts import FontConfiguration
from weasyprint.urls import FatalURLFetchingError, URLFetcher, URLFetcherResponse

from pipeline.adapters.documents.content import Content, Document
from pipeline.adapters.documents.context import document_context
from pipeline.adapters.documents.locales import localizer
from pipeline.adapters.documents.resources import ROOT, read, refuse_holes
from pipeline.adapters.documents.templates import Templates, opened
from pipeline.errors import DefinitionError

# Collections of WeasyPrint's many small objects cost a fifth of the time at Python's threshold of 700.
_GC_THRESHOLD = (100_000, 20, 50)


class _Complaints(logging.Handler):
    """Collects what WeasyPrint logs while one thread renders."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._here = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        found = getattr(self._here, "found", None)
        if found is not None:
            found.append(record)

    @contextmanager
    def collected(self) -> Iterator[list[logging.LogRecord]]:
        outer = getattr(self._here, "found", None)
        found: list[logging.LogRecord] = []
        self._here.found = found
        try:
            yield found
        finally:
            self._here.found = outer


_COMPLAINTS = _Complaints()
_logger = logging.getLogger("weasyprint")
# Debug: only there the reason is told why an image or font could not be read. Nothing reaches the worker's own log.
_logger.setLevel(logging.DEBUG)
_logger.propagate = False
_logger.addHandler(_COMPLAINTS)
logging.getLogger("weasyprint.progress").setLevel(logging.WARNING)


class BundleFetcher(URLFetcher):  # type: ignore[misc]  # it ships no types
    """Answers WeasyPrint from one bundle and keeps what it refused: drawing an SVG swallows any exception.

    It never calls URLFetcher's __init__: that builds the openers for http, ftp and file that must not exist here.
    """

    def __init__(self, templates: Templates) -> None:
        self.templates = templates
        self.refused: list[str] = []
        # A refusal ends the rendering (FatalURLFetchingError) instead of leaving a hole in the page.
        self._fail_on_errors = True

    def fetch(self, url: str, headers: dict[str, str] | None = None) -> URLFetcherResponse:  # noqa: ARG002
        """The bytes behind `url`. Raises LookupError, noted in `refused`, for all but `data:` and bundled files."""
        try:
            data, media_type = read(self.templates, url)
        except LookupError as error:
            self.refused.append(str(error))
            raise
        return URLFetcherResponse(url, data, {"Content-Type": media_type})


class _Press:
    """What is made once per bundle and process: fonts, parsed stylesheets. WeasyPrint is told of it all each time."""

    def __init__(self, templates: Templates) -> None:
        self.templates = templates
        self.fonts = FontConfiguration()
        self.counters = CounterStyle()
        self.sheet = self._parsed("document.css")

    def _parsed(self, path: str) -> Any:
        found = self.templates.find(path)
        if found is None:
            raise DefinitionError("is missing", place=self.templates.place(path))
        return self._sheet(found.read_text(encoding="utf-8"), path)

    def _sheet(self, source: str, path: str) -> Any:
        fetcher = BundleFetcher(self.templates)
        with _failing(self.templates.place(path), fetcher):
            return CSS(
                string=source, base_url=ROOT, url_fetcher=fetcher, font_config=self.fonts, counter_style=self.counters
            )

    @lru_cache(maxsize=8)  # noqa: B019 - it lives as long as its bundle
    def paper(self, size: str) -> Any:
        """The sheet that says how large a page is; a template's own @page rule comes later and wins."""
        return self._sheet(f"@page {{ size: {size} }}", "document.css")


@lru_cache(maxsize=16)
def _press(folder: Path, name: str) -> _Press:
    return _Press(opened(folder, name))


def render(content: Content, folder: Path) -> Document:
    """The PDF of `content`. Raises PermanentError naming whatever is missing, refused or undefined."""
    press = _press(folder, content.template)
    context = document_context(content, localizer(content.locale, content.zone), press.templates, format="pdf")
    html = press.templates.render("document.html", context, localizer(content.locale, content.zone))
    paper = f"{content.report.page} landscape" if context["table"].landscape else content.report.page
    return lay_out(html, press, paper, content, context["lang"])


def lay_out(html: str, press: _Press, paper: str, content: Content, language: str) -> Document:
    """Lay out and write a PDF: title, language and dates are those of the content, whatever the template says."""
    place = press.templates.place("document.html")
    refuse_holes(html, place)
    fetcher = BundleFetcher(press.templates)
    variant = content.report.pdf
    with _failing(place, fetcher) as warnings:
        document = HTML(string=html, base_url=ROOT, url_fetcher=fetcher).render(
            font_config=press.fonts,
            counter_style=press.counters,
            stylesheets=[press.paper(paper), press.sheet],
            pdf_variant=variant,
        )
        _describe(document.metadata, content, language)
        data = document.write_pdf(pdf_variant=variant)
    return Document(data, "application/pdf", ".pdf", len(document.pages), tuple(dict.fromkeys(warnings)))


def _describe(metadata: Any, content: Content, language: str) -> None:
    made = _w3c(content.generated_at)
    metadata.title = metadata.title or content.report.title
    metadata.lang = metadata.lang or language
    metadata.created = metadata.modified = made
    metadata.generator = None
    for attachment in metadata.attachments:
        attachment.created = attachment.modified = content.generated_at


def _w3c(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def _failing(place: str, fetcher: BundleFetcher) -> Iterator[list[str]]:
    """Turn what WeasyPrint refuses or logs as an error into a DefinitionError; yields the list of mere warnings."""
    warnings: list[str] = []
    with _COMPLAINTS.collected() as records:
        try:
            yield warnings
        except FatalURLFetchingError as error:
            raise DefinitionError(fetcher.refused[-1] if fetcher.refused else str(error), place=place) from error
    if fetcher.refused:
        raise DefinitionError(fetcher.refused[-1], place=place)
    for index, record in enumerate(records):
        text = record.getMessage()
        if record.levelno >= logging.ERROR or text.startswith("Font-face"):
            raise DefinitionError(_with_reason(text, records, index), place=place)
        if record.levelno == logging.WARNING:
            warnings.append(text)


def _with_reason(text: str, records: list[logging.LogRecord], index: int) -> str:
    """The message, with the exception that WeasyPrint tells only at debug level: after it, for fonts before it."""
    if "has no required alt" in text:
        return f'{text}: add alt="…" that says what it shows, or make it a background in the CSS'
    for record in (*records[index + 1 : index + 2], *records[max(index - 1, 0) : index]):
        if record.levelno == logging.DEBUG:
            return f"{text} ({record.exc_info[1] if record.exc_info else record.getMessage()})"
    return text


def settle_memory() -> None:
    """Take everything made so far out of the garbage collector's sight, and let it look less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLD)


def forget() -> None:
    """Drop the fonts and stylesheets of every bundle seen so far."""
    _press.cache_clear()
