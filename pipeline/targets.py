"""What a schedule may run that is neither report nor workflow: a program, or another application's Celery task."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, Field

from pipeline.mistakes import did_you_mean
from pipeline.policies import Duration
from pipeline.report import Model, Scalar, Text
from pipeline.timing import Period, find_zone

# What may stand in braces beside the schedule's own parameters; days and instants are local to the schedule's zone.
PLACEHOLDERS = {
    "due_at": "the instant it was due at, 2026-11-16T07:00:00+01:00",
    "due_date": "that day, 2026-11-16",
    "period": "what the period is called, 2026-11-15 or 2026-W46",
    "period_start": "the instant the period begins at",
    "period_end": "the instant after its last",
    "period_start_date": "the period's first day",
    "period_end_date": "the day after its last",
    "schedule": "the schedule's key",
    "run": "the run's id",
}
# `{name}` and, for braces that are meant, one pair more: `{{name}}`; `${name}` is the shell's.
_PLACE = re.compile(r"(?<![{$])(?:\{(?P<meant>\{+\w+\}+)\}|\{(?P<name>\w+)\})")


def _words(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError(  # noqa: TRY004 - pydantic makes a sentence of a ValueError only
            'is a list of words: [program, argument, …]; what needs a shell: [/bin/sh, -c, "… | …"]'
        )
    return value


class Command(Model):
    """A program and its arguments, started without a shell; a plain list is short for `run`."""

    run: Annotated[list[Text], BeforeValidator(_words)] = Field(
        min_length=1, description="The program and its arguments, with placeholders such as {due_date}."
    )
    cwd: str | None = Field(None, description="The folder it starts in; a relative one lies in the home. Default: it.")
    environment: dict[str, Text] = Field(
        {}, description='Variables over the worker\'s own; "$NAME" takes a value from the environment.'
    )
    time_limit: Duration = Field("1h", description="How long it may take before it is ended with all it has started.")

    def texts(self) -> Iterator[tuple[str, str]]:
        """Every text that placeholders are looked for in, after the field it stands in."""
        yield from (("run", word) for word in self.run)
        yield from (("cwd", text) for text in [self.cwd] if text)
        yield from ((f"environment.{name}", text) for name, text in self.environment.items())


class ForeignTask(Model):
    """A Celery task that another application's workers carry out; a plain string is short for `name`."""

    name: str = Field(pattern=r"^[\w.:-]+$", description="As its application registers it: myapp.tasks.nightly.")
    args: list[Any] = Field([], description="Its arguments; texts may have placeholders such as {due_date}.")
    kwargs: dict[str, Any] = Field({}, description="Its keyword arguments, likewise.")
    queue: str = Field("celery", description="The queue its workers listen to. Default: Celery's own.")
    time_limit: Duration = Field("1h", description="How long to wait for its end; it does not begin later than that.")
    results: str | None = Field(
        None, description='Where its workers keep results: redis://…, or "$NAME". Default: PIPELINE_RESULT_URL.'
    )

    def texts(self) -> Iterator[tuple[str, str]]:
        """Every text that placeholders are looked for in, after the field it stands in."""
        yield from (("args", text) for text in _texts_in(self.args))
        yield from ((f"kwargs.{name}", text) for name, value in self.kwargs.items() for text in _texts_in(value))


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for item in value.values() for text in _texts_in(item))
    elif isinstance(value, list):
        yield from (text for item in value for text in _texts_in(item))


def check(target: Command | ForeignTask, params: Mapping[str, Scalar]) -> None:
    """Raises ValueError, beginning with the field, for a placeholder that means nothing or means two things."""
    taken = sorted(PLACEHOLDERS.keys() & params.keys())
    if taken:
        raise ValueError(f"params.{taken[0]} cannot be a parameter: {{{taken[0]}}} is {PLACEHOLDERS[taken[0]]}")
    known = [*PLACEHOLDERS, *params]
    field = "command" if isinstance(target, Command) else "task"
    for part, text in target.texts():
        for name in names_in(text):
            if name not in known:
                hint = did_you_mean(name, known, f"there are {', '.join(known)}")
                raise ValueError(
                    f"{field}.{part} {{{name}}} is not known: {hint}; {{{{{name}}}}} is the text {{{name}}}"
                )


def names_in(text: str) -> list[str]:
    """The placeholders of a text."""
    return [found["name"] for found in _PLACE.finditer(text) if found["name"]]


_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|(?P<plain>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)\})")


def variables_in(text: str) -> list[str]:
    """The environment's variables that a text of `environment:` takes a value from; `$$` is a dollar sign."""
    return [name for found in _VARIABLE.finditer(text) if (name := found["plain"] or found["braced"])]


def resolved(text: str, known: Mapping[str, Scalar], environment: Mapping[str, str]) -> str:
    """A text of `environment:` with its placeholders and variables replaced; KeyError names a missing variable."""

    def put(found: re.Match[str]) -> str:
        if not found[0].startswith("$"):
            return _put(known)(found)
        return "$" if found["dollar"] else environment[found["plain"] or found["braced"]]

    return re.sub(f"{_VARIABLE.pattern}|{_PLACE.pattern}", put, text)


def values(  # noqa: PLR0913 - all that a run is
    *, schedule: str, run: UUID, due_at: datetime, zone: str, period: Period, params: Mapping[str, Scalar]
) -> dict[str, Scalar]:
    """What every placeholder of one run stands for."""
    due = due_at.astimezone(find_zone(zone))
    return {
        "due_at": due.isoformat(timespec="seconds"),
        "due_date": due.date().isoformat(),
        "period": period.label,
        "period_start": period.local_start.isoformat(timespec="seconds"),
        "period_end": period.local_end.isoformat(timespec="seconds"),
        "period_start_date": period.local_start.date().isoformat(),
        "period_end_date": period.local_end.date().isoformat(),
        "schedule": schedule,
        "run": str(run),
        **params,
    }


def filled(value: Any, known: Mapping[str, Scalar]) -> Any:
    """`value` with its placeholders replaced, in lists and mappings too; one that is all of a text keeps its type."""
    if isinstance(value, Mapping):
        return {name: filled(item, known) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, known) for item in value]
    if not isinstance(value, str):
        return value
    whole = _PLACE.fullmatch(value)
    if whole and whole["name"]:
        return known[whole["name"]]
    return _PLACE.sub(_put(known), value)


def _put(known: Mapping[str, Scalar]) -> Callable[[re.Match[str]], str]:
    return lambda found: found["meant"] or written(known[found["name"]])


def literal(text: str) -> str:
    """A text in which nothing is a placeholder: `filled` gives it back as it was."""
    return _PLACE.sub(lambda found: f"{{{found[0]}}}", text)


def written(value: Scalar) -> str:
    """A value as a word of a command line: `true`, and nothing for null."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def variables(known: Mapping[str, Scalar]) -> dict[str, str]:
    """The same values as environment variables: PIPELINE_RUN, PIPELINE_DUE_DATE …, and PIPELINE_PARAM_REGION."""
    return {
        f"PIPELINE_{name.upper()}" if name in PLACEHOLDERS else f"PIPELINE_PARAM_{name.upper()}": written(value)
        for name, value in known.items()
    }
