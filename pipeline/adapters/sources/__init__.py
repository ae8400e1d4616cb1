"""Where rows come from: databases, files and HTTP addresses, each streamed into one Parquet dataset."""

from __future__ import annotations

import errno
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pipeline.adapters.sources import files, http
from pipeline.adapters.sources.binding import (
    PERIOD_VALUES,
    as_bound,
    check_names,
    filled,
    names_in,
    shown,
    values_of,
    written,
)
from pipeline.errors import PermanentError, TransientError
from pipeline.report import Scalar, Source
from pipeline.settings import environment
from pipeline.timing import Period, find_zone

if TYPE_CHECKING:
    from pipeline.adapters.sources.writer import DatasetWriter

__all__ = ["PERIOD_VALUES", "Answer", "Dataset", "asked", "check_names", "fetch", "names_in", "shifted"]

# Seconds that a look at a query's tables may take, a round trip.
_LOOK = 15


@dataclass(frozen=True)
class Dataset:
    """What `fetch` has written: `bytes` is the file's size, `bound` the values the source was given, as text."""

    rows: int
    bytes: int
    columns: tuple[str, ...]
    bound: dict[str, str]


def fetch(  # noqa: PLR0913 - one verb, all of it from the run and the settings
    source: Source,
    *,
    name: str,
    period: Period,
    parameters: Mapping[str, Scalar],
    destination: Path,
    home: Path,
    database_url: Callable[[str], str],
    timeout: float,
    max_bytes: int,
    on_progress: Callable[[int], None] | None = None,
) -> Dataset:
    """Stream the source's rows into a Parquet file that appears at `destination` when it is complete.

    `name` is the source's, for errors; `database_url` gives the URL of a database by its name. `timeout` (seconds) is
    for each round trip to a database and for a whole download, `max_bytes` for what is downloaded. `on_progress` is
    called with the rows so far after every chunk; if it raises, everything is cleaned up and the exception goes on.
    Memory does not grow with the rows. Timestamps come out in UTC: those without a zone are read as `source.time` says
    (naive_local: the period's zone; else UTC).

    Raises PermanentError for what would fail the same way again, TransientError for what may pass; both name the
    source, and neither a password.
    """
    check_names(source, name=name, parameters=parameters)
    values = values_of(source, period, parameters)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with (
        _room(name, destination.parent),
        tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}-") as folder,
    ):
        zone = period.local_start.tzinfo if source.time == "naive_local" else None
        request = _Request(source, name, values, zone or UTC, home, Path(folder), timeout, max_bytes, on_progress)
        writer = _from_database(request, database_url) if source.sql else _from_address(request)
        writer.finish(destination)
    return Dataset(writer.rows, destination.stat().st_size, tuple(writer.kinds), shown(values))


def shifted(source: Source, *, home: Path, database_url: Callable[[str], str]) -> str | None:
    """Tell, after the word `time`, what is wrong where a query compares days with instants; None where nothing is.

    Connects to the database if the query has such a comparison at all. Raises PermanentError for a URL that is none.
    """
    if not source.sql:
        return None
    from pipeline.adapters.sources import days, sql

    column = days.days_compared(
        source, sql.Database.at(database_url(str(source.database)), place="", home=home, timeout=_LOOK)
    )
    if column is None:
        return None
    return (
        f'"{column}" holds days, and :start and :end are instants: rows may be counted a day off; '
        "say time: date (or time: utc, if that is what you mean)"
    )


@dataclass(frozen=True)
class Answer:
    """The `value` that was given, and who gave it: a database's name, or an address with its values."""

    value: Any
    by: str


