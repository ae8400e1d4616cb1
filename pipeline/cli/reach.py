"""How many people a run would mail for real, asked before it does."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import typer

from pipeline import example, schedule
from pipeline.db import clock, reading
from pipeline.embedded.state import mail_mode
from pipeline.errors import PipelineError, Refused
from pipeline.report import Source
from pipeline.services import runs, schedules
from pipeline.services.due import zone_of
from pipeline.services.runs import Request
from pipeline.settings import settings

# More people than this are not mailed by a slip of the hand.
MANY = 10


def confirm(request: Request) -> None:
    """On a terminal, ask before more than ten people are mailed for real. Raises Refused when the answer is no.

    Raises NotFound for an unknown schedule, Refused for a period or parameter that cannot be.
    """
    if not on_terminal():
        return
    reach = of(request)
    if reach.many() and not typer.confirm(f"This mails {reach.said} for real. Go on?", err=True):
        raise Refused("not triggered: nothing was opened or sent")


@dataclass(frozen=True)
class Reach:
    """How many people a run mails for real; None where it cannot be counted."""

    people: int | None
    said: str

    def many(self, runs: int = 1) -> bool:
        """Whether so many runs mail more people than a slip of the hand should."""
        return self.people is None or self.people * runs > MANY


def of(request: Request, at: datetime | None = None) -> Reach:
    """The reach of a run that is due at the instant `at`, by default now.

    Raises NotFound for an unknown schedule, Refused for a period or parameter that cannot be.
    """
    if mail_mode(settings()) != "live" or not request.send:
        return Reach(0, "nobody")
    try:
        how_many = people(request, at)
    except Refused:
        raise
    except PipelineError as error:
        return Reach(None, f"an unknown number of people ({error})")
    return Reach(how_many, f"about {how_many:,} people")


def on_terminal() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin.isatty()


def people(request: Request, at: datetime | None = None) -> int:
    """How many addresses it would mail: of a list exactly, of a query as many as it gives now.

    Raises PipelineError when the recipients' source does not answer.
    """
    with reading() as session:
        _, stored = schedules.current(session, request.schedule_key)
        at = at or clock(session)
    definition = schedule.parse(stored, request.schedule_key)
    if request.to:
        return len(set(request.to))
    if definition.recipients.source is None:
        return len({one.email for one in definition.recipients.people if not request.keys or one.key in request.keys})
    return _asked(request, definition, definition.recipients.source, at)


def _asked(request: Request, definition: schedule.Schedule, source: Source, at: datetime) -> int:
    """Run the recipients' query; the run itself will run it again and freeze its answer."""
    from pipeline.adapters import datasets, sources

    period = runs.period_of(request.period or definition.period_spec, at, zone_of(definition))
    with tempfile.TemporaryDirectory(prefix="pipeline-") as folder:
        path = Path(folder) / "recipients.parquet"
        found = sources.fetch(
            source,
            name="recipients",
            period=period,
            parameters=runs.parameters(definition, request.params),
            destination=path,
            home=settings().home,
            database_url=example.source_url,
            timeout=settings().source_timeout,
            max_bytes=settings().source_max_bytes,
        )
        if not {"email", *(["key"] if request.keys else [])} <= set(found.columns):
            return found.rows
        return len({row["email"] for row in datasets.rows(path) if not request.keys or str(row["key"]) in request.keys})
