"""How often, how long apart and for which errors a step is tried again, as a value."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self

from pipeline.errors import PermanentError, TransientError
from pipeline.mistakes import did_you_mean
from pipeline.timing import parse_duration

# What a schedule file may set; which errors are worth another attempt is for the code to say.
_FIELDS = ("attempts", "first", "factor", "ceiling", "jitter", "give_up_after", "time_limit")
_DURATIONS = ("first", "ceiling", "give_up_after", "time_limit")
# What may be left out, as null.
_OPTIONAL = ("give_up_after", "time_limit")
# The longest that one attempt may take: past an hour a broker gives its message to a second worker.
LONGEST = 3000.0


@dataclass(frozen=True, slots=True)
class Retry:
    """Tries a step up to `attempts` times in all, for errors of the class, or tuple of classes, `on`.

    Seconds: the wait is `first`, each time `factor` times as long, up to `ceiling`; chance takes up to the share
    `jitter` off. With `give_up_after` no attempt starts later than that after the first one did; one that takes longer
    than `time_limit` is stopped. Raises ValueError for values that cannot be meant.
    """

    on: type[Exception] | tuple[type[Exception], ...] = TransientError
    attempts: int = 5
    first: float = 30.0
    factor: float = 2.0
    ceiling: float = 900.0
    jitter: float = 0.1
    give_up_after: float | None = None
    time_limit: float | None = None

    def __post_init__(self) -> None:
        wrong = {
            f"attempts {self.attempts!r} is not a whole number, 1 or more": not (
                _number(self.attempts, 1) and isinstance(self.attempts, int)
            ),
            f"first {self.first!r} is not a number of seconds, 0 or more": not _number(self.first, 0),
            f"factor {self.factor!r} is not a number, 1 or more": not _number(self.factor, 1),
            f"ceiling {self.ceiling!r} is not a number of seconds, 0 or more": not _number(self.ceiling, 0),
            f"jitter {self.jitter!r} is not a share from 0 to 1": not _number(self.jitter, 0) or self.jitter > 1,
            f"give_up_after {self.give_up_after!r} is not a number of seconds, or null for never": not (
                self.give_up_after is None or _number(self.give_up_after, 0)
            ),
            "give_up_after 0 s is no time at all: 1s is one try, null never gives up": self.give_up_after == 0,
            f"time_limit {self.time_limit!r} is not 1 to {LONGEST:g} seconds, or null for the step's own": not (
                self.time_limit is None or (_number(self.time_limit, 1) and self.time_limit <= LONGEST)
            ),
        }
        for sentence in filter(wrong.get, wrong):
            raise ValueError(sentence)
        if self.ceiling < self.first:
            raise ValueError(f"ceiling {self.ceiling:g} s is less than first {self.first:g} s: set both")

    def delay(self, attempt: int, seed: str, retry_after: float | None = None) -> float:
        """Give the seconds to wait after the failed `attempt` (1 is the first), at least `retry_after`.

        The same `seed` and `attempt` give the same answer on every machine: chance is drawn from their SHA-256.
        """
        try:
            growth = self.factor ** (attempt - 1)
        except OverflowError:
            growth = math.inf
        wait = min(self.first * growth, self.ceiling) if self.first else 0.0
        chance = self.jitter * _draw(f"{seed}:{attempt}")
        asked = retry_after if retry_after is not None and math.isfinite(retry_after) else 0.0
        # Those who were told to wait are spread as well, but only to later.
        return max(wait * (1 - chance), asked * (1 + chance))

    def decide(
        self, error: BaseException, attempt: int, seed: str, first_attempt_at: datetime, now: datetime
    ) -> float | None:
        """Give the seconds until the next attempt, or None to give up (datetimes aware).

        None for a PermanentError or one that `on` does not name, after the last attempt, and when the next attempt
        would start past `give_up_after`.
        """
        if isinstance(error, PermanentError) or not isinstance(error, self.on) or attempt >= self.attempts:
            return None
        wait = self.delay(attempt, seed, getattr(error, "retry_after", None))
        spent = (now - first_attempt_at).total_seconds()
        if self.give_up_after is not None and spent + wait > self.give_up_after:
            return None
        return wait

    def due_at(
        self, now: datetime, failures: int, seed: str, first_at: datetime, retry_after: float | None = None
    ) -> datetime | None:
        """Give when what has failed `failures` times since `first_at` is tried again, or None past `give_up_after`.

        `attempts` does not count: what waits for somebody else's mailbox has its patience in time.
        """
        wait = self.delay(failures, seed, retry_after)
        if self.give_up_after is not None and (now - first_at).total_seconds() + wait > self.give_up_after:
            return None
        return now + timedelta(seconds=wait)

    def overridden(self, written: Mapping[str, Any]) -> Self:
        """Give the same with what a schedule file says, such as `{attempts: 8, first: 1m, give_up_after: 24h}`.

        Raises ValueError for an unknown field or a value that cannot be meant.
        """
        return replace(self, **{name: _read(name, value) for name, value in written.items()})

    def to_json(self) -> dict[str, Any]:
        """Give what `from_json` and `overridden` read; `on` is code and stays out."""
        return {name: getattr(self, name) for name in _FIELDS}

    @classmethod
    def from_json(
        cls, stored: Mapping[str, Any], on: type[Exception] | tuple[type[Exception], ...] = TransientError
    ) -> Self:
        return cls(on=on).overridden(stored)


def _read(name: str, value: Any) -> Any:
    if name not in _FIELDS:
        hint = did_you_mean(str(name), _FIELDS, lead=" ")
        raise ValueError(f'retry has no field "{name}":{hint} It takes {", ".join(_FIELDS)}')
    if name not in _DURATIONS or (name in _OPTIONAL and value is None):
        return value
    try:
        return parse_duration(value).total_seconds()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _number(value: object, least: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= least


def _draw(seed: str) -> float:
    """Draw a number from 0 to 1 (not included) that depends on `seed` alone."""
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8]) / 2**64
