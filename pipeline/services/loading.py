"""Schedule files become rows: what is new, changed, gone or wrong in a home, in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from pipeline.adapters.home import Loaded, ScheduleFile
from pipeline.bulk import CHUNK, insert_new
from pipeline.db import clock, one_at_a_time
from pipeline.errors import DefinitionError, Refused
from pipeline.models import BadFile, Schedule, ScheduleRevision
from pipeline.notice import Kind
from pipeline.services import audit, firing, notices
from pipeline.services.audit import BEAT, Actor
from pipeline.services.due import next_due
from pipeline.settings import settings

# So many schedules may always be retired together: to rename one or two is no accident.
FEW = 2


@dataclass
class Synced:
    """What loading changed, by schedule key; `withheld` are gone from the folder and go on, since they are too many."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    retired: list[str] = field(default_factory=list)
    withheld: list[str] = field(default_factory=list)

    @property
    def warning(self) -> str | None:
        """A sentence on what was withheld."""
        if not self.withheld:
            return None
        return (
            f"{len(self.withheld)} schedules are gone from the folder, more than half of all: they go on; "
            "`pipeline sync --force` retires them if that is what you mean"
        )


def sync(session: Session, loaded: Loaded, *, retire: bool = True, force: bool = False, actor: Actor = BEAT) -> Synced:
    """Make the schedules' rows say what the files say, and retire those whose files are gone, unless not to `retire`.

    A changed file never fires for instants already past; slots that were due before the change are decided as the file
    said then, and reconcile publishes their runs. A schedule whose file is wrong goes on with its last good revision,
    and the file's mistake is kept in `bad_files`. When more than half of the schedules are gone they go on, unless
    `force`. Raises Refused, having changed nothing, when there is no file at all, unless `force`.
    """
    if not (loaded.files or loaded.errors or force):
        raise Refused(_nothing_there())
    one_at_a_time(session, "sync")
    now = clock(session)
    known = {row.key: row for row in session.execute(_KNOWN)}
    synced = Synced()
    if retire:
        _find_gone(loaded, [key for key, row in known.items() if row.retired_at is None], synced, force=force)
    _take_over(
        session, [file for key, file in sorted(loaded.files.items()) if _differs(known.get(key), file)], now, synced
    )
    for row in _locked(session, synced.retired):
        firing.settle(session, row, now)
        row.retired_at, row.next_due_at = now, None
    _keep_errors(session, loaded.errors, now)
    for change in ("added", "changed", "retired"):
        for key in getattr(synced, change):
            audit.record(session, actor, "sync", "schedule", key, schedule=key, at=now, change=change)
    return synced


def _nothing_there() -> str:
    folder = settings().home / "schedules"
    found = "holds no schedule file" if folder.is_dir() else "is not there"
    return (
        f"{folder} {found}: nothing was changed; is the home right (PIPELINE_HOME)? If it is: `pipeline sync --force`"
    )


def _find_gone(loaded: Loaded, living: Sequence[str], synced: Synced, *, force: bool) -> None:
    there = loaded.files.keys() | loaded.errors_by_key.keys()
    gone = sorted(set(living) - there)
    if len(gone) > FEW and len(gone) * 2 > len(living) and not force:
        synced.withheld = gone
    else:
        synced.retired = gone


_KNOWN = select(Schedule.key, Schedule.revision, Schedule.next_due_at, Schedule.retired_at)


def _differs(row: Any, file: ScheduleFile) -> bool:
    if row is None or row.retired_at is not None or row.revision != file.revision:
        return True
    # Never due again, or a definition that could not be read when it was due.
    return row.next_due_at is None and file.schedule.when is not None


def _take_over(session: Session, files: Sequence[ScheduleFile], now: datetime, synced: Synced) -> None:
    """Put each file's definition in force, under its schedule's lock."""
    keys = [file.key for file in files]
    rows = {row.key: row for row in _locked(session, keys)}
    before = _definitions(session, keys)
    for file in files:
        if file.key in rows:
            if _revise(session, rows[file.key], file, before.get(file.key), now):
                synced.changed.append(file.key)
        else:
            due = next_due(file.schedule, now)
            values = {"high_water_mark": now, "next_due_at": due, "changed_at": now}
            session.add(Schedule(key=file.key, revision=file.revision, **values))
            synced.added.append(file.key)
    session.flush()
    revisions = [
        {"schedule_key": file.key, "revision": file.revision, "definition": file.definition, "created_at": now}
        for file in files
    ]
    insert_new(session, ScheduleRevision, revisions)


def _revise(session: Session, row: Schedule, file: ScheduleFile, before: dict[str, Any] | None, now: datetime) -> bool:
    """Put another definition in force, or the same one again after its file was gone; whether that is a change.

    The next slot stays as it is unless `when` has changed, or there is none.
    """
    firing.settle(session, row, now)
    same_when = before is not None and before.get("when") == file.definition.get("when")
    if row.retired_at is not None or row.next_due_at is None or not same_when:
        row.high_water_mark = max(now, row.high_water_mark)
        row.next_due_at = next_due(file.schedule, row.high_water_mark)
    if row.retired_at is None and row.revision == file.revision:
        return False
    row.revision, row.retired_at, row.changed_at = file.revision, None, now
    return True


def _locked(session: Session, keys: Sequence[str]) -> Iterator[Schedule]:
    """The schedules, locked until the transaction ends; those that stay as they are keep firing meanwhile."""
    for some in _chunks(keys):
        found = select(Schedule).where(Schedule.key.in_(some)).order_by(Schedule.key)
        yield from session.scalars(found.with_for_update(key_share=True))


def _definitions(session: Session, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The definitions that are in force."""
    current = and_(ScheduleRevision.schedule_key == Schedule.key, ScheduleRevision.revision == Schedule.revision)
    found: dict[str, dict[str, Any]] = {}
    for some in _chunks(keys):
        statement = select(Schedule.key, ScheduleRevision.definition).join(ScheduleRevision, current)
        found.update((row.key, row.definition) for row in session.execute(statement.where(Schedule.key.in_(some))))
    return found


def _chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[at : at + CHUNK] for at in range(0, len(keys), CHUNK))


def _keep_errors(session: Session, errors: Mapping[str, DefinitionError], now: datetime) -> None:
    """Keep each wrong file with its mistake, and since when it has been wrong; forget those that are mended."""
    known = {row.file: row for row in session.scalars(select(BadFile))}
    for file, row in known.items():
        if file not in errors:
            session.delete(row)
            notices.settle(session, notices.about_file(file), how=f"{file} can be used again, or is gone.")
    for file, error in errors.items():
        if file in known:
            known[file].error = str(error)
            continue
        key = Path(file).stem
        session.add(BadFile(file=file, schedule_key=key, error=str(error), since=now))
        facts = {"file": file, "reason": str(error).removeprefix(f"{file}: ")}
        subject = notices.about_file(file)
        notices.tell(session, Kind.FILE_REFUSED, subject, now.isoformat(), schedule_key=key, facts=facts)
