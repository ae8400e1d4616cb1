"""What a schedule's `when` says: at which instants it is due, and on which days."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from pipeline import timing
from pipeline.errors import DefinitionError
from pipeline.mistakes import sentences
from pipeline.policies import Duration
from pipeline.report import Model


def _kinds_of_days(value: Any) -> list[Any] | None:
    return None if value is None else [_kind_of_days(item) for item in (value if isinstance(value, list) else [value])]


def _kind_of_days(item: Any) -> Any:
    """One kind of days as `timing` reads it: a text, or a file with the dates that it holds."""
    match item:
        case str():
            return item.strip()
        case date():
            return item.isoformat()
        case {"holidays": str(region), **others} if not others:
            return f"holidays:{region}"
        case {"holidays": False, **others} if not others:
            raise ValueError('holidays: NO means "no" in YAML: write holidays:NO, without the space')
        case {"file": str(), "dates": str(), **others} if not others:
            return item
    raise ValueError(f'"{item}" is no kind of days: it is one of {timing.KINDS_OF_DAYS}')


KindsOfDays = Annotated[list[Any] | None, BeforeValidator(_kinds_of_days)]


class When(Model):
    """The instants a schedule is due at; a plain string is short for its cron expression."""

    cron: str | None = Field(None, description='Five fields, or six with seconds first: "0 7 * * mon".')
    every: Duration | None = Field(None, description="An interval such as 15m, aligned to `anchor`.")
    anchor: str | None = Field(
        None, description="An ISO 8601 instant that intervals are counted from. Default: the epoch."
    )
    at: Annotated[list[str] | None, BeforeValidator(lambda v: [v] if isinstance(v, str) else v)] = Field(
        None, description="One or more ISO 8601 instants; without an offset they are local to `timezone`."
    )
    timezone: str | None = Field(None, description="IANA zone. Default: PIPELINE_TIMEZONE.")
    days: Literal["either", "both"] = Field(
        "either", description="Day of month and day of week both given: which must fit."
    )
    day: str | None = Field(
        None,
        description="The day of each month, for a cron whose day fields are *: first_business_day, last_business_day, "
        "business_day#3 (the third; -3: from the end), last_day. Business days are none that except_on names.",
    )
    only_on: KindsOfDays = Field(
        None,
        description="Only on these days, one kind or a list: business_days, holidays:DE-BY (a country, its "
        "subdivision, or an exchange), sat, mon-fri, 2026-12-24, or a file beside this one with a date a line.",
    )
    except_on: KindsOfDays = Field(None, description="Not on these days, as in only_on.")
    on_holiday: Literal["skip", "before", "after"] = Field(
        "skip",
        description="A slot on a day that only_on or except_on excludes: drop it, or move it to the same time on the "
        "nearest allowed day before or after.",
    )
    gap: Literal["shift", "skip"] = Field(
        "shift", description="A wall time that does not exist (DST): fire after it, or drop it."
    )
    overlap: Literal["first", "second", "both"] = Field("first", description="A wall time that comes twice (DST).")
    jitter: Duration | None = Field(
        None, description="Each run starts up to so much after its slot: the same for a slot everywhere. Default: none."
    )

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, value: str | None) -> str | None:
        if value is not None:
            timing.find_zone(value)
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(value is not None for value in (self.cron, self.every, self.at)) != 1:
            raise ValueError("needs exactly one of cron, every, at")
        if self.anchor and not self.every:
            raise ValueError("anchor goes with every")
        try:
            self.spec("UTC")
        except timing.CalendarError as error:
            raise ValueError(f".{error}") from None
        except ValueError as error:
            # Told at its field: `.cron "0 25 * * *": hour 25 is outside 0-23`, `.at "tomorrow" is not …`.
            reason = str(error).removeprefix(f"{self.cron} ")
            raise ValueError(f'.cron "{self.cron}": {reason}' if self.cron else f".{reason}") from None
        return self

    def spec(self, default_zone: str) -> timing.Spec:
        """The value `timing.next_after` takes. Raises ValueError naming the field that cannot be meant."""
        return timing.spec(
            self.model_dump(exclude={"timezone", "jitter"}, exclude_none=True), self.timezone or default_zone
        )


class _Asked(Model):
    when: When


def read(fields: Mapping[str, Any]) -> When:
    """The `when` of these fields, as a schedule file has them. Raises DefinitionError with the first mistake."""
    try:
        return _Asked.model_validate({"when": dict(fields)}).when
    except ValidationError as error:
        said = next(sentences(error, "", _Asked, {"when": When}))
        raise DefinitionError(said.removeprefix(": ").removeprefix("when.")) from None
