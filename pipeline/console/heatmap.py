"""A year of days as squares, one column for each week: what the pages draw as SVG."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from pipeline.models import Decision, RunStatus
from pipeline.services.answers import SlotDay, wording

WEEKS, CELL, GAP, LEFT, TOP = 53, 12, 3, 30, 18
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# The worst that happened on a day is what its square shows.
WORST: tuple[tuple[str, frozenset[str], frozenset[str]], ...] = (
    ("bad", frozenset({RunStatus.FAILED, RunStatus.REJECTED}), frozenset()),
    ("warn", frozenset({RunStatus.PARTIAL, RunStatus.CANCELLED}), frozenset({Decision.LATE})),
    ("busy", frozenset({RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING, RunStatus.CANCELLING}), frozenset()),
    ("good", frozenset({RunStatus.SUCCEEDED}), frozenset({Decision.FIRED})),
)


@dataclass(frozen=True)
class Cell:
    x: int
    y: int
    tone: str
    words: str


@dataclass(frozen=True)
class Heatmap:
    """Squares with their places; `months` are places and names above them, `summary` the same in words."""

    cells: list[Cell]
    months: list[tuple[int, str]]
    width: int
    height: int
    summary: str


def first_day(today: date, weeks: int = WEEKS) -> date:
    """The Monday that the picture begins with."""
    return today - timedelta(days=today.weekday(), weeks=weeks - 1)


def draw(days: Iterable[SlotDay], today: date) -> Heatmap:
    """The year up to `today`; days without a slot are there, and empty."""
    begin, known = first_day(today), {one.day: one for one in days}
    whole = [begin + timedelta(days=number) for number in range((today - begin).days + 1)]
    cells = [_cell(day, number, known.get(day)) for number, day in enumerate(whole)]
    months = [(cells[number].x, _MONTHS[day.month - 1]) for number, day in enumerate(whole) if day.day == 1]
    width, height = LEFT + WEEKS * (CELL + GAP), TOP + 7 * (CELL + GAP)
    return Heatmap(cells, months, width, height, _summary([cell.tone for cell in cells]))


def _cell(day: date, number: int, found: SlotDay | None) -> Cell:
    x, y = LEFT + number // 7 * (CELL + GAP), TOP + number % 7 * (CELL + GAP)
    said = f"{day.day} {_MONTHS[day.month - 1]}: {_words(found)}"
    return Cell(x, y, tone(found) if found else "none", said)


def tone(day: SlotDay) -> str:
    for name, runs, decisions in WORST:
        if runs & day.runs.keys() or decisions & day.decisions.keys():
            return name
    return "idle"


def _words(day: SlotDay | None) -> str:
    if day is None:
        return "nothing was due"
    counts = {
        **{name: count for name, count in day.decisions.items() if name != Decision.FIRED or not day.runs},
        **day.runs,
    }
    return wording.listed(f"{count:,} {name}" for name, count in counts.items())


def _summary(tones: list[str]) -> str:
    said = {
        "good": "went well",
        "bad": "had failures",
        "warn": "were late or partial",
        "idle": "had only slots that did not fire",
    }
    return (
        wording.listed(f"{tones.count(name)} days {words}" for name, words in said.items() if tones.count(name))
        or "no slot yet"
    )
