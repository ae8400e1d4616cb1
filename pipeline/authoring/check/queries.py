"""Whether a source can be asked: its database is known, its driver installed, its parameters exist."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.adapters import sources
from pipeline.authoring.check.faults import Subject
from pipeline.errors import PermanentError
from pipeline.mistakes import did_you_mean
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


def _check(
    subject: Subject, field: str, source: Source, params: Mapping[str, Any], names: tuple[str, str] = ("sql", "url")
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
    if source.url and not _is_there(source.url):
        subject.fault(asks, f'"{source.url}" does not exist in the home: a relative path starts there')


def _known(unknown: str, params: Mapping[str, Any]) -> str:
    known = [*sources.PERIOD_VALUES, *params]
    hint = f"there are {', '.join(known)}; report.params adds one, with its default"
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
