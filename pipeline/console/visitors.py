"""Who looks at a page: the login that their cookie names, what they may do, and where a form came from."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

from fastapi import Depends, Request, Response

from pipeline import tokens
from pipeline.adapters.secret_keys import secret_keys
from pipeline.db import clock, reading, transaction
from pipeline.errors import Refused
from pipeline.models import Door, Login, Scope
from pipeline.services import logins
from pipeline.services.audit import Actor
from pipeline.settings import settings

COOKIE = "pipeline_login"
# What the form to log in is bound to, before there is a login.
KNOCK = "pipeline_knock"
LARGEST_FORM = 1_000_000
MOST_FIELDS = 2_000


class LoginWanted(Exception):
    """Nobody is logged in: the page to log in comes first."""


class Forbidden(Refused):
    """Somebody is logged in, and may not do this."""


@dataclass(frozen=True)
class Visitor:
    """Who looks, and how far they may go."""

    login_id: UUID
    name: str
    role: Scope
    address: str | None

    def may(self, scope: str) -> bool:
        ranks = list(Scope)
        return ranks.index(self.role) >= ranks.index(Scope(scope))

    @property
    def actor(self) -> Actor:
        return Actor(self.name, Door.CONSOLE, self.address)

    @property
    def form_token(self) -> str:
        """What every form of theirs carries: no other site can know it."""
        return tokens.issue(secret_keys(settings()), tokens.Purpose.FORM, self.login_id.bytes)


def visitor(request: Request) -> Visitor:
    """Who is logged in. Raises LoginWanted."""
    login_id = _login_id(request)
    if login_id is None:
        raise LoginWanted
    with reading() as session:
        login = logins.find(session, login_id)
        stale = login is not None and logins.is_stale(login, clock(session))
    if login is None:
        raise LoginWanted
    if stale:
        with transaction(durable=False) as session:
            logins.seen(session, login.id)
    return Visitor(login.id, login.name, Scope(login.role), address_of(request))


def _login_id(request: Request) -> UUID | None:
    try:
        signed = tokens.read(
            secret_keys(settings()), tokens.Purpose.LOGIN, request.cookies.get(COOKIE, ""), datetime.now(UTC)
        )
        return UUID(bytes=signed)
    except (Refused, ValueError):
        return None


def welcome(response: Response, request: Request, login: Login) -> None:
    """Give them the cookie that says who they are."""
    end = login.created_at + logins.LONGEST
    signed = tokens.issue(secret_keys(settings()), tokens.Purpose.LOGIN, login.id.bytes, end)
    age = int(logins.LONGEST.total_seconds())
    response.set_cookie(COOKIE, signed, age, httponly=True, samesite="lax", secure=is_secure(request))
    response.delete_cookie(KNOCK)


def is_secure(request: Request) -> bool:
    """Whether the page came over TLS, here or at a proxy in front (which says so in X-Forwarded-Proto)."""
    public = urlsplit(settings().public_url)
    return request.url.scheme == "https" or (public.scheme == "https" and public.netloc == request.url.netloc)


def address_of(request: Request) -> str | None:
    return request.client.host if request.client else None


# ---- forms


@dataclass(frozen=True)
class Form:
    """What was filled in; a field that came several times is a list in `many`."""

    fields: Mapping[str, str]
    pairs: tuple[tuple[str, str], ...]

    def __getitem__(self, name: str) -> str:
        return self.fields.get(name, "").strip()

    def many(self, name: str) -> list[str]:
        return [value for key, value in self.pairs if key == name]

    def starting(self, prefix: str) -> dict[str, str]:
        """The fields whose names begin so, without that beginning."""
        return {name.removeprefix(prefix): value for name, value in self.pairs if name.startswith(prefix)}


async def read_form(request: Request) -> Form:
    """The form as a browser sends one without files. Raises Refused for another, or one that is too large."""
    kind = request.headers.get("Content-Type", "").partition(";")[0]
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_FORM:
            raise Refused("the form is too large")
    if body and kind != "application/x-www-form-urlencoded":
        raise Refused("this takes the forms of its own pages only")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise Refused("the form cannot be read") from None
    return Form(dict(pairs), tuple(pairs))


ReadForm = Annotated[Form, Depends(read_form)]
Looking = Annotated[Visitor, Depends(visitor)]


@dataclass(frozen=True)
class Act:
    """A form that was sent by somebody who may do what it says, from a page of ours."""

    visitor: Visitor
    form: Form

    @property
    def actor(self) -> Actor:
        return self.visitor.actor


def acting(scope: Scope) -> Callable[[Request, Visitor, Form], Act]:
    """A dependency: what was filled in, if it is theirs to do."""

    def check(request: Request, looking: Looking, form: ReadForm) -> Act:
        check_origin(request)
        signed = form["csrf"]
        try:
            body = tokens.read(secret_keys(settings()), tokens.Purpose.FORM, signed, datetime.now(UTC))
        except Refused:
            body = b""
        if body != looking.login_id.bytes:
            raise Forbidden("this form is of another login: go back, load the page again, and send it once more")
        if not looking.may(scope):
            raise Forbidden(f"this needs the role {scope}; {looking.name} has the role {looking.role}")
        return Act(looking, form)

    return check


Operating = Annotated[Act, Depends(acting(Scope.OPERATE))]
Reading = Annotated[Act, Depends(acting(Scope.READ))]


def check_origin(request: Request) -> None:
    """Raises Forbidden for a form that a page of another site sent, as browsers tell."""
    site = request.headers.get("Sec-Fetch-Site")
    if site in {"cross-site", "same-site"}:
        raise Forbidden("this form came from another site: nothing was done")
    origin = request.headers.get("Origin", "null")
    ours = {request.headers.get("Host"), urlsplit(settings().public_url).netloc or None}
    if site is None and origin != "null" and urlsplit(origin).netloc not in ours:
        raise Forbidden(
            f"this form came from {origin}, another site: nothing was done. If that is the console's own address, the "
            "proxy in front has to hand on the Host that it is asked for, or PIPELINE_PUBLIC_URL to name it"
        )


# ---- before there is a login


def knock(request: Request, response: Response) -> None:
    """Bind the form to log in to this browser."""
    if KNOCK not in request.cookies:
        response.set_cookie(KNOCK, _new_knock(request), httponly=True, samesite="strict", secure=is_secure(request))


def knock_token(request: Request) -> str:
    """What the form to log in carries, for the browser that asks."""
    return tokens.issue(secret_keys(settings()), tokens.Purpose.FORM, b"knock" + _new_knock(request).encode())


def _new_knock(request: Request) -> str:
    if not hasattr(request.state, "knock"):
        request.state.knock = request.cookies.get(KNOCK) or secrets.token_urlsafe(16)
    found: str = request.state.knock
    return found


def check_knock(request: Request, form: Form) -> None:
    """Raises Forbidden for a form to log in that another browser, or another site, was given."""
    check_origin(request)
    kept = request.cookies.get(KNOCK, "")
    if not kept or not secrets.compare_digest(form["csrf"].encode(), knock_token(request).encode()):
        raise Forbidden("this form is too old, or your browser keeps no cookies: load the page again")
