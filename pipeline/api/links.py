"""What the links in messages lead to: documents, and the page to unsubscribe. The token in them is the only right."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from pipeline.adapters.documents.bundles import base_templates
from pipeline.adapters.secret_keys import secret_keys
from pipeline.api.downloads import download
from pipeline.console.pages import environment
from pipeline.db import reading, transaction
from pipeline.errors import NotFound, PermanentError, Refused
from pipeline.models import Door
from pipeline.services import links, optouts
from pipeline.services.answers import wording
from pipeline.services.audit import Actor
from pipeline.services.links import SharedFile
from pipeline.services.optouts import Subscription
from pipeline.settings import settings

router = APIRouter(include_in_schema=False)
# Nobody else keeps what a link opens, and no page of another site shows it.
HEADERS = {
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@router.get("/u/{token}")
def ask(token: str) -> HTMLResponse:
    """The page to unsubscribe: it asks, and changes nothing, since scanners of mail open every link."""
    try:
        with reading() as session:
            found = optouts.subscription(session, secret_keys(settings()), token)
    except Refused as error:
        return _refusal(error)
    return _done(found) if found.ended else _page(found, "unsubscribe_ask", button="unsubscribe")


@router.post("/u/{token}")
def unsubscribe(token: str, request: Request) -> HTMLResponse:
    """The button of that page, and the one click of mail programs (RFC 8058), whatever their form says."""
    reader = Actor("reader", Door.HTTP, request.client.host if request.client else None)
    try:
        with transaction() as session:
            found = optouts.unsubscribe(session, secret_keys(settings()), token, reader)
    except Refused as error:
        return _refusal(error)
    return _done(found)


@router.api_route("/d/{token}", methods=["GET", "HEAD"], response_model=None)
def document(token: str, request: Request) -> Response:
    """The document behind a link in a message, as a file to save."""
    return _file(request, lambda session: links.shared_file(session, secret_keys(settings()), token))


@router.api_route("/f/{token}", methods=["GET", "HEAD"], response_model=None)
def file(token: str, request: Request) -> Response:
    """The file behind a link that somebody had made over HTTP."""
    return _file(request, lambda session: links.linked_file(session, secret_keys(settings()), token))


def _file(request: Request, find: Callable[[Session], SharedFile]) -> Response:
    try:
        with reading() as session:
            found = find(session)
        answer = download(request, found)
    except PermanentError as error:
        return _refusal(error)
    answer.headers.update(HEADERS)
    return answer


def _done(found: Subscription) -> HTMLResponse:
    return _page(found, "unsubscribe_done")


def _page(found: Subscription, sentence: str, button: str = "") -> HTMLResponse:
    lang = (found.locale or settings().locale).partition("_")[0]
    words = {**_words()["en"], **_words().get(lang, {})}
    said = words[sentence].format(title=found.title, address=found.address)
    return _html(200, lang if lang in _words() else "en", words["unsubscribe"], said, words.get(button, ""))


def _refusal(error: PermanentError) -> HTMLResponse:
    ended = isinstance(error, Refused) and not isinstance(error, NotFound)
    return _html(410 if ended else 404, "en", "This link leads nowhere", wording.sentence(error))


def _html(status: int, lang: str, title: str, sentence: str, button: str = "") -> HTMLResponse:
    page = environment().get_template("reader.html").render(lang=lang, title=title, sentence=sentence, button=button)
    return HTMLResponse(page, status, headers=HEADERS)


@cache
def _words() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads((base_templates() / "words.json").read_text(encoding="utf-8"))
    return found
