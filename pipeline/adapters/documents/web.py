"""One HTML file that needs nothing else: stylesheets, images and fonts of the bundle are written into it."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

from pipeline.adapters.documents.content import Content, Document
from pipeline.adapters.documents.context import document_context
from pipeline.adapters.documents.locales import localizer
from pipeline.adapters.documents.resources import ROOT, read, refuse_holes
from pipeline.adapters.documents.templates import Templates, opened
from pipeline.errors import DefinitionError

# Attributes whose address a browser would load; the href of a link to click on is left alone.
_LOADED = {"src", "poster", "data", "background"}
_LOADING_BY_HREF = {"link", "image", "use"}
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_IMPORT = re.compile(r"""@import\s+(?:url\(\s*)?(["']?)([^"')\s;]+)\1\s*\)?\s*([^;]*);""")
_URL = re.compile(r"""url\(\s*(["']?)(.*?)\1\s*\)""")


def render(content: Content, folder: Path) -> Document:
    """The report as a page that opens anywhere, offline too.

    Raises PermanentError naming whatever is missing, refused or undefined.
    """
    templates, reader = opened(folder, content.template), localizer(content.locale, content.zone)
    context = document_context(content, reader, templates, format="html")
    html = templates.render("document.html", context, reader)
    refuse_holes(html, templates.place("document.html"))
    page = self_contained(html, templates)
    return Document(page.encode(), "text/html; charset=utf-8", ".html")


def self_contained(html: str, templates: Templates) -> str:
    """`html` with `document.css` in its head and every file it loads written into it.

    Raises DefinitionError for what is missing or refused, naming the file that asks for it.
    """
    with _placed(templates, "document.css"):
        sheet = _style(_sheet(templates, urljoin(ROOT, "document.css")))
    inliner = _Inliner(templates, sheet)
    with _placed(templates, "document.html"):
        inliner.feed(html)
        inliner.close()
        if not inliner.styled:
            raise LookupError("it has no <head> for its stylesheet")
    return "".join(inliner.out)


@contextmanager
def _placed(templates: Templates, path: str) -> Iterator[None]:
    try:
        yield
    except LookupError as error:
        raise DefinitionError(str(error), place=templates.place(path)) from error


class _Inliner(HTMLParser):
    """Copies a page letter by letter and changes only the tags that load something."""

    def __init__(self, templates: Templates, sheet: str) -> None:
        super().__init__(convert_charrefs=False)
        self.templates, self.sheet = templates, sheet
        self.out: list[str] = []
        self.styled = False
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        raw = self.get_starttag_text() or ""
        if tag == "link" and "stylesheet" in (dict(attrs).get("rel") or "").lower():
            self.out.append(_style(_sheet(self.templates, urljoin(ROOT, dict(attrs).get("href") or ""))))
            return
        self.out.append(self._loading(tag, attrs, raw))
        self._in_style = tag == "style"
        if tag == "head":
            self.styled = True
            self.out.append(self.sheet)

    def _loading(self, tag: str, attrs: list[tuple[str, str | None]], raw: str) -> str:
        for name, value in attrs:
            if name == "srcset":
                raise LookupError(f"{raw[:120]}: srcset is not for documents: use src")
            by_href = tag in _LOADING_BY_HREF and name in {"href", "xlink:href"}
            if value and (name in _LOADED or by_href) and not value.startswith("#"):
                raw = _replaced(raw, name, _embedded(self.templates, urljoin(ROOT, value)))
            elif name == "style" and value and "url(" in value:
                raw = _replaced(raw, name, _with_data(self.templates, value, ROOT))
        return raw

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False
        self.out.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self.out.append(_css(self.templates, data, ROOT) if self._in_style else data)

    def handle_entityref(self, name: str) -> None:
        self.out.append(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self.out.append(f"&#{name};")

    def handle_comment(self, data: str) -> None:
        self.out.append(f"<!--{data}-->")

    def handle_decl(self, decl: str) -> None:
        self.out.append(f"<!{decl}>")


def _replaced(tag: str, name: str, value: str) -> str:
    pattern = re.compile(rf"""(\s{re.escape(name)}\s*=\s*)("[^"]*"|'[^']*'|[^\s>]+)""", re.IGNORECASE)
    return pattern.sub(lambda found: f'{found[1]}"{escape(unescape(value))}"', tag, count=1)


def _style(css: str) -> str:
    return "<style>\n" + css.replace("</", "<\\/") + "\n</style>"


def _sheet(templates: Templates, url: str) -> str:
    return _css(templates, read(templates, url)[0].decode("utf-8-sig"), url)


def _css(templates: Templates, css: str, base: str) -> str:
    """A stylesheet with its imports and files written into it; what is for paper only stays out."""

    def imported(found: re.Match[str]) -> str:
        media = found[3].strip()
        if media == "print":
            return ""
        sheet = _sheet(templates, urljoin(base, found[2]))
        return f"@media {media} {{\n{sheet}\n}}" if media else sheet

    # Imported text is finished already: its addresses are data: by now, and reading those again changes nothing.
    return _with_data(templates, _IMPORT.sub(imported, _COMMENT.sub("", css)), base)


def _with_data(templates: Templates, css: str, base: str) -> str:
    def embedded(found: re.Match[str]) -> str:
        address = found[2].strip()
        return (
            found[0] if address.startswith(("#", "data:")) else f'url("{_embedded(templates, urljoin(base, address))}")'
        )

    return _URL.sub(embedded, css)


def _embedded(templates: Templates, url: str) -> str:
    data, media_type = read(templates, url)
    return url if url[:5].lower() == "data:" else f"data:{media_type};base64,{b64encode(data).decode()}"
