"""Logging in and out: with a password, or by a link that works once."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from pipeline import log
from pipeline.adapters import passwords
from pipeline.console import visitors
from pipeline.console.pages import HEADERS, Page, page
from pipeline.console.visitors import COOKIE, LoginWanted, ReadForm, Reading
from pipeline.db import reading, transaction
from pipeline.errors import Refused
from pipeline.models import Door, Login
from pipeline.services import logins
from pipeline.services.answers import wording
from pipeline.services.audit import Actor

router = APIRouter(include_in_schema=False, route_class=Page)
logger = log.get(__name__)
Next = Annotated[str, Query(max_length=2000)]


@router.get("/login")
def ask(request: Request, next: Next = "/") -> Response:  # noqa: A002 - the word in the address
    """The form to log in; whoever is logged in goes on."""
    try:
        visitors.visitor(request)
    except LoginWanted:
        return _form(request, next)
    return RedirectResponse(_inside(next), 303, headers=HEADERS)


@router.post("/login")
def log_in(request: Request, form: ReadForm) -> Response:
    """Log in with a password; a name that nobody has is refused in the same words, after the same time."""
    visitors.check_knock(request, form)
    name, password = form["name"], form.fields.get("password", "")
    address = visitors.address_of(request)
    try:
        with transaction(durable=False) as session:
            logins.try_again(session, name, address or "")
            kept = logins.password_of(session, name)
    except logins.TooManyTries as error:
        logger.warning("too many wrong passwords", address=address)
        closed = _form(request, form["next"], wording.sentence(error), name, 429)
        closed.headers["Retry-After"] = str(error.again_in)
        return closed
    login = None
    if passwords.is_right(password[:2000], kept) and kept is not None:
        with transaction() as session:
            login = logins.log_in(session, name, kept, Actor(name, Door.CONSOLE, address))
    if login is None:
        logger.warning("a wrong password", address=address)
        return _form(request, form["next"], "The name or the password is not right.", name, 401)
    return _go_on(request, login, form["next"])


@router.get("/login/{secret}")
def ask_by_link(request: Request, secret: str) -> Response:
    """The page behind a link that works once: a look uses nothing up, since terminals and chats look at links, too."""
    with reading() as session:
        valid = logins.is_link(session, secret)
    if not valid:
        return _form(request, "/", "This link was used already, or is too old: pipeline user link prints another.")
    response = page(request, "login.html", link=secret, token=visitors.knock_token(request))
    visitors.knock(request, response)
    return response


@router.post("/login/{secret}")
def log_in_by_link(request: Request, secret: str, form: ReadForm) -> Response:
    """Log in by the link."""
    visitors.check_knock(request, form)
    try:
        with transaction() as session:
            login = logins.follow(session, secret, Actor("link", Door.CONSOLE, visitors.address_of(request)))
    except Refused as error:
        return _form(request, "/", wording.sentence(error).replace("`", ""), status=410)
    return _go_on(request, login, "/")


@router.post("/logout")
def log_out(request: Request, act: Reading) -> Response:
    """End the login here and now, whoever has its cookie."""
    with transaction() as session:
        logins.log_out(session, act.visitor.login_id)
    response = RedirectResponse("/login", 303, headers=HEADERS)
    response.delete_cookie(COOKIE)
    return response


def _form(request: Request, next_: str, wrong: str = "", name: str = "", status: int = 200) -> Response:
    token = visitors.knock_token(request)
    response = page(
        request, "login.html", status=status, wrong=wrong, name=name, next=_inside(next_), token=token, link=""
    )
    visitors.knock(request, response)
    return response


def _go_on(request: Request, login: Login, next_: str) -> Response:
    response = RedirectResponse(_inside(next_), 303, headers=HEADERS)
    visitors.welcome(response, request, login)
    return response


def _inside(address: str) -> str:
    """The address, if it is a page of ours; another site is no place to go on to."""
    inside = address.startswith("/") and not address.startswith(("//", "/\\", "/login", "/logout"))
    return quote(address, safe="/?&=%+@:,~!$'()*;-._") if inside and address.isprintable() else "/"
