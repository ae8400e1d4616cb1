"""What a run may have to wait for before it starts: data that has come, other schedules that have succeeded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.mistakes import did_you_mean
from pipeline.policies import Duration
from pipeline.report import NAME, Model, OneOrMany, Source

# What a query or path may name beside the period's own values and the parameters.
DUE_VALUES = ("due", "due_date")
Otherwise = Literal["fail", "skip"]


class ReadyWhen(Model):
    """A condition that is looked at again and again: a query that gives a true value, or a file that is there."""

    database: str | None = Field(None, description="Name of the database: its URL is PIPELINE_SOURCE_<NAME>_URL.")
    query: str | None = Field(
        None, description="Gives one value, true when the data is there; :start, :end, :due are bound."
    )
    url: str | None = Field(
        None, description="A path in the home or an fsspec URL that is there; with {start_date}, {due_date} and *."
    )
    time: Literal["utc", "naive_utc", "naive_local", "date"] = Field(
        "utc", description="What :start, :end and :due are bound as, as in a source."
    )
    every: Duration = Field("5m", description="How often it is looked at.")
    give_up_after: Duration = Field("6h", description="How long to wait for it.")
    otherwise: Otherwise = Field("fail", description="What becomes of a run that gave up.")

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        if bool(self.query) == bool(self.url):
            raise ValueError("needs either query (with database) or url")
        if self.query and not self.database:
            raise ValueError("query needs database: the name of a PIPELINE_SOURCE_<NAME>_URL")
        if self.url and self.url.startswith(("http://", "https://")):
            raise ValueError(f'.url "{self.url}": a web address cannot be waited for; a path or an fsspec URL can')
        return self

    @property
    def source(self) -> Source:
        """The condition in the words of a report's source, which binds the same values."""
        return Source(database=self.database, sql=self.query, url=self.url, time=self.time)


class After(Model):
    """Other schedules whose run for the same period has to succeed first; their names alone are short for this."""

    schedules: Annotated[list[Annotated[str, Field(pattern=NAME)]], OneOrMany] = Field(
        min_length=1, description="Their keys."
    )
    give_up_after: Duration = Field("6h", description="How long to wait for them.")
    otherwise: Otherwise = Field("fail", description="What becomes of a run that gave up, or whose turn cannot come.")


def after(value: Any) -> Any:
    """What `after:` says, in its long form."""
    return {"schedules": value} if isinstance(value, str | list) else value


def named(definition: Mapping[str, Any]) -> list[str]:
    """The schedules that a definition, as it was read from its file, waits for."""
    found = after(definition.get("after"))
    listed = found.get("schedules") if isinstance(found, Mapping) else None
    listed = listed if isinstance(listed, list) else [listed]
    return [one for one in listed if isinstance(one, str)]


def check_order(key: str, orders: Mapping[str, list[str]]) -> None:
    """Raises ValueError when `key` waits for a schedule that is not there, or for one that waits for `key`.

    `orders` are the schedules that each schedule of the home waits for.
    """
    for name in orders[key]:
        if name not in orders:
            known = [one for one in orders if one != key]
            hint = did_you_mean(name, known, f"there are {', '.join(sorted(known)) or 'no others'}")
            raise ValueError(f'"{name}" is not a schedule: {hint}')
    circle = next(_circles(key, orders, [key]), None)
    if circle:
        raise ValueError(f"is a circle in which each waits for the next: {' -> '.join(circle)}")


def _circles(key: str, orders: Mapping[str, list[str]], path: list[str]) -> Iterator[list[str]]:
    for name in orders.get(path[-1], []):
        if name == key:
            yield [*path, key]
        elif name not in path:
            yield from _circles(key, orders, [*path, name])
