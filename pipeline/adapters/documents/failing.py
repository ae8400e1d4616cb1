"""What WeasyPrint refuses, or only logs, becomes an error that names the thing and the template."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from weasyprint.urls import FatalURLFetchingError, URLFetcher, URLFetcherResponse

from pipeline.adapters.documents.resources import ROOT, read, whose
from pipeline.adapters.documents.templates import Templates
from pipeline.errors import DefinitionError

# Whose exceptions mean that this process is asked to stop, not that a template is wrong: the soft time limit's.
_INTERRUPTING = {"billiard", "celery"}


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
        self.refused: list[tuple[str, str]] = []
        # A refusal ends the rendering (FatalURLFetchingError) instead of leaving a hole in the page.
        self._fail_on_errors = True

    def fetch(self, url: str, headers: dict[str, str] | None = None) -> URLFetcherResponse:  # noqa: ARG002
        """The bytes behind `url`. Raises LookupError, noted in `refused`, for all but `data:` and bundled files."""
        try:
            data, media_type = read(self.templates, url)
        except LookupError as error:
            self.refused.append((url, str(error)))
            raise
        return URLFetcherResponse(url, data, {"Content-Type": media_type})


@contextmanager
def failing(templates: Templates, fetcher: BundleFetcher, html: str | None = None) -> Iterator[list[str]]:
    """Turn what WeasyPrint refuses or logs as an error into a DefinitionError; yields the list of mere warnings.

    The error names `document.html` where `html`, the page being laid out, has the address in it; else `document.css`.
    """
    told: list[str] = []
    with _COMPLAINTS.collected() as records:
        try:
            yield told
        except FatalURLFetchingError as error:
            if not fetcher.refused:
                raise DefinitionError(str(error), place=templates.place("document.html")) from error
    _raise_interruptions(records)
    for url, reason in fetcher.refused:
        raise DefinitionError(reason, place=whose(templates, html, url))
    for index, record in enumerate(records):
        text = record.getMessage()
        if record.levelno >= logging.ERROR or text.startswith("Font-face"):
            asked = str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
            reason = _with_reason(text, records, index).replace(ROOT, "")
            raise DefinitionError(reason, place=whose(templates, html, asked))
        if record.levelno == logging.WARNING:
            told.append(text)


def _raise_interruptions(records: list[logging.LogRecord]) -> None:
    """Drawing an SVG swallows whatever is raised meanwhile: a time limit or a shutdown is not the document's fault."""
    for record in records:
        error = record.exc_info[1] if record.exc_info else None
        if error is None or isinstance(error, FatalURLFetchingError):
            continue
        if not isinstance(error, Exception) or type(error).__module__.partition(".")[0] in _INTERRUPTING:
            raise error


def _with_reason(text: str, records: list[logging.LogRecord], index: int) -> str:
    """The message, with the exception that WeasyPrint tells only at debug level: after it, for fonts before it."""
    if "has no required alt" in text:
        return f'{text}: add alt="…" that says what it shows, or make it a background in the CSS'
    for record in (*records[index + 1 : index + 2], *records[max(index - 1, 0) : index]):
        if record.levelno == logging.DEBUG:
            error = record.exc_info[1] if record.exc_info else None
            reason = str((error and error.__cause__) or error or record.getMessage())
            # Pillow names the object in memory that held the bytes, which tells nobody anything.
            return f"{text.rstrip(': ')} ({re.sub(r' <_io.*?>', '', reason)})"
    return text
