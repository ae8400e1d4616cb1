"""HTML to PDF with WeasyPrint: tagged, deterministic, and failing where WeasyPrint only logs."""

from __future__ import annotations

import gc
import warnings
from datetime import UTC
from functools import lru_cache
from pathlib import Path
from typing import Any

from weasyprint import CSS, HTML
from weasyprint.css.counters import CounterStyle
from weasyprint.text.fonts import FontConfiguration

from pipeline.adapters.documents.content import Content, Document
from pipeline.adapters.documents.context import document_context
from pipeline.adapters.documents.failing import BundleFetcher, failing
from pipeline.adapters.documents.locales import localizer
from pipeline.adapters.documents.resources import ROOT, refuse_holes
from pipeline.adapters.documents.templates import Templates, opened
from pipeline.errors import DefinitionError

# Collections of WeasyPrint's many small objects cost a fifth of the time at Python's threshold of 700.
_GC_THRESHOLD = (100_000, 20, 50)


class _Press:
    """What is made once per bundle and process: fonts, parsed stylesheets. WeasyPrint is told of it all each time."""

    def __init__(self, templates: Templates) -> None:
        self.templates = templates
        self.fonts = FontConfiguration()
        self.counters = CounterStyle()
        self._papers: dict[str, Any] = {}
        found = templates.find("document.css")
        if found is None:
            raise DefinitionError("is missing from the bundle", place=templates.place("document.css"))
        self.sheet = self._sheet(found.read_text(encoding="utf-8"))

    def _sheet(self, source: str) -> Any:
        fetcher = BundleFetcher(self.templates)
        with failing(self.templates, fetcher):
            return CSS(
                string=source, base_url=ROOT, url_fetcher=fetcher, font_config=self.fonts, counter_style=self.counters
            )

    def paper(self, size: str) -> Any:
        """The sheet that says how large a page is; a template's own @page rule comes later and wins."""
        if size not in self._papers:
            self._papers[size] = self._sheet(f"@page {{ size: {size} }}")
        return self._papers[size]


@lru_cache(maxsize=16)
def _press(folder: Path, name: str) -> _Press:
    return _Press(opened(folder, name))


def render(content: Content, folder: Path) -> Document:
    """The PDF of `content`. Raises PermanentError naming whatever is missing, refused or undefined."""
    press = _press(folder, content.template)
    context = document_context(content, localizer(content.locale, content.zone), press.templates, format="pdf")
    html = press.templates.render("document.html", context, localizer(content.locale, content.zone))
    paper = f"{content.report.page} landscape" if context["landscape"] else content.report.page
    return lay_out(html, press, paper, content, context["lang"])


def lay_out(html: str, press: _Press, paper: str, content: Content, language: str) -> Document:
    """Lay out and write a PDF: title, language and dates are those of the content, whatever the template says."""
    refuse_holes(html, press.templates.place("document.html"))
    fetcher = BundleFetcher(press.templates)
    variant = content.report.pdf
    with failing(press.templates, fetcher, html) as told:
        document = HTML(string=html, base_url=ROOT, url_fetcher=fetcher).render(
            font_config=press.fonts,
            counter_style=press.counters,
            stylesheets=[press.paper(paper), press.sheet],
            pdf_variant=variant,
        )
        _refuse_links(document, press.templates)
        _describe(document.metadata, content, language)
        with warnings.catch_warnings():
            # For PDF/A it opens its colour profile and leaves the closing to the garbage collector.
            warnings.simplefilter("ignore", ResourceWarning)
            data = document.write_pdf(pdf_variant=variant)
    return Document(data, "application/pdf", ".pdf", len(document.pages), tuple(dict.fromkeys(told)))


def _refuse_links(document: Any, templates: Templates) -> None:
    for page in document.pages:
        for kind, target, *_ in page.links:
            if kind == "external" and target.startswith(ROOT):
                reason = f'the link "{target.removeprefix(ROOT)}" leads nowhere from a PDF: write its whole address'
                raise DefinitionError(reason, place=templates.place("document.html"))


def _describe(metadata: Any, content: Content, language: str) -> None:
    made = content.generated_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata.title = metadata.title or content.report.title
    metadata.lang = metadata.lang or language
    metadata.created = metadata.modified = made
    metadata.generator = None
    for attachment in metadata.attachments:
        attachment.created = attachment.modified = content.generated_at


def settle_memory() -> None:
    """Take everything made so far out of the garbage collector's sight, and let it look less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLD)


def forget() -> None:
    """Drop the fonts and stylesheets of every bundle seen so far."""
    _press.cache_clear()
