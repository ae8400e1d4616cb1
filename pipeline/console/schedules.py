"""Schedules: when each is due next, what was decided, how to run one now, and how to pause it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import yaml
from fastapi import APIRouter, BackgroundTasks, Depends, Path, Query, Request, Response

from pipeline import schedule as definitions
from pipeline import tasks, timing
from pipeline.console import asking, heatmap
from pipeline.console.filters import local
from pipeline.console.pages import Page, page, said
from pipeline.console.runs import address
from pipeline.console.visitors import Looking, Operating, ReadForm
from pipeline.db import clock, reading, transaction
from pipeline.errors import DefinitionError, Refused
from pipeline.models import Schedule, Trigger
from pipeline.services import answers, pausing
from pipeline.services.answers import RunFilter, Span, wording
from pipeline.services.runs import Request as Wish
from pipeline.settings import settings

router = APIRouter(include_in_schema=False, route_class=Page)
Text = Annotated[str, Query(max_length=500)]
PAGE, NEXT, SLOTS, RUNS = 50, 6, 20, 8
# Letters of an address that carries a form back.
LONGEST_QUERY = 1500


def back_to_the_schedule(request: Request, key: Annotated[str, Path(max_length=200)], form: ReadForm) -> str:
    """What cannot be is said on the page of the schedule, with the form as it was filled in."""
    typed = {name: value for name, value in form.fields.items() if value and name not in {"csrf", "once"}}
    query = urlencode({"open": request.url.path.rpartition("/")[2], **typed})
    request.state.back = f"{_page_of(key)}?{query}" if len(query) < LONGEST_QUERY else _page_of(key)
    return key


def _page_of(key: str) -> str:
    return f"/schedules/{quote(key)}"


Key = Annotated[str, Depends(back_to_the_schedule)]


@router.get("/schedules")
def list_schedules(request: Request, visitor: Looking, q: Text = "", state: Text = "", after: Text = "") -> Response:
    """All that are in force, by key."""
    with reading() as session:
        found = answers.schedule_page(
            session, text=q.strip() or None, retired=state == "retired", limit=PAGE, after=after or None
        )
    return page(request, "schedules.html", visitor, found=found, link=lambda **changes: address(request, **changes))


@router.get("/schedules/{key}")
def show(request: Request, visitor: Looking, key: Annotated[str, Path(max_length=200)]) -> Response:
    """One schedule: what it does, when it is due, what was decided, and the form that runs it now."""
    with reading() as session:
        detail = answers.schedule(session, key)
        row = session.get_one(Schedule, key)
        definition = _parsed(detail.definition, key)
        slots = answers.slots(session, key, limit=SLOTS)
        now = clock(session)
        today = local(now, slots.zone).date()
        since = datetime.combine(heatmap.first_day(today), datetime.min.time(), timing.find_zone(slots.zone))
        days = answers.slot_days(session, key, Span(since.astimezone(UTC)))
        runs = answers.run_page(session, RunFilter(schedule=key), limit=RUNS)
    fires = _fires(definition, now) if row.retired_at is None else None
    return page(
        request, "schedule.html", visitor, zone=slots.zone, one=detail.summary, row=row, slots=slots, runs=runs,
        definition=definition, fires=fires, drawn=heatmap.draw(days, today) if days else None,
        fields=asking.fields(definition) if definition and visitor.may("operate") else [], key=key,
        once=asking.once(), is_report=definition is not None and definition.kind == "report",
        file=yaml.safe_dump(detail.definition, sort_keys=False, allow_unicode=True, width=100),
    )  # fmt: skip


@router.post("/schedules/{key}/trigger")
def trigger(request: Request, key: Key, act: Operating, later: BackgroundTasks) -> Response:
    """Open a run now, as the form says; the same form sent twice opens one."""
    form = act.form
    with reading() as session:
        definition = _parsed(answers.schedule(session, key).definition, key)
    wish = Wish(
        key,
        asking.answers(form, definition),
        form["period"] or None,
        asking.words(form["keys"]),
        asking.words(form["to"]),
        send=not form["no_send"],
        at_once=bool(form["now"]),
        trigger=Trigger.MANUAL,
        actor=act.actor,
        idempotency_key=f"{act.actor}/{form['once']}" if form["once"] else None,
    )
    run, new = tasks.open_run(wish)
    if new:
        later.add_task(tasks.publish, run.id)
    return said(request, f"/runs/{run.id}", "It is opened." if new else "It was opened already.")


@router.post("/schedules/{key}/pause")
def pause(request: Request, key: Key, act: Operating) -> Response:
    """Fire nothing for a while, or until it is resumed."""
    with transaction() as session:
        zone = answers.zone(session, key)
        until = _instant(act.form["until"], zone)
        found = pausing.pause(session, key, act.actor, note=act.form["note"] or None, until=until)
    became = "That is replaced" if found.new else "Nothing was changed"
    before = f"It was {found.before}. {became}. " if found.before else ""
    ends = f" It resumes by itself on {wording.moment(until, zone)}." if until else ""
    return said(request, _page_of(key), f"{before}Paused: what is due meanwhile is recorded, and does not fire.{ends}")


@router.post("/schedules/{key}/resume")
def resume(request: Request, key: Key, act: Operating) -> Response:
    """Fire again, from now on; what was missed is made up for on demand."""
    with transaction() as session:
        found = pausing.resume(session, key, act.actor, catch_up=bool(act.form["catch_up"]))
    missed = f" It missed {wording.counted(found.missed, 'slot')} during the pause." if found.missed else ""
    ahead = f" Next on {wording.moment(found.next_due_at, found.zone)}." if found.next_due_at else ""
    return said(request, _page_of(key), f"Resumed.{missed}{ahead}")


def _parsed(stored: dict[str, Any], key: str) -> definitions.Schedule | None:
    """None for a definition of another version that this one cannot read."""
    try:
        return definitions.parse(stored, f"schedule {key}")
    except DefinitionError:
        return None


def _fires(definition: definitions.Schedule | None, now: datetime) -> answers.Upcoming | None:
    """The next fires, with what clocks and calendars do to them."""
    if definition is None or definition.when is None:
        return None
    return answers.upcoming(definition.when, settings().timezone, now, NEXT)


def _instant(text: str, zone: str) -> datetime | None:
    """What a field for date and time says, local to the zone. Raises Refused for what is none."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=timing.find_zone(zone)).astimezone(UTC)
    except ValueError:
        raise Refused(f'"{text}" is not a date and time: write it like 2026-12-01T18:00') from None
