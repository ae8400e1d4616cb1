"""How a page is made: templates, what every page says of who looks, its headers, and how an error looks."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Coroutine
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException

from pipeline import __version__, log
from pipeline.console import filters
from pipeline.console.visitors import Forbidden, LoginWanted, Visitor, is_secure
from pipeline.db import is_away
from pipeline.errors import NotFound, PipelineError, TransientError
from pipeline.report import WHOLE
from pipeline.services.answers import wording
from pipeline.settings import settings

logger = log.get(__name__)
HERE = Path(__file__).parent
SAID = "pipeline_said"
# Nothing from elsewhere, no script or style in a page itself, no page of another site around ours.
HEADERS = {
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@cache
def environment() -> Environment:
    """The templates; whatever a row holds is text in them."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    made.globals |= {"version": __version__, "asset": asset, "csrf": _csrf, "whole": WHOLE}
    filters.install(made)
    return made


@pass_context
def _csrf(context: Context) -> Markup:
    """What every form of a page carries."""
    return Markup('<input type="hidden" name="csrf" value="{}">').format(context["visitor"].form_token)


@cache
def asset(name: str) -> str:
    """The address of a file of ours, which browsers may keep as long as it is the same."""
    digest = hashlib.sha256((HERE / "static" / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def page(
    request: Request, template: str, visitor: Visitor | None = None, *, status: int = 200, **context: Any
) -> HTMLResponse:
    """The page, with what was said after the last act, which is said once."""
    said = _said(request)
    text = (
        environment()
        .get_template(template)
        .render(
            visitor=visitor,
            zone=context.pop("zone", settings().timezone),
            path=request.url.path,
            query=request.query_params,
            said=said,
            **context,
        )
    )
    response = HTMLResponse(text, status, headers=HEADERS)
    if said:
        response.delete_cookie(SAID)
    return response


def fragment(template: str, **context: Any) -> str:
    """A part of a page, for a script that puts it in place."""
    return environment().get_template(template).render(**context)


def said(request: Request, to: str, text: str, *, wrong: bool = False) -> RedirectResponse:
    """Go to a page after an act, and say there what became of it."""
    response = RedirectResponse(to, 303, headers=HEADERS)
    # A cookie has room for 4 kB.
    packed = base64.urlsafe_b64encode(json.dumps([text[:700], wrong], ensure_ascii=False).encode()).decode()
    response.set_cookie(SAID, packed, 60, httponly=True, samesite="lax", secure=is_secure(request))
    return response


def _said(request: Request) -> dict[str, Any] | None:
    try:
        text, wrong = json.loads(base64.urlsafe_b64decode(request.cookies.get(SAID, "")))
        return {"text": str(text), "wrong": bool(wrong)}
    except ValueError:
        return None


class Page(APIRoute):
    """A route for people: what goes wrong is a page that says so, or is said on the page they came from."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except (PipelineError, LoginWanted, HTTPException, RequestValidationError, DBAPIError) as error:
                return _answer(request, error)

        return answer


def _answer(request: Request, error: Exception) -> Response:
    if isinstance(error, LoginWanted):
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        back = f"?next={quote(wanted, safe='/')}" if request.method == "GET" and wanted != "/" else ""
        return RedirectResponse(f"/login{back}", 303, headers=HEADERS)
    refused = isinstance(error, PipelineError) and not isinstance(error, Forbidden)
    if request.method == "POST" and refused and getattr(request.state, "back", None):
        return said(request, request.state.back, wording.sentence(error), wrong=True)
    status, title, text = _told(error)
    return page(request, "error.html", status=status, title=title, text=text)


def _told(error: Exception) -> tuple[int, str, str]:  # noqa: PLR0911 - a table
    match error:
        case Forbidden():
            return 403, "Not allowed", wording.sentence(error)
        case NotFound():
            return 404, "Not here", wording.sentence(error)
        case TransientError():
            return 503, "Not now", wording.sentence(error)
        case PipelineError():
            return 409, "That cannot be", wording.sentence(error)
        case HTTPException():
            return error.status_code, str(error.detail), ""
        case RequestValidationError():
            first = error.errors()[0]
            return 422, "That cannot be", f"{'.'.join(str(part) for part in first['loc'][1:])}: {first['msg']}."
        case DBAPIError() if is_away(error):
            logger.warning("the database is away", error=str(error.orig))
            return 503, "Not now", "The pipeline's database does not answer; what is at work goes on when it does."
        case _:
            raise error
