"""What a schedule does about missed slots, runs that overlap, and deliveries that are late or nobody knows about."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from pipeline import timing
from pipeline.report import Model


def _duration(value: Any) -> str:
    """A length of time as it is written in a file, a second or more; numbers are seconds."""
    length = timing.parse_duration(value)
    if length < timedelta(seconds=1):
        short = "less than a second" if length else "no time at all"
        raise ValueError(f'"{value}" is {short}: leave it out, or write it like 2m')
    return value if isinstance(value, str) else timing.format_duration(length)


Duration = Annotated[str, BeforeValidator(_duration)]


def _size(value: Any) -> int:
    """Bytes of `5MB`, `500 kB` or a number."""
    found = re.fullmatch(r"(\d{1,12}(?:\.\d+)?) ?([kMG]?)B?", str(value)) if not isinstance(value, bool) else None
    if not found:
        raise ValueError(f'"{value}" is not a size: write it like 5MB, 500kB or 0')
    return int(float(found[1]) * {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[found[2]])


Size = Annotated[int, BeforeValidator(_size)]


class Overlap(StrEnum):
    """What happens to a slot that is due while an earlier run of its schedule is still active."""

    SKIP = "skip"
    QUEUE = "queue"
    CANCEL = "cancel"
    ALLOW = "allow"


class Uncertain(StrEnum):
    """What becomes of a message of which nobody can say whether it went out (RFC 1047)."""

    HOLD = "hold"
    RESEND = "resend"
    ASSUME_SENT = "assume_sent"


class Late(StrEnum):
    """How a run ends of which some deliveries were turned away for now."""

    WAIT = "wait"
    CLOSE = "close"


class Mode(StrEnum):
    """Which of the slots that nobody was there for are made up for."""

    LATEST = "latest"
    ALL = "all"
    NONE = "none"


# How late a slot may be and still fire. A slot that is `none`'s to fire is due now: beat is a moment late, no more.
_WINDOWS = {Mode.LATEST: timedelta(hours=24), Mode.ALL: timedelta(hours=24), Mode.NONE: timedelta(minutes=1)}


class CatchUp(Model):
    """What is made up for after a downtime of beat; a plain word is short for its mode."""

    mode: Mode = Field(Mode.LATEST, description="Of the missed slots the latest fires, all of them, or none.")
    window: Duration | None = Field(
        None, description="How late a slot may be and still fire. Default: 24h, with none 1m."
    )
    max: int = Field(10, ge=1, le=500, description="How many slots `all` makes up for, the newest ones.")

    @property
    def lateness(self) -> timedelta:
        """How late a slot may be and still fire."""
        return timing.parse_duration(self.window) if self.window else _WINDOWS[self.mode]

    @property
    def most(self) -> int:
        """How many of the slots that are due fire at most."""
        return self.max if self.mode == Mode.ALL else 1


class Keep(Model):
    """How long what is known of a schedule's runs is kept: by their age, by their number, or whichever comes first."""

    days: int | None = Field(
        None, ge=1, le=36_500, description="Days since a run finished. Default: PIPELINE_KEEP_DAYS."
    )
    runs: int | None = Field(None, ge=1, description="The newest so many runs, and the last one that succeeded.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.days is None and self.runs is None:
            raise ValueError("needs days, runs, or both")
        return self


class Deadline(Model):
    """How long after its slot a run may start and finish before somebody is told."""

    start_within: Duration | None = Field(None, description="Told of unless its first step has begun by then: 10m.")
    finish_within: Duration | None = Field(None, description="Told of unless it has finished by then: 1h.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.start_within is None and self.finish_within is None:
            raise ValueError("needs start_within, finish_within, or both")
        return self

    def after(self, instant: datetime) -> tuple[datetime | None, datetime | None]:
        """When a run that counts from `instant` has to have started, and to have finished."""
        return _later(instant, self.start_within), _later(instant, self.finish_within)


def _later(instant: datetime, length: str | None) -> datetime | None:
    return instant + timing.parse_duration(length) if length else None
