"""The questions of `pipeline new`, each tried at once; whatever an option says already is not asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import typer
from pydantic import ValidationError

from pipeline import timing
from pipeline.authoring import recipients, reports
from pipeline.cli.authoring_editor import edited
from pipeline.cli.authoring_output import show_sample
from pipeline.columns import humanised
from pipeline.errors import PipelineError, Refused
from pipeline.report import Source
from pipeline.settings import settings, source_urls
from pipeline.when import When

Answer = TypeVar("Answer")
TEMPLATE = """\
-- One row a line of the report. :start and :end are the ends of its period, :start_date and :end_date its local days;
-- the end itself is not included.
select *
from
where  >= :start and  < :end
"""


@dataclass(frozen=True)
class Said:
    """What the options say; None is asked for, unless nothing may be asked."""

    title: str | None = None
    database: str | None = None
    file: str | None = None
    query: str | None = None
    period: str | None = None
    split_by: str | None = None
    to: str | None = None
    recipients_database: str | None = None
    when: str | None = None
    formats: Sequence[str] = ("pdf",)
    ask: bool = True


def answered(name: str, said: Said) -> reports.Answers:
    """Ask what is missing, and try the query on the way. Raises a PipelineError where nothing can be asked."""
    title = _asked(said, said.title, "What is the report called?", str.strip, default=humanised(name))
    database, file = _asked(
        said, _place(said), f"Where are its rows? {_known()}", _read_place, need="--database or --file"
    )
    source, period, sample = _queried(said, database, file)
    show_sample(sample, period, of_days=source.time == "date")
    split_by = _asked(
        said,
        said.split_by,
        "One document for each value of which column? Enter: one for all",
        _column(sample),
        default="",
    )
    to = _asked(said, said.to, _who(split_by), _reader(said, split_by, database), default="")
    when = _asked(
        said, said.when, "When? daily, weekdays, weekly, monthly, a cron expression. Enter: by hand", _when, default=""
    )
    if when and said.period is None and not reports.asks_for_period(source):
        period = _period_of(when)
    return reports.Answers(
        name=name,
        title=title,
        database=database,
        sql=source.sql,
        file=file,
        time=source.time if "time" in source.model_fields_set else None,
        period=period,
        split_by=split_by or None,
        formats=tuple(said.formats),
        when=when or None,
        to=to,
    )


def _asked(
    said: Said,
    given: str | None,
    question: str,
    read: Callable[[str], Answer],
    *,
    default: str | None = None,
    need: str = "",
) -> Answer:
    """The answer that `read` makes of what was given or typed; a wrong one typed is asked again, one given refused."""
    if given is not None or not said.ask:
        if given is None and default is None:
            raise Refused(f"nothing may be asked (--yes), so say it with {need}")
        return read(given if given is not None else default or "")
    while True:
        try:
            return read(typer.prompt(question, default=default, show_default=bool(default)))
        except PipelineError as error:
            typer.secho(str(error), err=True, fg="red")


def _place(said: Said) -> str | None:
    if said.database and said.file:
        raise Refused("say either --database or --file, not both")
    return said.database or said.file


def _known() -> str:
    known = sorted(source_urls())
    return f"A database ({', '.join(known)}), or a file" if known else "A file, or a database of .env"


def _read_place(text: str) -> tuple[str | None, str | None]:
    """The database or the file that is meant. Raises DefinitionError for a database without a URL."""
    text = text.strip()
    if re.search(r"[./]", text) or (settings().home / text).is_file():
        return None, text
    settings().source_url(text)
    return text, None


def _queried(said: Said, database: str | None, file: str | None) -> tuple[Source, str, reports.Sample]:
    """The source, its period and what it gave; a query typed that fails is asked for again."""
    text = said.query
    while True:
        try:
            source = Source(url=file) if file else Source(database=database, sql=_query(said, text))
            source = reports.with_time(source)
            period = _period(said, source)
            return source, period, reports.tried(source, period)
        except PipelineError as error:
            if said.query is not None or file or not said.ask:
                raise
            typer.secho(str(error), err=True, fg="red")
            text = None


def _query(said: Said, given: str | None) -> str:
    question = "The query? Type it, name a .sql file, or press Enter for your editor"
    return _asked(said, given, question, _read_query if given is not None or not said.ask else _typed_query, default="")


def _read_query(text: str) -> str:
    """A query, or the text of the .sql file that is named (from here, from the home, or from its schedules/)."""
    text = text.strip()
    if not text:
        raise Refused("the query is missing: say it with --query")
    if not re.fullmatch(r"\S+\.sql", text):
        return text
    for folder in (Path.cwd(), settings().home, settings().home / "schedules"):
        if (folder / text).is_file():
            return (folder / text).read_text(encoding="utf-8")
    raise Refused(f'there is no file "{text}", neither here nor in the home')


def _typed_query(text: str) -> str:
    return _read_query(text) if text.strip() else edited(TEMPLATE)


def _period(said: Said, source: Source) -> str:
    """The period is asked for where it makes a difference."""
    default = _period_of(_when(said.when or ""))
    if not reports.asks_for_period(source):
        return said.period or default
    return _asked(said, said.period, "About which period?", _read_period, default=default)


def _period_of(cron: str) -> str:
    """What a report that is due then is most often about."""
    return {reports.WORDS["weekly"]: "last_week", reports.WORDS["monthly"]: "last_month"}.get(cron, "yesterday")


def _read_period(text: str) -> str:
    try:
        timing.validate_period_spec(text)
    except ValueError as error:
        raise Refused(str(error)) from None
    return text.strip()


def _column(sample: reports.Sample) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text and text not in sample.columns:
            raise Refused(f'there is no column "{text}": there are {", ".join(sample.columns)}')
        return text

    return read


def _who(split_by: str) -> str:
    if split_by:
        return f"Who gets it? KEY=ADDRESS, … (KEY is a {split_by}), or a query giving key and email. Enter: nobody"
    return "Who gets it? Addresses, or a query giving email. Enter: nobody"


def _reader(said: Said, split_by: str, database: str | None) -> Callable[[str], Any]:
    return lambda text: recipients.read(text, split_by=split_by or None, database=said.recipients_database or database)


def _when(text: str) -> str:
    """A cron expression, from a word or from itself. Raises Refused naming what is wrong with it."""
    text = text.strip().lower()
    cron = reports.WORDS.get(text, "" if text in {"by hand", "never"} else text)
    if cron:
        try:
            When(cron=cron)
        except ValidationError as error:
            raise Refused(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    return cron


def next_steps(name: str, written: Sequence[Path]) -> Iterator[str]:
    """What was written, and the commands to go on with."""
    yield f"Written: {', '.join(map(str, written))}"
    yield f"Next: `pipeline preview {name} --watch` while you change its looks; `pipeline trigger {name}` sends it now"
