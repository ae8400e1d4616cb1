"""Where the marks of a chart stand: plain geometry, drawn as SVG by the template `chart.html`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from unicodedata import east_asian_width

from pipeline.adapters.documents.locales import Localizer
from pipeline.presentation import Plot, Series, ShownColumn

# Pixels. The text's size is the template's too (chart.html reads it from the drawing).
TEXT = 9
_LINE_HEIGHT = 15
_PLOT_HEIGHT = 170
_LANES_FROM = 4
_LANES_TO = 24
_BAR_SHARE = 0.68
_WIDEST_BAR = 46
_LONGEST_LABEL = 34
_LABELLED_BARS = 14


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
    """A chart ready to be drawn: `grid` and `baseline` are lines (x1, y1, x2, y2)."""

    title: str
    description: str
    width: float
    height: float
    grid: list[tuple[float, float, float, float]] = field(default_factory=list)
    baseline: tuple[float, float, float, float] | None = None
    bars: list[Bar] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    dots: list[tuple[float, float, int]] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    legend: list[str] = field(default_factory=list)
    note: str = ""
    text: int = TEXT


def draw(plot: Plot, reader: Localizer, words: Mapping[str, Any], *, width: float) -> Drawing | None:
    """Lay out `plot` in `width` pixels; None where no series has a number."""
    numbers = [value for series in plot.series for value in series.values if value is not None]
    if not numbers:
        return None
    labels = reader.axis(plot.x, plot.labels)
    title = plot.title or words["chart_title"].format(y=", ".join(s.column.label for s in plot.series), x=plot.x.label)
    empty = Drawing(title, _description(plot, labels, reader, words), width, 0)
    if len(plot.series) > 1:
        empty = replace(empty, legend=[series.column.label for series in plot.series])
    if plot.left_out:
        shown = reader.number(len(labels))
        empty = replace(empty, note=words["chart_cut"].format(shown=shown, all=reader.number(len(labels) + plot.left_out)))
    ticks = nice_ticks(min(numbers), max(numbers), from_zero=plot.kind == "bar")
    slot = width * 0.92 / len(labels)
    crowded = max(text_width(label) for label in labels) > slot - 4
    if plot.kind == "bar" and plot.x.format == "text" and crowded and _LANES_FROM <= len(labels) <= _LANES_TO:
        return _lanes(empty, plot, labels, ticks, reader)
    return _columns(empty, plot, labels, ticks, reader)


def nice_ticks(low: float, high: float, *, from_zero: bool) -> list[float]:
    """Three to seven round numbers around `low` and `high`; zero is one of them where it is near, or asked for."""
    if from_zero or 0 <= low <= high * 0.6 or low * 0.6 <= high <= 0 or low == high:
        low, high = min(low, 0), max(high, 0)
    span = high - low or 1
    size = 10 ** math.floor(math.log10(span / 4))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if span / (size * factor) <= 5)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, max(last, first + 1) + 1)]


def text_width(text: str, size: float = TEXT) -> float:
    """About how wide a text is, in pixels: a letter is half as wide as high, a Chinese one as wide."""
    return size * sum(1 if east_asian_width(letter) in "WF" else 0.55 for letter in text)


def _columns(empty: Drawing, plot: Plot, labels: list[str], ticks: list[float], reader: Localizer) -> Drawing:
    """Points from left to right, values upwards."""
    written = _tick_labels(plot.series[0].column, ticks, reader)
    left = max(map(text_width, written)) + 10
    slot = (empty.width - left - 4) / len(labels)
    top, bottom = 12, 12 + _PLOT_HEIGHT

    def up(value: float) -> float:
        return round(bottom - (value - ticks[0]) / (ticks[-1] - ticks[0]) * _PLOT_HEIGHT, 1)

    def centre(index: int) -> float:
        return round(left + slot * (index + 0.5), 1)

    grid = [(left, up(tick), empty.width, up(tick)) for tick in ticks]
    marks = [Mark(left - 6, up(tick) + 3, text, "end") for tick, text in zip(ticks, written, strict=True)]
    below, depth = _labels_below(labels, slot, plot.x.format == "text", [centre(i) for i in range(len(labels))], bottom)
    zero = up(max(ticks[0], 0))
    drawing = replace(
        empty,
        height=bottom + depth,
        grid=grid,
        baseline=(left, zero, empty.width, zero),
        marks=marks + below,
    )
    if plot.kind == "line":
        lines, dots = _lines(plot.series, centre, up)
        return replace(drawing, lines=lines, dots=dots)
    bars = _bars(plot.series, centre, up, zero, slot)
    return replace(drawing, bars=bars, marks=drawing.marks + _values_on(plot, bars, slot, top, reader))


def _bars(series: Sequence[Series], centre: Any, up: Any, zero: float, slot: float) -> list[Bar]:
    group = min(slot * _BAR_SHARE, _WIDEST_BAR * len(series))
    width = group / len(series)
    return [
        Bar(
            round(centre(index) - group / 2 + number * width, 1),
            min(up(value), zero),
            round(width * (0.94 if len(series) > 1 else 1), 1),
            round(abs(up(value) - zero), 1),
            number,
        )
        for number, one in enumerate(series)
        for index, value in enumerate(one.values)
        if value is not None
    ]


def _lines(series: Sequence[Series], centre: Any, up: Any) -> tuple[list[Line], list[tuple[float, float, int]]]:
    lines, dots = [], []
    for number, one in enumerate(series):
        points: list[tuple[float, float]] = []
        for index, value in enumerate([*one.values, None]):
            if value is not None:
                points.append((centre(index), up(value)))
                continue
            if len(points) > 1:
                lines.append(Line(" ".join(f"{x},{y}" for x, y in points), number))
            # A point between two gaps has no line; the last one of each line says where it stands now.
            dots += [(*point, number) for point in points[-1:]]
            points = []
    return lines, dots


def _labels_below(
    labels: list[str], slot: float, whole: bool, centres: list[float], bottom: float
) -> tuple[list[Mark], float]:
    """The labels of the points and the height they take: level where they fit, upright names, every n-th date."""
    widest = max(map(text_width, labels))
    if widest <= slot - 4 or not whole:
        every = max(1, math.ceil((widest + 8) / slot))
        marks = [Mark(x, bottom + 14, text) for x, text in list(zip(centres, labels, strict=True))[::every]]
        return marks, 20
    cut = [shortened(label, 18) for label in labels]
    marks = [Mark(x + TEXT / 3, bottom + 6, text, "end", upright=True) for x, text in zip(centres, cut, strict=True)]
    return marks, max(map(text_width, cut)) + 12


def _values_on(plot: Plot, bars: list[Bar], slot: float, top: float, reader: Localizer) -> list[Mark]:
    """Each bar's value above it, where a single series leaves room for them."""
    if len(plot.series) > 1 or len(plot.labels) > _LABELLED_BARS:
        return []
    column, values = plot.series[0].column, [value for value in plot.series[0].values if value is not None]
    texts = [reader.cell(replace(column, unit=""), value) for value in values]
    if max(map(text_width, texts)) > slot - 2:
        return []
    return [
        Mark(round(bar.x + bar.width / 2, 1), max(bar.y - 4, top - 4) if value >= 0 else bar.y + bar.height + 10, text)
        for bar, value, text in zip(bars, values, texts, strict=True)
    ]


