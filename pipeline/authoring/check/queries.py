"""Whether a source can be asked: its database is known, its driver installed, its parameters exist."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.adapters import sources
from pipeline.adapters.home import ScheduleFile
from pipeline.authoring.check.faults import Fault, Subject
from pipeline.errors import PermanentError
from pipeline.mistakes import did_you_mean
from pipeline.readiness import DUE_VALUES
from pipeline.report import Report, Source
from pipeline.settings import environment, settings


def check_sources(subject: Subject, report: Report) -> None:
    """Check the sources of a report that this file holds."""
    written = subject.file.definition.get("report")
    for name, source in report.sources.items():
        short = isinstance(written, Mapping) and "sources" not in written
        _check(subject, "report" if short else f"report.sources.{name}", source, report.params)


def check_recipients(subject: Subject, report: Report) -> None:
    """Check the query or file that recipients come from; it is given the period and the report's parameters, too."""
    source = subject.schedule.recipients.source
    if source is not None:
        written = subject.file.definition["recipients"]
        long = isinstance(written, Mapping) and "source" in written
        names = ("sql", "url") if long else ("query", "file")
        _check(subject, "recipients.source" if long else "recipients", source, report.params, names)


def check_readiness(subject: Subject) -> None:
    """Check the condition of `ready_when`; it is given the due instant beside the period and the parameters."""
    condition = subject.schedule.ready_when
    if condition is not None:
        report = subject.schedule.report
        params = {**(report.params if isinstance(report, Report) else {}), **subject.schedule.params}
        known = {**dict.fromkeys(DUE_VALUES), **params}
        # A file that is not there yet is what is waited for.
        _check(subject, "ready_when", condition.source, known, ("query", "url"), there=False)


def check_order(file: ScheduleFile, files: Mapping[str, ScheduleFile]) -> Iterator[Fault]:
    """Note a schedule that waits for one whose runs are about other periods: its turn would never come."""
    definition = file.schedule
    for name in definition.after.schedules if definition.after else []:
        other = files.get(name)
        if other and other.schedule.period_spec != definition.period_spec:
            said = f"{name} is about {other.schedule.period_spec}, this is about {definition.period_spec}"
            yield Fault(file.place, "after", f"{said}: it waits for a run about the very same period")


def _check(  # noqa: PLR0913 - one check for all the places a source is written in
    subject: Subject,
    field: str,
    source: Source,
    params: Mapping[str, Any],
    names: tuple[str, str] = ("sql", "url"),
    *,
    there: bool = True,
) -> None:
    asks = f"{field}.{names[0] if source.sql else names[1]}"
    for unknown in sorted(sources.names_in(source) - {*sources.PERIOD_VALUES, *params}):
        shown = f":{unknown}" if source.sql else f"{{{unknown}}}"
        subject.fault(asks, f"{shown} is not known: {_known(unknown, params)}")
    if source.database:
        with subject.telling(f"{field}.database"):
            _check_database(source.database)
            if shifted := _shifted(source):
                subject.fault(f"{field}.time", shifted)
    for missing in _missing_variables(source):
        subject.fault(f"{field}.headers", f"{missing} is not set: set {missing} in the environment or in .env")
    if there and source.url and not _is_there(source.url):
        subject.fault(asks, f'"{source.url}" does not exist in the home: a relative path starts there')


def _known(unknown: str, params: Mapping[str, Any]) -> str:
    known = [*sources.PERIOD_VALUES, *params]
    hint = f"there are {', '.join(known)}; params adds one, with its default"
    return did_you_mean(unknown, known, hint)


def _check_database(name: str) -> None:
    """Raise an error for a database without a URL, or whose driver is not installed; nothing is connected to."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import NoSuchModuleError

    from pipeline.adapters.sources import dialects, sql

    url = settings().source_url(name)
    place = f'the URL of "{name}"'
    database = sql.Database.at(url, place=place, home=settings().home, timeout=settings().source_timeout)
    try:
        create_engine(database.url)
    except (NoSuchModuleError, ImportError):
        driver = database.url.drivername
        raise PermanentError(
            f"{place} needs the driver of {driver}, which is missing: {dialects.driver_command(driver)}"
        ) from None


def _shifted(source: Source) -> str | None:
    """Only a database that is a file of this machine is looked into: nothing is connected to."""
    url = settings().source_url(str(source.database))
    return (
        sources.shifted(source, home=settings().home, database_url=lambda _: url) if url.startswith("sqlite") else None
    )


def _missing_variables(source: Source) -> Iterator[str]:
    for text in source.headers.values():
        for one, other in re.findall(r"\$(?:(\w+)|\{(\w+)\})", text):
            if (one or other) not in environment():
                yield one or other


def _is_there(url: str) -> bool:
    """Whether a plain file is where it is said to be; addresses, patterns and `{names}` are for the run to find out."""
    if "://" in url or re.search(r"[*?{\[]", url):
        return True
    return (settings().home / url).exists()
