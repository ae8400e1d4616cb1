"""Today: what somebody has to look at, what ran, what runs, and what is due."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from pipeline.console import timeline
from pipeline.console.filters import lasted, local, tone
from pipeline.console.pages import HEADERS, Page, fragment, page
from pipeline.console.timeline import Bar, Lane, Piece, Scale, Timeline
from pipeline.console.visitors import Looking
from pipeline.db import reading
from pipeline.models import RunStatus
from pipeline.services import answers, braking, health
from pipeline.services.answers import DueToday, RunFilter, RunSummary, wording
from pipeline.services.answers import Timeline as Day
from pipeline.services.answers.notices import NoticeAnswer, notices
from pipeline.settings import settings

router = APIRouter(include_in_schema=False, route_class=Page)
# Rows of each list, and matters that are looked at.
LISTED, MATTERS = 8, 40
OPEN = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING, RunStatus.CANCELLING)


@router.get("/")
def today(request: Request, visitor: Looking) -> Response:
    """The day in the zone of the installation, with what somebody has to look at on top."""
    return page(request, "today.html", visitor, **seen())


@router.get("/today/live")
def live(request: Request, visitor: Looking) -> Response:
    """The page's content, for the script that keeps it current."""
    return HTMLResponse(fragment("today_live.html", visitor=visitor, **seen()), headers=HEADERS)


def seen() -> dict[str, Any]:
    """What the page shows."""
    zone = settings().timezone
    with reading() as session:
        day = answers.timeline(session, zone)
        return {
            "now": day.now,
            "zone": zone,
            "day": wording.day(day.now, zone),
            "stopped": braking.pulled(session),
            "silence": health.beats_trouble(session),
            "matters": matters(session),
            "counts": answers.run_counts(session, day.since),
            "going": answers.run_page(session, RunFilter(statuses=OPEN), limit=LISTED),
            "ended": newest(day.runs),
            "due": answers.due_next(session, LISTED),
            "drawn": picture(day),
            "all_drawn": not (day.more_runs or day.more_due),
        }


def newest(runs: Sequence[RunSummary]) -> list[RunSummary]:
    """Those that ended last."""
    ended = [one for one in runs if one.finished_at and one.over]
    return sorted(ended, key=lambda one: one.finished_at or one.created_at, reverse=True)[:LISTED]


def matters(session: Session) -> list[NoticeAnswer]:
    """What goes on and somebody should know, the newest of each matter first."""
    found: dict[tuple[str, str], NoticeAnswer] = {}
    for one in notices(session, limit=MATTERS, unsettled=True, kept_back=True):
        if one.open:
            found.setdefault((one.kind, one.subject), one)
    return list(found.values())


def picture(day: Day) -> Timeline | None:
    """A lane for each schedule: its runs as bars, and what is still due today as marks; what went wrong on top."""
    scale = Scale(day.since, day.until)
    titles = {one.schedule: one.title for one in day.due} | {one.schedule: one.title for one in day.runs}
    marks = {one.schedule: _marks(one, scale) for one in day.due}
    bars: dict[str, list[Bar]] = {}
    for run in sorted(day.runs, key=lambda one: tone(one.status) not in {"bad", "warn"}):
        bars.setdefault(run.schedule, []).append(scale.bar(_piece(run), day.now))
    order = list(dict.fromkeys([*bars, *marks]))
    lanes = [_lane(key, titles[key], bars.get(key, []), marks.get(key, [])) for key in order[: timeline.LANES]]
    left_out = max(len(order) - timeline.LANES, 0)
    ticks = scale.ticks(local(day.now, day.zone), 12)
    return Timeline(lanes, ticks, scale.at(day.now), left_out) if lanes else None


def _lane(key: str, title: str, bars: Sequence[Bar], marks: list[Bar]) -> Lane:
    drawn = timeline.thinned(sorted(bars, key=lambda bar: bar.x))
    return Lane(title, drawn, _note(bars, marks), f"/schedules/{quote(key)}", marks)


def _piece(run: RunSummary) -> Piece:
    took = f", {lasted(run.seconds)}" if run.seconds is not None else ""
    end = run.finished_at or (run.created_at if run.status in {RunStatus.WAITING, RunStatus.QUEUED} else None)
    words = f"{run.title}, {run.period['title']}: {run.status}{took}"
    return Piece(run.schedule, run.started_at or run.created_at, end, tone(run.status), words, f"/runs/{run.id}")


def _marks(due: DueToday, scale: Scale) -> list[Bar]:
    return [Bar(scale.at(at), 0, "due", f"{due.title} is due {wording.moment(at, due.zone)}") for at in due.due]


def _note(bars: Sequence[Bar], marks: Sequence[Bar]) -> str:
    ran = f"{len(bars)} ran" if bars else ""
    ahead = f"{len(marks)} due" if marks else ""
    return " · ".join(filter(None, (ran, ahead)))
