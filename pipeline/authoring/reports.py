"""A new report: its answers tried on the source, then written as the files a person would have written."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import example, schedule
from pipeline.adapters import sources
from pipeline.authoring import schema
from pipeline.errors import NotFound, Refused
from pipeline.report import NAME, Source
from pipeline.services import runs
from pipeline.settings import settings

# What people say instead of a cron expression.
WORDS = {
    "daily": "0 7 * * *",
    "weekdays": "0 7 * * mon-fri",
    "weekly": "0 7 * * mon",
    "monthly": "0 7 1 * *",
}
# Rows that are shown when a query is tried.
SHOWN_ROWS = 5
_TYPES = {"int64": "whole number", "double": "number", "string": "text", "bool": "yes or no", "date32[day]": "date"}


@dataclass(frozen=True)
class Answers:
    """What a person said of a new report. Either `database` and `sql`, or `file`; `to` is as in the schedule file."""

    name: str
    title: str
    database: str | None = None
    sql: str | None = None
    file: str | None = None
    time: str | None = None
    period: str | None = None
    split_by: str | None = None
    formats: Sequence[str] = ("pdf",)
    when: str | None = None
    to: Any = None

    def definition(self) -> dict[str, Any]:
        """The schedule file's mapping, with the query written out."""
        source = {"database": self.database, "sql": self.sql, "time": self.time} if self.sql else {"url": self.file}
        report = {
            "title": self.title,
            "period": self.period,
            **source,
            "split_by": self.split_by,
            "formats": list(self.formats),
        }
        said = {"report": _said(report), "when": self.when, "recipients": self.to}
        return _said(said)


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


@dataclass(frozen=True)
class Sample:
    """What a source gave when it was tried: all its columns with their types in words, and its first rows."""

    columns: dict[str, str]
    rows: list[tuple[Any, ...]]
    count: int
    bound: Mapping[str, str]


def refuse_name(name: str) -> None:
    """Raise Refused for a name that is taken or cannot be one, NotFound where there is no home."""
    folder = settings().home / "schedules"
    if not folder.is_dir():
        raise NotFound(f"{settings().home} is no home: it has no folder schedules/; `pipeline init DIR` makes one")
    if not re.fullmatch(NAME, name):
        wanted = re.sub(r"\W+", "_", name.lower()).strip("_") or "my_report"
        raise Refused(f'"{name}" cannot be a name: lower-case letters, digits and _ only, such as {wanted}')
    taken = [
        f"schedules/{name}{suffix}" for suffix in (".yaml", ".yml", ".sql") if (folder / f"{name}{suffix}").exists()
    ]
    if taken:
        raise Refused(f"{taken[0]} is there already: choose another name, or edit that file")


def asks_for_period(source: Source) -> bool:
    """Whether what the source gives depends on the period."""
    return bool(sources.names_in(source) & set(sources.PERIOD_VALUES))


def with_time(source: Source) -> Source:
    """The source as it has to be: one whose query compares days with instants is given days."""
    shifted = sources.shifted(source, home=settings().home, database_url=example.source_url)
    return source.model_copy(update={"time": "date"}) if shifted else source


def tried(source: Source, period: str) -> Sample:
    """Ask the source for the period as of now. Raises a PipelineError that names what is wrong with it."""
    from pyarrow import parquet

    about = runs.period_of(period, datetime.now(UTC), settings().timezone)
    with tempfile.TemporaryDirectory(prefix="pipeline-new-") as folder:
        path = Path(folder) / "rows.parquet"
        found = sources.fetch(
            source,
            name="rows",
            period=about,
            parameters={},
            destination=path,
            home=settings().home,
            database_url=example.source_url,
            timeout=settings().source_timeout,
            max_bytes=settings().source_max_bytes,
        )
        kinds = {field.name: _type(str(field.type)) for field in parquet.read_schema(path)}
        first = next(parquet.ParquetFile(path).iter_batches(batch_size=SHOWN_ROWS), None) if found.rows else None
        rows = [tuple(row.values()) for row in first.to_pylist()] if first is not None else []
    return Sample(kinds, rows, found.rows, found.bound)


def _type(arrow: str) -> str:
    if arrow.startswith("timestamp"):
        return "instant"
    if arrow.startswith("decimal"):
        return "decimal"
    return _TYPES.get(arrow, "NULL only" if arrow == "null" else arrow)


def write(answers: Answers) -> list[Path]:
    """Write schedules/<name>.yaml and, for a database, <name>.sql; relative to the home.

    Raises DefinitionError, and writes nothing, where the answers make no schedule.
    """
    place = f"schedules/{answers.name}.yaml"
    schedule.parse(answers.definition(), place)
    written = [Path(place)]
    if answers.sql:
        written.append(Path(f"schedules/{answers.name}.sql"))
        (settings().home / written[-1]).write_text(answers.sql.strip() + "\n", encoding="utf-8")
    (settings().home / place).write_text(_yaml(answers), encoding="utf-8")
    return written


def _yaml(answers: Answers) -> str:
    """The file as a person would write it, with the schema for editors where the home has one."""
    places = [schema.FILE, f"docs/{schema.FILE}"]
    found = next((place for place in places if (settings().home / place).is_file()), None)
    definition = answers.definition()
    if answers.sql:
        definition["report"]["sql"] = f"{answers.name}.sql"
    lines = [f"# yaml-language-server: $schema=../{found}"] if found else []
    for field, value in definition.items():
        if isinstance(value, Mapping):
            lines += [f"{field}:", *(f"  {name}: {_value(one)}" for name, one in value.items())]
        elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
            lines += [f"{field}:", *(f"  - {_value(one)}" for one in value)]
        else:
            lines.append(f"{field}: {_value(value)}")
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    """A value on one line; text in quotes unless it is a plain word that YAML cannot take for something else."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_value(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    text = str(value)
    plain = re.fullmatch(r"[A-Za-z_][\w./@-]*", text, re.ASCII)
    if plain and text.lower() not in {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}:
        return text
    return json.dumps(text, ensure_ascii=False)