def asked(  # noqa: PLR0913 - one verb, all of it from the run and the settings
    source: Source,
    *,
    name: str,
    period: Period,
    due_at: datetime,
    parameters: Mapping[str, Scalar],
    home: Path,
    database_url: Callable[[str], str],
    timeout: float,
) -> Answer:
    """Give the one value of the source's query, or whether there is a file at its address; raises as `fetch` does.

    Beside what `fetch` binds there are `due` (`due_at`, which is UTC) and `due_date`.
    """
    from pipeline.adapters.sources import sql

    due = {"due": as_bound(source, due_at, period.zone), "due_date": due_at.astimezone(find_zone(period.zone)).date()}
    check_names(source, name=name, parameters={**due, **parameters})
    values = values_of(source, period, {**due, **parameters})
    if source.url:
        _check_values(name, values)
        url = filled(source.url, values, str)
        return Answer(files.is_there(url, home, place=f'"{name}" ({url})'), url)
    place = f'"{name}" (database "{source.database}")'
    opened = sql.Database.at(database_url(str(source.database)), place=place, home=home, timeout=timeout)
    return Answer(sql.first_value(opened, str(source.sql), values), str(source.database))


@dataclass(frozen=True)
class _Request:
    source: Source
    name: str
    values: Mapping[str, Any]
    zone: tzinfo
    home: Path
    scratch: Path
    timeout: float
    max_bytes: int
    on_progress: Callable[[int], None] | None

    def writer(self, *, dates_in_text: bool) -> DatasetWriter:
        from pipeline.adapters.sources.inference import Inference
        from pipeline.adapters.sources.writer import DatasetWriter

        return DatasetWriter(self.scratch, Inference(self.zone, dates_in_text), self.on_progress)


def _from_database(request: _Request, database_url: Callable[[str], str]) -> DatasetWriter:
    from pipeline.adapters.sources import sql

    database = str(request.source.database)
    place = f'source "{request.name}" (database "{database}")'
    opened = sql.Database.at(database_url(database), place=place, home=request.home, timeout=request.timeout)
    # SQLite has no dates: its own functions write them as ISO text.
    writer = request.writer(dates_in_text=opened.dialect == "sqlite")
    sql.stream(opened, str(request.source.sql), request.values, writer)
    return writer


def _from_address(request: _Request) -> DatasetWriter:
    from pipeline.adapters.sources import csv_rows, json_rows, parquet_rows

    path, kind, place = _obtained(request)
    writer = request.writer(dates_in_text=kind in {"json", "jsonl"})
    if kind == "csv":
        csv_rows.read(path, writer, place=place, zone=request.zone)
    elif kind == "parquet":
        parquet_rows.read(path, writer, place=place, zone=request.zone)
    else:
        json_rows.read(path, writer, place=place, rows_at=request.source.rows_at, lines=kind == "jsonl")
    return writer


def _obtained(request: _Request) -> tuple[Path, files.Format, str]:
    """Bring the source's file to this disk; give it, its format, and how errors name it."""
    source, template = request.source, str(request.source.url)
    web = template.startswith(("http://", "https://"))
    if not web:
        _check_values(request.name, request.values)
    url = filled(template, request.values, (lambda value: quote(value, safe="")) if web else str)
    place = f'source "{request.name}" ({http.address(url) if "://" in url else url})'
    limits = files.Limits(request.timeout, request.max_bytes)
    if web:
        path = request.scratch / "download"
        headers = http.resolved_headers(source.headers, environment(), place)
        answered = http.download(url, path, limits, place=place, headers=headers)
    else:
        path, answered = files.obtained(url, request.home, request.scratch, limits, place=place), None
    kind = source.format or answered or files.format_of(url)
    if not kind:
        raise PermanentError(
            f"{place}: neither its ending nor its type tells the format: set format: csv, json or parquet"
        )
    return path, kind, place


def _check_values(source: str, values: Mapping[str, Any]) -> None:
    """Refuse a parameter that would lead to another folder than the file's own."""
    for name, value in values.items():
        if re.search(r"[/\\]|\.\.", written(value)):
            raise PermanentError(f'source "{source}": {name} "{value}" must not contain a slash or two dots in a path')


@contextmanager
def _room(name: str, folder: Path) -> Iterator[None]:
    """Say plainly that the disk is full: it passes once somebody makes room."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise
        raise TransientError(f'source "{name}": no room left for its rows in {folder}: {error.strerror}') from error
