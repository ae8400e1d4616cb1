"""Who gets a schedule's documents, as its file says it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pipeline.mistakes import no_field
from pipeline.report import Model, Source, Text


class Person(Model):
    """One recipient written in the schedule file; a plain string is short for its e-mail address."""

    email: str
    key: Text | None = None
    name: str | None = None
    locale: str | None = None
    zone: str | None = None


class Recipients(Model):
    """Who gets the documents: people listed here, rows with email and, for a split report, key, and subscribers."""

    people: list[Person] = Field([], description="Written in the file.")
    source: Source | None = None
    subscriptions: bool = Field(
        default=False, description="Also, or only, those that `pipeline subscribe` has on record for this schedule."
    )


# Recipients from a source are written with words of their own.
_SOURCE_WORDS = {
    "query": "sql",
    "file": "url",
    **{name: name for name in Source.model_fields if name not in {"sql", "url"}},
}


def read_recipients(value: Any) -> Any:
    if value == "subscriptions":
        return {"subscriptions": True}
    if isinstance(value, str | list):
        return {"people": _people(value)}
    if not isinstance(value, dict):
        return value
    long = {name: item for name, item in value.items() if name in Recipients.model_fields}
    if "people" in long:
        long["people"] = _people(long["people"])
    short = {name: item for name, item in value.items() if name not in long}
    for name in short.keys() - _SOURCE_WORDS.keys():
        raise ValueError(f".{name} {no_field(str(name), [*_SOURCE_WORDS, *Recipients.model_fields])}")
    if short and "source" in long:
        raise ValueError(f"give either source or {', '.join(short)}, not both")
    return {**({"source": {_SOURCE_WORDS[name]: item for name, item in short.items()}} if short else {}), **long}


def _people(value: Any) -> Any:
    value = [value] if isinstance(value, str) else value
    return [{"email": one} if isinstance(one, str) else one for one in value] if isinstance(value, list) else value
