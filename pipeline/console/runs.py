"""The list of runs, and the way from what somebody types to the run, key or person that they mean."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import select

from pipeline.console.filters import as_id
from pipeline.console.pages import HEADERS, Page, page
from pipeline.console.visitors import Looking
from pipeline.db import clock, reading
from pipeline.errors import PipelineError
from pipeline.models import RunStatus, Schedule, Trigger
from pipeline.services import answers
from pipeline.services import runs as rows
from pipeline.services.answers import RunFilter

router = APIRouter(include_in_schema=False, route_class=Page)
Text = Annotated[str, Query(max_length=500)]
PAGE = 30
SPANS = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=31)}
# What the short ways to a list are called, and which statuses they mean.
GROUPS = {
    "problems": (RunStatus.FAILED, RunStatus.PARTIAL, RunStatus.REJECTED),
    "open": (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING, RunStatus.CANCELLING),
}


@router.get("/runs")
def list_runs(
    request: Request,
    visitor: Looking,
    *,
    schedule: Text = "",
    status: Text = "",
    since: Text = "",
    trigger: Text = "",
    q: Text = "",
    after: Annotated[str | None, Query(max_length=300)] = None,
) -> Response:
    """Every run, the newest first; filtered, and by recipient or key."""
    with reading() as session:
        now = clock(session)
        wanted = RunFilter(
            schedule=schedule or None,
            statuses=GROUPS.get(status, (status,) if status else ()),
            since=now - SPANS[since] if since in SPANS else None,
            recipient=q.strip() or None,
            trigger=trigger or None,
        )
        found = answers.run_page(session, wanted, limit=PAGE, after=after)
        counts = {} if schedule or q or trigger else answers.run_counts(session, wanted.since)
        keys = session.scalars(select(Schedule.key).order_by(Schedule.key).limit(2000)).all()
    return page(
        request, "runs.html", visitor, found=found, counts=counts, keys=keys, statuses=list(RunStatus),
        groups=GROUPS, triggers=list(Trigger), spans=SPANS, now=now,
        link=lambda **changes: address(request, **changes),
    )  # fmt: skip


def address(request: Request, **changes: object) -> str:
    """This page's address with some of its query changed; without the place in the list, unless that is said."""
    said = {**{name: value for name, value in request.query_params.items() if name != "after"}, **changes}
    query = urlencode({name: value for name, value in said.items() if value not in (None, "")})
    return f"{request.url.path}?{query}" if query else request.url.path


@router.get("/find")
def find(visitor: Looking, q: Text = "") -> Response:
    """To the run whose id (or NAME@DAY) it is, to the schedule of that name, else to whoever is called so."""
    text = q.strip()
    if not text:
        return RedirectResponse("/runs", 303, headers=HEADERS)
    with reading() as session:
        if session.get(Schedule, text) is not None:
            return RedirectResponse(f"/schedules/{quote(text)}", 303, headers=HEADERS)
        try:
            run = rows.find(session, text) if "@" in text or looks_like_an_id(text) else None
        except PipelineError:
            run = None
    if run is not None:
        return RedirectResponse(f"/runs/{run.id}", 303, headers=HEADERS)
    return RedirectResponse(f"/recipients?{urlencode({'q': text})}", 303, headers=HEADERS)


def looks_like_an_id(text: str) -> bool:
    digits = text.replace("-", "").lower()
    return as_id(text) is not None or (len(digits) >= 8 and set(digits) <= set("0123456789abcdef"))
