"""Recipients: who gets what, did they get it, and to whom nothing is sent."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from pipeline import fingerprint
from pipeline.adapters.messages.addresses import valid_address
from pipeline.adapters.secret_keys import secret_keys
from pipeline.console.pages import Page, page, said
from pipeline.console.runs import address
from pipeline.console.visitors import Looking, Operating
from pipeline.db import clock, reading, transaction
from pipeline.services import answers, suppressing
from pipeline.settings import settings

router = APIRouter(include_in_schema=False, route_class=Page)
Text = Annotated[str, Query(max_length=500)]
FOUND, PEOPLE, LISTED = 30, 40, 30


@router.get("/recipients")
def search(request: Request, visitor: Looking, q: Text = "", after: Text = "") -> Response:
    """Whoever is called so, or all; what was sent to them last, in sentences."""
    text = q.strip()
    with reading() as session:
        people = answers.recipient_page(session, text or None, limit=PEOPLE, after=after or None)
        found = answers.who(session, text, limit=FOUND) if text else None
        suppressed = answers.suppressions(session, text or None, LISTED)
        subscribed = answers.subscriptions(session, text, limit=LISTED) if "@" in text else None
        now = clock(session)
    return page(
        request, "recipients.html", visitor, people=people, found=found, suppressed=suppressed, text=text, now=now,
        subscribed=subscribed, link=lambda **changes: address(request, **changes),
    )  # fmt: skip


@router.post("/recipients/suppress")
def suppress(request: Request, act: Operating) -> Response:
    """Send nothing to an address any more."""
    request.state.back = back = _back(act.form["address"])
    whom = valid_address(act.form["address"])
    reason = act.form["reason"] or f"asked for by {act.visitor.name}"
    with transaction() as session:
        new = suppressing.suppress(session, act.actor, whom, reason, fingerprint.of(secret_keys(settings()), whom))
    was = "" if new else " It was suppressed already; the first reason stays."
    return said(request, back, f"Nothing is sent to {whom} any more.{was}")


@router.post("/recipients/unsuppress")
def unsuppress(request: Request, act: Operating) -> Response:
    """Let mail go to an address again."""
    request.state.back = back = _back(act.form["address"])
    whom = valid_address(act.form["address"])
    with transaction() as session:
        marks = fingerprint.every(secret_keys(settings()), whom)
        suppressing.unsuppress(session, act.actor, whom, marks, act.form["reason"] or None)
    return said(request, back, f"Mail goes to {whom} again; what it had unsubscribed from stays so.")


def _back(text: str) -> str:
    return f"/recipients?{urlencode({'q': text[:200]})}"
