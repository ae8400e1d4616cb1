"""The only way out of a document being rendered: `data:` and the bundle's own files, nothing else."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit
from urllib.request import DataHandler, Request

from weasyprint.urls import URLFetcher, URLFetcherResponse

from pipeline.adapters.documents.templates import Templates

# What relative addresses are resolved against. Nothing is ever asked of this host: .invalid has no servers (RFC 2606).
ROOT = "https://bundle.invalid/"
# By ending, not by the machine's mime.types: the same bundle gives the same bytes everywhere.
MEDIA_TYPES = {
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


class BundleFetcher(URLFetcher):  # type: ignore[misc]  # it ships no types
    """Answers WeasyPrint from one bundle and keeps what it refused: some callers in WeasyPrint swallow any exception.

    It never calls URLFetcher's __init__: that builds the openers for http, ftp and file that must not exist here.
    """

    def __init__(self, templates: Templates) -> None:
        self.templates = templates
        self.refused: list[str] = []
        # A refusal ends the rendering (FatalURLFetchingError) instead of leaving a hole in the page.
        self._fail_on_errors = True

    def fetch(self, url: str, headers: dict[str, str] | None = None) -> URLFetcherResponse:
        """The bytes behind `url`. Raises LookupError, also noted in `refused`, for all but `data:` and bundled files."""
        try:
            data, media_type = read(self.templates, url)
        except LookupError as error:
            self.refused.append(str(error))
            raise
        return URLFetcherResponse(url, data, {"Content-Type": media_type})


def read(templates: Templates, url: str) -> tuple[bytes, str]:
    """Bytes and media type of a `data:` address or of a file in the bundle.

    Raises LookupError, naming the address and what is allowed.
    """
    if url[:5].lower() == "data:":
        try:
            with DataHandler().data_open(Request(url)) as response:  # noqa: S310 - data: reaches nothing
                return response.read(), response.headers.get_content_type()
        except ValueError as error:
            raise LookupError(f'"{url[:60]}…" is not a data: address: {error}') from error
    if not url.startswith(ROOT):
        raise LookupError(
            f'"{url[:200]}" is refused: a document takes files from its template folder and data: addresses only; '
            "put a copy beside the template"
        )
    path = unquote(urlsplit(url).path.lstrip("/"))
    found = templates.find(path)
    if found is None:
        raise LookupError(f'"{path}" is missing: put it into templates/{templates.name} or templates/_base')
    return found.read_bytes(), MEDIA_TYPES.get(PurePosixPath(path).suffix.lower(), "application/octet-stream")
