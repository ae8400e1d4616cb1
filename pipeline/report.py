"""What a report is: where its rows come from, how they are split, and how they look."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from pipeline import timing

Scalar = str | int | float | bool | None
OneOrMany = BeforeValidator(lambda value: value if isinstance(value, list | tuple) else [value])
# YAML reads 2013 and 42 as numbers where a word is meant.
Text = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]
# The key of the one document of a report that is not split.
WHOLE = "all"
NAME = r"^[a-z][a-z0-9_]*$"


class Model(BaseModel):
    """A frozen value read from YAML: a field that does not exist is refused, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Source(Model):
    """Rows from a database (`database` and `sql`) or from a file or HTTP address (`url`)."""

    database: str | None = Field(None, description="Name of the database: its URL is PIPELINE_SOURCE_<NAME>_URL.")
    sql: str | None = Field(None, description="A query, or the name of a .sql file beside the YAML file.")
    url: str | None = Field(None, description="CSV, Parquet or JSON: a path in the home, an fsspec URL, http(s)://.")
    format: Literal["csv", "parquet", "json"] | None = Field(None, description="Default: by the URL's ending.")
    rows_at: str | None = Field(None, description="JSON: dotted path of the list of rows, such as data.items.")
    headers: dict[str, str] = Field({}, description='HTTP headers; "$NAME" takes a value from the environment.')
    time: Literal["utc", "naive_utc", "naive_local", "date"] = Field(
        "utc", description="What :start and :end are bound as: UTC-aware instants, or naive ones for such columns."
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if bool(self.url) == bool(self.sql):
            raise ValueError("needs either sql (with database) or url")
        if self.sql and not self.database:
            raise ValueError("sql needs database: the name of a PIPELINE_SOURCE_<NAME>_URL")
        return self


class Column(Model):
    """How a column is shown; a plain string is short for its label."""

    label: str | None = None
    format: Literal["text", "integer", "decimal", "percent", "date", "datetime"] | None = Field(
        None, description="Default: by the type of the values."
    )
    digits: int | None = Field(None, ge=0, le=9, description="Digits after the decimal mark.")
    unit: str | None = Field(None, description='Shown after the number, such as "min".')
    total: Literal["sum", "mean", "min", "max", "count"] | None = Field(
        None, description="Shown in the totals row and among the key figures."
    )


class Chart(Model):
    """A vector chart of one or more number columns over another column."""

    kind: Literal["bar", "line"] = "bar"
    x: str
    y: Annotated[list[str], OneOrMany] = Field(min_length=1, max_length=4)
    title: str | None = None
    limit: int = Field(40, ge=1, le=400, description="Bars or points at most; the rest is left out and said so.")


def _labels(value: Any) -> Any:
    if isinstance(value, list):
        return {name: {} for name in value}
    if isinstance(value, dict):
        return {name: {"label": column} if isinstance(column, str) else column or {} for name, column in value.items()}
    return value


Columns = Annotated[dict[str, Column], BeforeValidator(_labels)]


class Report(Model):
    """What is fetched, shown and split; everything but the title and a source has a default."""

    name: str | None = Field(None, pattern=NAME, description="Default: the name of the schedule file that holds it.")
    title: str = Field(min_length=1, description="Shown on the document, in the subject and the file's title.")
    period: Text = Field(
        "yesterday", description="What a run reports on: yesterday, last_week, last_month, last_7_days …"
    )
    database: str | None = Field(None, description="Short for one source: the database of `sql`.")
    sql: str | None = Field(None, description="Short for one source: a query or a .sql file beside this file.")
    url: str | None = Field(None, description="Short for one source: a file or HTTP address.")
    time: Literal["utc", "naive_utc", "naive_local", "date"] | None = Field(
        None, description="Short for one source: what :start and :end are bound as."
    )
    sources: dict[str, Source] = Field(
        {}, description="Several sources; the first is split, build() gets the others by name."
    )
    split_by: str | None = Field(None, description="One document per value of this column. Left out: one for all.")
    formats: Annotated[list[Literal["pdf", "xlsx", "csv", "html"]], OneOrMany] = Field(["pdf"], min_length=1)
    template: str | None = Field(None, pattern=NAME, description="Folder in templates/. Default: the report's name.")
    page: Literal["A4", "Letter"] = "A4"
    locale: str | None = Field(
        None, description="Locale of dates and numbers, such as de_DE. Default: PIPELINE_LOCALE."
    )
    pdf: Literal["pdf/ua-1", "pdf/a-3a"] = "pdf/ua-1"
    columns: Columns = Field(
        {}, description="Which columns are shown, in which order, under which label. Default: all."
    )
    chart: Chart | None = Field(None, description="Default: of the first number column, where the rows suit one.")
    summary: str | None = Field(None, description="One line on top, a Jinja2 template over the document's context.")
    concurrency: int | None = Field(
        None, ge=1, le=1000, description="How many runs of it are carried out at once, over all its schedules."
    )
    params: dict[str, Scalar] = Field({}, description="Parameters with their defaults; bound as :name in the queries.")

    @field_validator("period")
    @classmethod
    def _period_is_known(cls, value: str) -> str:
        timing.validate_period_spec(value)
        return value

    @field_validator("locale")
    @classmethod
    def _locale_looks_right(cls, value: str | None) -> str | None:
        if value and not re.fullmatch(r"[a-z]{2,3}([_-][A-Za-z]{4})?([_-]([A-Z]{2}|\d{3}))?", value):
            raise ValueError(f'"{value}" is not a locale such as en, de_DE or pt_BR')
        return value.replace("-", "_") if value else value

    @field_validator("params")
    @classmethod
    def _names_are_free(cls, value: dict[str, Scalar]) -> dict[str, Scalar]:
        for name in ("start", "end", "start_date", "end_date"):
            if name in value:
                raise ValueError(f".{name} cannot be a parameter: queries get the period's instants as :{name}")
        return value

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        """`database`, `sql`, `url`, `time` are short for one source named `rows`."""
        short = {
            name: value[name]
            for name in ("database", "sql", "url", "time")
            if isinstance(value, dict) and value.get(name)
        }
        if not short:
            return value
        if value.get("sources"):
            raise ValueError(f"give either sources or {', '.join(short)}, not both")
        return {**{k: v for k, v in value.items() if k not in short}, "sources": {"rows": short}}

    @model_validator(mode="after")
    def _has_a_source(self) -> Self:
        if not self.sources:
            raise ValueError("needs a source: sql (with database), url, or sources")
        reserved = {"period", "params", "recipients", "subscriptions"} & self.sources.keys()
        if reserved:
            raise ValueError(f"a source cannot be named {', '.join(sorted(reserved))}: the word is taken")
        return self

    @property
    def main_source(self) -> str:
        """The name of the source whose rows are split into documents."""
        return next(iter(self.sources))
