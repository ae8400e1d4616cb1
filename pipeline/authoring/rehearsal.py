"""A run that is none: a schedule's facts as they are now and its sources fetched into a temporary folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from pipeline.adapters import home
from pipeline.errors import NotFound, PermanentError, Refused
from pipeline.handle import RunHandle
from pipeline.mistakes import did_you_mean
from pipeline.models import Run, Step
from pipeline.report import Scalar
from pipeline.services import runs
from pipeline.services.due import zone_of
from pipeline.services.steps import Claim
from pipeline.settings import settings
from pipeline.workflows.report import planning


@dataclass(frozen=True)
class Wish:
    """What to preview; left out: the schedule's own period, the first key, every format of the report."""

    schedule: str
    key: str | None = None
    period: str | None = None
    params: Mapping[str, Scalar] = field(default_factory=dict)
    format: str | None = None


@dataclass(frozen=True)
class Fetched:
    """One source as it answered: its rows in all, and the values it was asked with, as text."""

    name: str
    rows: int
    bound: dict[str, str]


class Rehearsal(RunHandle):
    """A run that is none: it has a schedule's facts as they are now, and keeps its files in a folder."""

    def __init__(self, run: Run, folder: Path) -> None:
        super().__init__(Claim(run, Step(name="preview"), 0, UUID(int=0), "preview", run.due_at, ()))
        self.folder = folder

    @property
    def scratch(self) -> Path:
        return self.folder

    def alive(self) -> None:
        """Nobody takes a preview over."""

    def put(
        self,
        name: str,
        data: bytes | Path,
        *,
        kind: str = "file",  # noqa: ARG002 - as a run's
        suffix: str = ".bin",  # noqa: ARG002
        media_type: str = "application/octet-stream",  # noqa: ARG002
    ) -> None:
        """Keep the bytes, or the file, under `name`."""
        path = self._path(name)
        if isinstance(data, bytes):
            path.write_bytes(data)
        else:
            shutil.move(data, path)

    def get(self, name: str) -> Path:
        if not self.has(name):
            raise PermanentError(f'the preview has no file "{name}"')
        return self._path(name)

    def has(self, name: str) -> bool:
        return self._path(name).is_file()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name.replace(':', '-')}.file"


# What stands for a source's answer: rows, or a file that has them.
Rows = Sequence[Mapping[str, Any]] | Path


@contextmanager
def rehearsal(
    wish: Wish, *, at: datetime | None = None, given: Mapping[str, Rows] | None = None
) -> Iterator[tuple[Rehearsal, list[Fetched]]]:
    """Read the schedule's file and fetch all its sources into a temporary folder.

    `at` (default: now; without a zone it is the schedule's) is the moment that the period is counted from. With `given`
    nobody is asked, and nobody's recipients are known: it has what the report's sources would answer, by their names.
    Raises a PipelineError in a sentence.
    """
    file = report_file(wish.schedule)
    # Where the retention workflow sweeps, should this process be killed.
    scratch = settings().var / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="preview-", dir=scratch) as folder:
        run = Rehearsal(_run(file, wish, at or datetime.now(UTC)), Path(folder))
        if given is None:
            yield run, [_fetched(run, name) for name in planning.source_names(file.schedule)]
        else:
            _check_given(file, given)
            yield run, [_written(run, name, rows) for name, rows in given.items()]


def _check_given(file: home.ScheduleFile, given: Mapping[str, Rows]) -> None:
    known = planning.report_of(file.schedule).sources
    for name in given.keys() - known.keys():
        hint = did_you_mean(name, known, f"it has {', '.join(known)}")
        raise Refused(f'"{file.key}" has no source "{name}": {hint}')
    if missing := [name for name in known if name not in given]:
        raise Refused(f'"{file.key}" has the sources {", ".join(known)}: give rows of {", ".join(missing)}, too')


def _written(run: Rehearsal, name: str, rows: Rows) -> Fetched:
    """Keep the rows as the dataset that a source would have been written to, with the same kinds of values."""
    source = planning.source_named(run.definition, name)
    if isinstance(rows, Path):
        there = source.model_copy(update={"sql": None, "database": None, "url": str(rows), "headers": {}})
        return Fetched(name, planning.fetch_from(run, name, there)["rows"], {})
    from pipeline.adapters.sources.inference import Inference
    from pipeline.adapters.sources.writer import DatasetWriter

    columns = dict.fromkeys(column for row in rows for column in row)
    writer = DatasetWriter(run.scratch, Inference(zone=ZoneInfo(run.zone) if source.time == "naive_local" else UTC))
    writer.append_values({column: [row.get(column) for row in rows] for column in columns}, len(rows))
    writer.finish(path := run.scratch / f"given-{name}.parquet")
    run.put(f"dataset:{name}", path)
    return Fetched(name, len(rows), {})


def report_file(name: str) -> home.ScheduleFile:
    """The file of a schedule that makes a report, as it is now. Raises a PipelineError in a sentence."""
    loaded = home.load(settings().home)
    if name in loaded.errors_by_key:
        raise loaded.errors_by_key[name]
    if name not in loaded.files:
        hint = did_you_mean(name, loaded.files, f"there are {', '.join(sorted(loaded.files)) or 'none'}")
        raise NotFound(f'there is no schedule "{name}" in {settings().home}/schedules: {hint}')
    if (kind := loaded.files[name].schedule.kind) != "report":
        raise Refused(f'"{name}" runs a {kind}: only reports have a preview')
    return loaded.files[name]


def _run(file: home.ScheduleFile, wish: Wish, at: datetime) -> Run:
    """The facts of a run of this schedule, in no database."""
    zone = zone_of(file.schedule)
    at = at if at.tzinfo else at.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    return Run(
        id=uuid4(),
        workflow="report",
        schedule_key=file.key,
        due_at=at,
        created_at=at,
        zone=zone,
        period=runs.period_of(wish.period or file.schedule.period_spec, at, zone).to_json(),
        params=runs.parameters(file.schedule, wish.params),
        scope={"keys": [wish.key] if wish.key else [], "to": [], "send": False},
        definition=file.definition,
    )


def _fetched(run: Rehearsal, name: str) -> Fetched:
    found = planning.fetch(run, name)
    return Fetched(name, found["rows"], found["bound"])
