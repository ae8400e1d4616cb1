"""Bars over time, as shares of a width: what the pages draw as SVG; it knows no rows and reads no clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

# A bar that is narrower than this cannot be seen, or hit.
NARROWEST = 0.5
# Lanes that one picture has at most, and bars that one lane has.
LANES, BARS = 16, 240
# Distances between marks on an axis, and how an instant on it is written.
STEPS = (
    (1, "%H:%M:%S"), (2, "%H:%M:%S"), (5, "%H:%M:%S"), (10, "%H:%M:%S"), (30, "%H:%M:%S"), (60, "%H:%M"),
    (120, "%H:%M"), (300, "%H:%M"), (600, "%H:%M"), (1800, "%H:%M"), (3600, "%H:%M"), (3 * 3600, "%H:%M"),
    (6 * 3600, "%a %H:%M"), (12 * 3600, "%a %H:%M"), (86_400, "%d %b"), (7 * 86_400, "%d %b"), (28 * 86_400, "%d %b"),
)  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """From `x` on, `width` wide, both in percent; `words` say what it is."""

    x: float
    width: float
    tone: str
    words: str
    link: str = ""


@dataclass(frozen=True)
class Lane:
    label: str
    bars: list[Bar]
    note: str = ""
    link: str = ""
    # Instants to come, in percent, with words.
    marks: list[Bar] = field(default_factory=list)


@dataclass(frozen=True)
class Timeline:
    """Lanes over one axis; `ticks` are percent and text, `now` is percent where it lies within."""

    lanes: list[Lane]
    ticks: list[tuple[float, str]]
    now: float | None
    left_out: int = 0


@dataclass(frozen=True)
class Piece:
    """Something that took a while; without an end it goes on."""

    lane: str
    start: datetime
    end: datetime | None
    tone: str
    words: str
    link: str = ""


@dataclass(frozen=True)
class Scale:
    """Where an instant lies between two others, in percent."""

    start: datetime
    end: datetime

    def at(self, instant: datetime) -> float:
        whole = (self.end - self.start).total_seconds() or 1.0
        return round(min(max((instant - self.start).total_seconds() / whole, 0.0), 1.0) * 100, 3)

    def bar(self, piece: Piece, now: datetime) -> Bar:
        x, end = self.at(piece.start), self.at(piece.end or now)
        width = max(end - x, NARROWEST)
        return Bar(min(x, 100 - width), round(width, 3), piece.tone, piece.words, piece.link)

    def ticks(self, zone_of: datetime, most: int = 8) -> list[tuple[float, str]]:
        """Round instants by the clock of `zone_of`'s zone, `most` at most."""
        whole = (self.end - self.start).total_seconds()
        step, form = next(((size, form) for size, form in STEPS if whole / size <= most), STEPS[-1])
        local = self.start.astimezone(zone_of.tzinfo)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        first = midnight + timedelta(seconds=((local - midnight).total_seconds() // step + 1) * step)
        instants = (first + timedelta(seconds=step * number) for number in range(most + 1))
        return [(self.at(one), f"{one:{form}}") for one in instants if one < self.end]


def draw(
    pieces: Iterable[Piece], scale: Scale, now: datetime, zone_of: datetime, notes: dict[str, str] | None = None
) -> Timeline:
    """One lane for each name, in the order of the pieces."""
    lanes: dict[str, list[Bar]] = {}
    for piece in pieces:
        lanes.setdefault(piece.lane, []).append(scale.bar(piece, now))
    drawn = [Lane(name, thinned(bars), (notes or {}).get(name, "")) for name, bars in list(lanes.items())[:LANES]]
    within = scale.at(now) if scale.start <= now <= scale.end else None
    return Timeline(drawn, scale.ticks(zone_of), within, max(len(lanes) - LANES, 0))


def thinned(bars: Sequence[Bar]) -> list[Bar]:
    """No more bars than can be told apart: those that would lie on one that is drawn are left out, the worst last."""
    if len(bars) <= BARS:
        return list(bars)
    seen: dict[tuple[int, str], Bar] = {}
    for bar in bars:
        spot = (int(bar.x / 100 * BARS), bar.tone)
        if spot not in seen or bar.width > seen[spot].width:
            seen[spot] = bar
    return sorted(seen.values(), key=lambda bar: bar.x)[: 4 * BARS]
