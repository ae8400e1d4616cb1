"""People over HTTP: who they are, what they were sent, and whether it arrived."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from pipeline.api.identity import Admin, Reader
from pipeline.api.parameters import After, Instant, Limit
from pipeline.api.problems import RESPONSES
from pipeline.db import reading
from pipeline.services import answers
from pipeline.services.answers import AuditPage, RecipientPage, Who

router = APIRouter(prefix="/api", tags=["people"], responses=RESPONSES)
Since = Annotated[Instant | None, Query(description="Only since this instant.")]


@router.get("/recipients", summary="Search for people")
def list_recipients(
    caller: Reader,
    text: Annotated[str | None, Query(max_length=320, description="A part of an address or a name.")] = None,
    limit: Limit = 50,
    after: After = None,
) -> RecipientPage:
    """By address: whether anything is sent to them, and what was sent last."""
    with reading() as session:
        return answers.recipient_page(session, text, limit=limit, after=after)


@router.get("/who", summary="Did they get theirs?")
def did_they_get_theirs(
    caller: Reader,
    text: Annotated[str, Query(min_length=1, max_length=320, description="A key, a name, an address or a domain.")],
    since: Since = None,
    limit: Limit = 20,
) -> Who:
    """Searches all runs and answers in sentences: what, for which period, handed over when and where; or why not."""
    with reading() as session:
        return answers.who(session, text, since, limit)


@router.get("/audit", summary="Who did what")
def list_acts(
    caller: Admin,
    subject: Annotated[str | None, Query(max_length=200, description="A schedule, or an id's beginning.")] = None,
    since: Since = None,
    limit: Limit = 50,
    after: After = None,
) -> AuditPage:
    """The newest first: through which door, from which address. Needs the scope admin."""
    with reading() as session:
        return answers.audit_page(session, subject, since, limit=limit, after=after)
