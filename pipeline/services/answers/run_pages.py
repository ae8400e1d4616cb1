"""Runs, page by page: those that fit some filters, the newest first, in a time that does not grow with their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, literal, or_, select, tuple_
from sqlalchemy.orm import Session

from pipeline.errors import Refused
from pipeline.mistakes import did_you_mean
from pipeline.models import TRIGGERED, Delivery, Recipient, Run, RunStatus, Trigger
from pipeline.services.answers import marks
from pipeline.services.answers.lists import known
from pipeline.services.answers.summary import RunSummary, summarise

# More runs than these are told as "1,000+": nobody counts further, and counting is what takes long.
COUNTED = 1000
# Of the addresses that a text is found in: more than so many is no search for somebody.
ADDRESSES = 1000


@dataclass(frozen=True)
class RunFilter:
    """Which runs; what is left out does not matter. `since` and `until` (half-open) are about when they were opened.

    `recipient` is an address, a domain (`@acme.example`), or a part of an address or of a name.
    """

    schedule: str | None = None
    statuses: Sequence[str] = ()
    trigger: str | None = None
    recipient: str | None = None
    backfill_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class RunPage:
    """Some runs, the newest first; `next` is the mark that the page behind them begins with, None for the last page."""

    runs: list[RunSummary]
    next: str | None


def run_page(session: Session, wanted: RunFilter, *, limit: int = 50, after: str | None = None) -> RunPage:
    """The runs that fit, from the mark `after` on.

    Raises NotFound for a schedule that neither exists nor has runs, Refused for a status, trigger or mark that is none.
    """
    fits = _fitting(session, wanted)
    newest = (Run.created_at.desc(), Run.id.desc())
    if after is not None:
        at, run_id = marks.place(after, datetime, UUID)
        behind = tuple_(literal(at, Run.created_at.type), literal(run_id, Run.id.type))
        fits = fits.where(tuple_(Run.created_at, Run.id) < behind)
    # One index, in its own order, for each status: a search for two at once would sort all that there are.
    each = [fits.where(Run.status == status) for status in dict.fromkeys(map(_status, wanted.statuses))] or [fits]
    found = [run for one in each for run in session.scalars(one.order_by(*newest).limit(limit + 1))]
    found.sort(key=lambda run: (run.created_at, run.id), reverse=True)
    shown = found[:limit]
    more = len(found) > limit
    return RunPage(summarise(session, shown), marks.mark(shown[-1].created_at, shown[-1].id) if more else None)


def run_counts(session: Session, since: datetime | None = None) -> dict[str, int]:
    """How many runs there are of each status, opened at or after `since`; COUNTED + 1 where there are more."""
    recent = [] if since is None else [Run.created_at >= since]
    each = {status: select(Run.id).where(Run.status == status, *recent).limit(COUNTED + 1) for status in RunStatus}
    counts = {status: select(func.count()).select_from(rows.subquery()) for status, rows in each.items()}
    return {str(status): session.scalar(count) or 0 for status, count in counts.items()}


def _fitting(session: Session, wanted: RunFilter) -> Select[Run]:
    runs = select(Run)
    if wanted.schedule is not None:
        runs = runs.where(Run.schedule_key == known(session, wanted.schedule).key)
    if wanted.trigger is not None:
        runs = runs.where(Run.trigger == _trigger(wanted.trigger))
        if wanted.trigger != Trigger.SCHEDULE:
            runs = runs.where(TRIGGERED)
    if wanted.backfill_id is not None:
        runs = runs.where(Run.backfill_id == wanted.backfill_id)
    if wanted.since is not None:
        runs = runs.where(Run.created_at >= wanted.since)
    if wanted.until is not None:
        runs = runs.where(Run.created_at < wanted.until)
    if wanted.recipient is not None:
        mine = Delivery.address.in_(addresses(session, wanted.recipient))
        runs = runs.where(Run.id.in_(select(Delivery.run_id).where(mine)))
    return runs


def addresses(session: Session, text: str) -> list[str]:
    """The addresses that `text` means: itself, else those of its domain, else all that hold it or whose names do."""
    text = text.strip()
    if "@" in text.lstrip("@"):
        if session.scalar(select(Recipient.address).where(Recipient.address == text)) is not None:
            return [text]  # as it is written: by its index, not by a look at all of them
        alike = select(Recipient.address).where(func.lower(Recipient.address) == text.lower())
        return list(session.scalars(alike)) or [text]
    if text.startswith("@"):
        fits: Any = Recipient.address.iendswith(text, autoescape=True)
    else:
        fits = or_(Recipient.address.icontains(text, autoescape=True), Recipient.name.icontains(text, autoescape=True))
    return list(session.scalars(select(Recipient.address).where(fits).order_by(Recipient.address).limit(ADDRESSES)))


def _status(text: str) -> str:
    if text not in set(RunStatus):
        hint = did_you_mean(text, list(RunStatus), f"it is one of {', '.join(RunStatus)}")
        raise Refused(f'no run has the status "{text}": {hint}', field="status")
    return text


def _trigger(text: str) -> str:
    if text not in set(Trigger):
        hint = did_you_mean(text, list(Trigger), f"it is one of {', '.join(Trigger)}")
        raise Refused(f'nothing opens runs that is called "{text}": {hint}', field="trigger")
    return text