def _lanes(empty: Drawing, plot: Plot, labels: list[str], ticks: list[float], reader: Localizer) -> Drawing:
    """Long names: one lane each from the top, the name at the left, bars to the right with their values."""
    names = [shortened(label, _LONGEST_LABEL) for label in labels]
    columns = [replace(one.column, unit="") for one in plot.series]
    texts = [[reader.cell(c, v) for v in one.values] for c, one in zip(columns, plot.series, strict=True)]
    room = max(text_width(text) for row in texts for text in row) + 8
    left = max(map(text_width, names)) + 10 + (room if ticks[0] < 0 else 0)
    lane = max(_LINE_HEIGHT + 3, 11 * len(plot.series) + 5)

    def right(value: float) -> float:
        return round(left + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (empty.width - left - room), 1)

    zero, thick = right(max(ticks[0], 0)), (lane - 6) / len(plot.series)
    bars, marks = [], []
    for index, name in enumerate(names):
        top = 4 + lane * index
        marks.append(Mark(max(map(text_width, names)) + 2, round(top + lane / 2 + 3, 1), name, "end"))
        for number, one in enumerate(plot.series):
            value = one.values[index]
            if value is None:
                continue
            y, end = top + 3 + number * thick, right(value)
            bars.append(Bar(min(zero, end), round(y, 1), round(abs(end - zero), 1), round(thick - 1, 1), number))
            place, anchor = (end + 5, "start") if value >= 0 else (end - 5, "end")
            marks.append(Mark(place, round(y + thick / 2 + 2.5, 1), texts[number][index], anchor))
    height = 8 + lane * len(names)
    return replace(empty, height=height, bars=bars, marks=marks, baseline=(zero, 2, zero, height - 2))


def shortened(text: str, most: int) -> str:
    """`text`, or its beginning and an ellipsis: at most `most` characters."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _tick_labels(column: ShownColumn, ticks: list[float], reader: Localizer) -> list[str]:
    step = ticks[1] - ticks[0]
    if column.format == "percent":
        step *= 100
    digits = next((digits for digits in range(6) if math.isclose(round(step, digits), step, rel_tol=1e-9)), 6)
    shown = replace(column, digits=digits, format="decimal" if column.format == "integer" else column.format)
    texts = [reader.cell(replace(shown, unit=""), tick) for tick in ticks]
    # The unit once, at the top, not on every line.
    return [*texts[:-1], f"{texts[-1]} {column.unit}".strip()]


def _description(plot: Plot, labels: list[str], reader: Localizer, words: Mapping[str, Any]) -> str:
    """What a reader who cannot see the chart is told: kind, extent, highest and lowest value of each series."""
    told = [words[f"chart_{plot.kind}"].format(points=reader.number(len(labels)), x=plot.x.label)]
    for one in plot.series:
        found = [(value, label) for value, label in zip(one.values, labels, strict=True) if value is not None]
        if found:
            high, low = max(found, key=lambda pair: pair[0]), min(found, key=lambda pair: pair[0])
            told.append(
                words["chart_range"].format(
                    y=one.column.label,
                    high=reader.cell(one.column, high[0]),
                    high_at=high[1],
                    low=reader.cell(one.column, low[0]),
                    low_at=low[1],
                )
            )
    return " ".join(told)
