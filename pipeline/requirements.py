"""What a run has to be like before anything of it is sent: limits for its numbers, fixed or against the last time."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.mistakes import no_field

# What there are limits for; `rows.flights` counts one source alone, `versus_last` is `rows` against the last time.
QUANTITIES = ("rows", "documents", "recipients", "versus_last")
_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}
_WRITTEN = re.compile(r"\s*(>=|<=|==|>|<)\s*(\d{1,15}(?:\.\d+)?)\s*(%?)\s*")


@dataclass(frozen=True)
class Limit:
    """One limit, such as >= 1000, or <= 300% of the last time."""

    sign: str
    number: float
    relative: bool

    def __str__(self) -> str:
        return f"{self.sign} {self.number:,g}{'%' if self.relative else ''}"

    def allows(self, found: int, last: int) -> bool:
        """Whether it allows `found`, where the last time there were `last`."""
        return _SIGNS[self.sign](found, self.number * last / 100 if self.relative else self.number)


@dataclass(frozen=True)
class Last:
    """The run that the numbers are compared with: the last one of the schedule that succeeded."""

    run: str
    period: str
    numbers: Mapping[str, int]


@dataclass(frozen=True)
class Judged:
    """What was required in vain, and what could not be compared since nothing has succeeded before: in sentences."""

    unmet: Sequence[str]
    uncompared: Sequence[str]


def limit(text: str) -> Limit:
    """Raises ValueError for what is no limit."""
    found = _WRITTEN.fullmatch(text)
    if not found:
        raise ValueError(f'"{text}" is no limit: write it like ">= 1000", or ">= 50%" of the last time')
    return Limit(found[1], float(found[2]), found[3] == "%")


def read(value: Any) -> Any:
    """What `require:` says, each name with a list of limits. Raises ValueError for a name or limit that is none."""
    if not isinstance(value, Mapping):
        return value
    return {str(name): _limits(str(name), said) for name, said in value.items()}


def _limits(name: str, said: Any) -> list[str]:
    if name not in QUANTITIES and not name.startswith("rows."):
        raise ValueError(f".{name} {no_field(name, [*QUANTITIES, 'rows.SOURCE'])}")
    written = [str(one) for one in (said if isinstance(said, list) else [said])]
    try:
        limits = [limit(one) for one in written]
    except ValueError as error:
        raise ValueError(f".{name} {error}") from None
    if name == "versus_last" and not all(one.relative for one in limits):
        raise ValueError(f'.{name} "{", ".join(written)}": is a share of the rows of the last time, such as ">= 50%"')
    return written


def sources(require: Mapping[str, Any]) -> list[str]:
    """The sources whose rows are counted alone."""
    return [name.partition(".")[2] for name in require if name.startswith("rows.")]


def judge(require: Mapping[str, Sequence[str]], now: Mapping[str, int], last: Last | None) -> Judged:
    """Compare the numbers of a run; those that are not in `now` are not looked at."""
    unmet, uncompared = [], []
    for name, one in _each(require):
        quantity = "rows" if name == "versus_last" else name
        if quantity not in now:
            continue
        if one.relative and (last is None or quantity not in last.numbers):
            uncompared.append(f"{name} {one}")
        elif not one.allows(now[quantity], last.numbers.get(quantity, 0) if last else 0):
            unmet.append(_sentence(name, quantity, one, now[quantity], last))
    return Judged(unmet, uncompared)


def _each(require: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Limit]]:
    return ((name, limit(one)) for name, limits in require.items() for one in limits)


def _sentence(name: str, quantity: str, one: Limit, found: int, last: Last | None) -> str:
    """`rows: 412, and require.rows wants >= 1,000 (the last time, 2026-W45, it was 1,240)`."""
    before = last.numbers.get(quantity) if last else None
    share = f", {found / before:,.0%} of the last time" if one.relative and before else ""
    compared = f" (the last time, {last.period}, it was {before:,})" if last and before is not None else ""
    return f"{quantity}: {found:,}{share}, and require.{name} wants {one}{compared}"


def listed(numbers: Mapping[str, int], names: Iterable[str] = QUANTITIES) -> str:
    """`1,240 rows, 16 documents, 19 recipients`."""
    return ", ".join(f"{numbers[name]:,} {name}" for name in names if name in numbers)
