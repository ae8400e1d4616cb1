"""What a document may take from outside its text: `data:` addresses and its bundle's own files, nothing else."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit
from urllib.request import DataHandler, Request

from pipeline.adapters.documents.content import MAX_HTML_BYTES
from pipeline.adapters.documents.templates import Templates
from pipeline.errors import DefinitionError, PermanentError

# What relative addresses are resolved against. Nothing is ever asked of this host: .invalid has no servers (RFC 2606).
ROOT = "https://bundle.invalid/"
# By ending, not by the machine's mime.types: the same bundle gives the same bytes everywhere.
_MEDIA_TYPES = {
    ".css": "text/css",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".otf": "font/otf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
# What a renderer drops without a word: images without an address, parts of other SVG files.
_HOLES = re.compile(
    r"""<img\b(?![^>]*\bsrc\s*=\s*["']?[^"'\s>])[^>]*>|<use\b[^>]*\bhref\s*=\s*["']?[^"'#\s>][^>]*>""", re.IGNORECASE
)


def read(templates: Templates, url: str) -> tuple[bytes, str]:
    """Bytes and media type behind an absolute address: `data:`, or a file of the bundle below ROOT.

    Raises LookupError, naming the address and the way out, for anything else: http, file, ftp, links out of the bundle.
    """
    if url[:5].lower() == "data:":
        try:
            with DataHandler().data_open(Request(url)) as response:  # noqa: S310 - data: reaches nothing
                return response.read(), response.headers.get_content_type()
        except ValueError as error:
            raise LookupError(f'"{url[:60]}" is not a data: address: {error}') from error
    if not url.startswith(ROOT):
        raise LookupError(
            f'"{url[:200]}" is refused: a document takes files from its template folder and data: addresses only; '
            "put a copy beside the template"
        )
    path = unquote(urlsplit(url).path.lstrip("/"))
    found = templates.find(path)
    if found is None:
        raise LookupError(f'"{path}" is missing: put it into templates/{templates.name} or templates/_base')
    data, media_type = (
        found.read_bytes(),
        _MEDIA_TYPES.get(PurePosixPath(path).suffix.lower(), "application/octet-stream"),
    )
    if media_type == "image/svg+xml" and (hole := _HOLES.search(data.decode(errors="replace"))):
        raise LookupError(f'"{path}": {hole[0][:120]} would show nothing: copy what it uses into the file')
    return data, media_type


def whose(templates: Templates, html: str | None, address: str) -> str:
    """The template that asks for an address: `document.html` where it stands in the page, else `document.css`."""
    name = unquote(address).rstrip("/").rpartition("/")[2].strip("\"'),") or address
    return templates.place("document.html" if html is not None and name in unquote(html) else "document.css")


def refuse_holes(html: str, place: str) -> None:
    """Raise PermanentError for a document too large to lay out, or with an image that would silently be missing."""
    if len(html) > MAX_HTML_BYTES:
        raise PermanentError(f"{place}: {len(html):,} characters of HTML are more than the {MAX_HTML_BYTES:,} allowed")
    hole = _HOLES.search(html)
    if hole:
        raise DefinitionError(f"{hole[0][:120]} would show nothing: name a file of the template folder", place=place)
