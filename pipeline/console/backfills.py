"""Backfills: a schedule's slots of a range, looked at before they are run, and how far those are that were opened."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated
from urllib.parse import quote, urlencode
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Path, Query, Request, Response
from sqlalchemy.orm import Session

from pipeline import timing
from pipeline.api.backfills import fill
from pipeline.console.pages import Page, page, said
from pipeline.console.visitors import Looking, Operating
from pipeline.db import clock, reading, transaction
from pipeline.errors import PipelineError, Refused
from pipeline.models import Order
from pipeline.services import answers, backfills, ranges
from pipeline.services.answers import wording
from pipeline.services.ranges import Preview, Wish

router = APIRouter(include_in_schema=False, route_class=Page)
Key = Annotated[str, Path(max_length=200)]
Text = Annotated[str, Query(max_length=40)]
# Slots that are shown, and backfills that are listed.
SHOWN, LISTED = 60, 10


@router.get("/schedules/{key}/backfill")
def look(
    request: Request, visitor: Looking, key: Key, since: Annotated[str, Query(alias="from", max_length=40)] = "",
    until: Annotated[str, Query(alias="to", max_length=40)] = "", order: Text = "", again: Text = "",
) -> Response:  # fmt: skip
    """The form and, once it says a range, what would become of each of its slots; nothing is opened."""
    asked = {"from": since, "to": until, "order": order, "again": again}
    found, wrong = None, ""
    with reading() as session:
        detail = answers.schedule(session, key)
        zone = answers.zone(session, key)
        listed = answers.backfills(session, key, limit=LISTED).backfills
        if since:
            found, wrong = _looked_at(session, key, asked, zone)
    return page(
        request, "backfill.html", visitor, zone=zone, one=detail.summary, key=key, asked=asked, found=found,
        wrong=wrong, listed=listed, orders=list(Order), shown=SHOWN, status=409 if wrong else 200,
    )  # fmt: skip


def _looked_at(session: Session, key: str, asked: Mapping[str, str], zone: str) -> tuple[Preview | None, str]:
    try:
        return ranges.preview(session, _wish(session, key, asked, zone)), ""
    except PipelineError as error:
        return None, wording.sentence(error)


@router.post("/schedules/{key}/backfills")
def start(request: Request, key: Key, act: Operating, later: BackgroundTasks) -> Response:
    """Open it, as it was looked at."""
    asked = {name: act.form[name] for name in ("from", "to", "order", "again", "concurrency")}
    request.state.back = f"{_page_of(key)}?{urlencode({name: value for name, value in asked.items() if value})}"
    with transaction() as session:
        wish = _wish(session, key, asked, answers.zone(session, key))
        backfill_id = backfills.open_backfill(session, wish, act.actor).id
    later.add_task(fill, request, backfill_id)
    return said(request, _page_of(key), "It is opened: its runs begin, some at a time.")


@router.post("/schedules/{key}/backfills/{backfill_id}/cancel")
def cancel(request: Request, key: Key, backfill_id: UUID, act: Operating) -> Response:
    """What has not begun never will."""
    request.state.back = _page_of(key)
    with transaction() as session:
        backfills.cancel(session, backfill_id, act.actor, act.form["reason"] or None)
    return said(request, _page_of(key), "It is cancelled: what has not begun never will.")


def _wish(session: Session, key: str, asked: Mapping[str, str], zone: str) -> Wish:
    """The range that a form says, with its last day. Raises Refused."""
    until = timing.day_instant(_day(asked["to"]), zone, end=True) if asked["to"] else clock(session)
    concurrency = asked.get("concurrency") or "1"
    return Wish(
        key,
        timing.day_instant(_day(asked["from"]), zone),
        until,
        Order.NEWEST if asked["order"] == Order.NEWEST else Order.OLDEST,
        int(concurrency) if concurrency.isdecimal() else 0,
        again=bool(asked["again"]),
    )


def _day(text: str) -> date:
    try:
        found = date.fromisoformat(text)
        if not 1970 <= found.year < 2200:
            raise ValueError(text)
    except ValueError:
        raise Refused(f'"{text}" is not a day: write it like 2026-11-01') from None
    return found


def _page_of(key: str) -> str:
    return f"/schedules/{quote(key)}/backfill"
