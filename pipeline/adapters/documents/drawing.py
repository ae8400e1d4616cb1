"""A chart as plain geometry: the template `chart.svg` draws it, colours and fonts are there."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from unicodedata import east_asian_width

# Pixels; the template takes the text's size from here, since room is kept for it.
TEXT = 9


@dataclass(frozen=True)
class Mark:
    """A text: its anchor point, how it is anchored (start, middle, end), and whether it runs upwards."""

    x: float
    y: float
    text: str
    anchor: str = "middle"
    upright: bool = False


@dataclass(frozen=True)
class Bar:
    """A rectangle of the series with the number `series`."""

    x: float
    y: float
    width: float
    height: float
    series: int


@dataclass(frozen=True)
class Line:
    """A polyline (`points` as SVG writes them) of one series; a gap in the values begins another one."""

    points: str
    series: int


@dataclass(frozen=True)
class Drawing:
    """A chart ready to be drawn, in pixels from its top left corner.

    `grid` has level lines (x1, y, x2), `baseline` is a line (x1, y1, x2, y2), `dots` are (x, y, series), `legend` has
    a label per series where there are several.
    """

    title: str
    description: str
    width: float
    height: float = 0
    grid: list[tuple[float, float, float]] = field(default_factory=list)
    baseline: tuple[float, float, float, float] = (0, 0, 0, 0)
    bars: list[Bar] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    dots: list[tuple[float, float, int]] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    legend: list[str] = field(default_factory=list)
    note: str = ""
    text: int = TEXT


def text_width(text: str, size: float = TEXT) -> float:
    """About how wide a text is, in pixels, in the widest of the base fonts (DejaVu Sans)."""
    return size * sum(map(_letter_width, text))


@cache
def _letter_width(letter: str) -> float:
    """In ems."""
    if east_asian_width(letter) in "WF":
        return 1
    if letter in " .,:;'|!()[]-ijlftrI":
        return 0.38
    if letter in "mwMWQO@%":
        return 0.85
    return 0.68 if letter.isupper() else 0.62


def shortened(text: str, most: int) -> str:
    """`text`, or its beginning and an ellipsis: at most `most` characters."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
