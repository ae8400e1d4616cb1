"""Every schedule with what becomes of it next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session

from pipeline import schedule as definitions
from pipeline import timing
from pipeline.adapters.home import Loaded, ScheduleFile
from pipeline.bulk import CHUNK
from pipeline.errors import DefinitionError
from pipeline.models import Run, Schedule, ScheduleRevision
from pipeline.services.answers import wording
from pipeline.services.answers.summary import RunSummary, summarise, title
from pipeline.services.due import zone_of
from pipeline.services.schedules import unknown
from pipeline.settings import settings


def known(session: Session, key: str) -> Schedule:
    """The schedule, also a retired one. Raises NotFound, with what there is, for a name that none has or ever had."""
    row = session.get(Schedule, key)
    if row is None:
        raise unknown(session, key)
    return row


@dataclass(frozen=True)
class ScheduleSummary:
    """A schedule; `state` is active, paused, retired, changed, not loaded or bad file, and `note` says more of it.

    `when` is English with the zone's name, None for one that is triggered by hand only; `next_due_at` is UTC.
    """

    key: str
    title: str
    description: str | None
    target: str
    when: str | None
    zone: str
    next_due_at: datetime | None
    state: str
    note: str | None
    paused_until: datetime | None
    last_run: RunSummary | None


def schedules(
    session: Session, loaded: Loaded, *, retired: bool = False, only: Sequence[str] | None = None
) -> list[ScheduleSummary]:
    """Every schedule by its key, or `only` some, as the rows and the home's files `loaded` have it.

    Retired ones only if asked for.
    """
    mine = [] if only is None else [Schedule.key.in_(only)]
    rows = {row.key: (row, definition) for row, definition in session.execute(_current().where(*mine))}
    last = _last_runs(session, mine)
    wrong = loaded.errors_by_key
    known = rows.keys() | loaded.files.keys() | wrong.keys()
    sources = [
        _Sources(key, *rows.get(key, (None, None)), loaded.files.get(key), wrong.get(key))
        for key in sorted(known if only is None else known & set(only))
    ]
    return [_schedule(one, last.get(one.key)) for one in sources if retired or not one.is_gone]


@dataclass(frozen=True)
class _Sources:
    """What is known of one schedule: its row with the definition that is in force, its file, or the file's error."""

    key: str
    row: Schedule | None
    stored: dict[str, Any] | None
    file: ScheduleFile | None
    error: DefinitionError | None

    @property
    def is_gone(self) -> bool:
        return self.row is not None and self.row.retired_at is not None and not (self.file or self.error)

    @property
    def definition(self) -> dict[str, Any]:
        return self.stored if self.stored is not None else (self.file.definition if self.file else {})


def _current() -> Any:
    same = and_(ScheduleRevision.schedule_key == Schedule.key, ScheduleRevision.revision == Schedule.revision)
    return select(Schedule, ScheduleRevision.definition).join(ScheduleRevision, same)


def _last_runs(session: Session, mine: Sequence[ColumnElement[bool]]) -> dict[str, RunSummary]:
    """One look into an index for each schedule: the newest of a million runs is not found by grouping them."""
    newest = select(Run.id).where(Run.schedule_key == Schedule.key).order_by(Run.created_at.desc(), Run.id.desc())
    ids = session.scalars(
        select(newest.limit(1).correlate(Schedule).scalar_subquery()).select_from(Schedule).where(*mine)
    )
    wanted = [one for one in ids if one is not None]
    runs = [
        run
        for at in range(0, len(wanted), CHUNK)
        for run in session.scalars(select(Run).where(Run.id.in_(wanted[at : at + CHUNK])))
    ]
    return {run.schedule: run for run in summarise(session, runs)}


def _schedule(known: _Sources, last: RunSummary | None) -> ScheduleSummary:
    definition = known.definition
    parsed = _parsed(definition, known.key) if definition else None
    zone = zone_of(parsed) if parsed else settings().timezone
    state, note = _state(known.row, known.file, known.error, zone)
    return ScheduleSummary(
        key=known.key,
        title=title(definition, known.key),
        description=definition.get("description"),
        target=_target(parsed),
        when=timing.describe(parsed.when.spec(zone), zone) if parsed and parsed.when else None,
        zone=zone,
        next_due_at=None if known.row is None or known.row.paused else known.row.next_due_at,
        state=state,
        note=note,
        paused_until=known.row.paused_until if known.row else None,
        last_run=last,
    )


def _target(definition: definitions.Schedule | None) -> str:
    if definition is None or definition.kind == "report":
        return "report"
    return f"{definition.kind} {definition.target}"


def _parsed(definition: dict[str, Any], key: str) -> definitions.Schedule | None:
    """None for a definition of another version that this one cannot read."""
    try:
        return definitions.parse(definition, f"schedule {key}")
    except DefinitionError:
        return None


def _state(
    row: Schedule | None, file: ScheduleFile | None, error: DefinitionError | None, zone: str
) -> tuple[str, str | None]:
    paused = pause(row, zone) if row is not None and row.paused else None
    if error is not None:
        goes_on = "; its last good revision goes on" if row is not None and row.retired_at is None else ""
        return "bad file", f"{error}{goes_on}{f', {paused}' if paused else ''}"
    if row is None:
        return "not loaded", "the file is new: `pipeline sync` loads it"
    if row.retired_at is not None:
        return "retired", "its file is gone" if file is None else "its file is back: `pipeline sync` loads it"
    if paused:
        return "paused", paused
    if file is not None and file.revision != row.revision:
        return "changed", "the file has changed: `pipeline sync` loads it"
    return "active", row.note


def pause(row: Schedule, zone: str) -> str:
    """`paused since 16 Nov 07:00 by cli:anna@host, until 18 Nov 07:00: the warehouse moves`."""
    since = f" since {wording.brief(row.paused_at, zone).strip()}" if row.paused_at else ""
    by = f" by {row.paused_by}" if row.paused_by else ""
    until = f", until {wording.brief(row.paused_until, zone).strip()}" if row.paused_until else ""
    return f"paused{since}{by}{until}{f': {row.note}' if row.note else ''}"
