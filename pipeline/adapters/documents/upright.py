"""Charts whose points go from left to right and whose values go upwards: bars and lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from pipeline.adapters.documents.drawing import TEXT, Bar, Drawing, Line, Mark, shortened, text_width
from pipeline.adapters.documents.locales import Localizer
from pipeline.columns import ShownColumn
from pipeline.presentation import Plot, Series

Placed: TypeAlias = Callable[[float], float]

# Pixels.
_TOP, _PLOT_HEIGHT = 12, 170
_WIDEST_BAR = 46
# Of a point's room, what its bars take.
_BAR_SHARE = 0.68
# Bars that carry their values.
_VALUED_BARS = 14
# WeasyPrint lays SVG text out letter by letter: eight dates say as much as thirty.
_LEVEL_LABELS = 8
_LONGEST_UPRIGHT = 18


def lay_out(empty: Drawing, plot: Plot, labels: list[str], ticks: list[float], reader: Localizer) -> Drawing:
    """Place grid, values and labels; `ticks` are the values of the grid's lines, lowest first."""
    written = _tick_labels(plot.series[0].column, ticks, reader)
    left = round(max(map(text_width, written)) + 10, 1)
    slot = (empty.width - left - 4) / len(labels)
    bottom = _TOP + _PLOT_HEIGHT

    def up(value: float) -> float:
        return round(bottom - (value - ticks[0]) / (ticks[-1] - ticks[0]) * _PLOT_HEIGHT, 1)

    def across(index: float) -> float:
        return round(left + slot * (index + 0.5), 1)

    marks = [Mark(left - 6, up(tick) + 3, text, "end") for tick, text in zip(ticks, written, strict=True)]
    below, depth = _labels_below(labels, slot, plot.x.format == "text", across)
    drawing = replace(
        empty,
        height=bottom + depth,
        grid=[(left, up(tick), empty.width) for tick in ticks],
        baseline=(left, up(max(ticks[0], 0)), empty.width, up(max(ticks[0], 0))),
        marks=marks + below,
    )
    if plot.kind == "line":
        lines, dots = _lines(plot.series, across, up)
        return replace(drawing, lines=lines, dots=dots)
    bars = _bars(plot.series, across, up, slot)
    return replace(drawing, bars=bars, marks=drawing.marks + _values_on(plot, bars, slot, reader))


def _bars(series: Sequence[Series], across: Placed, up: Placed, slot: float) -> list[Bar]:
    group = min(slot * _BAR_SHARE, _WIDEST_BAR * len(series))
    width = group / len(series)
    return [
        Bar(
            round(across(index) - group / 2 + number * width, 1),
            min(up(value), up(0)),
            round(width * (0.94 if len(series) > 1 else 1), 1),
            round(abs(up(value) - up(0)), 1),
            number,
        )
        for number, one in enumerate(series)
        for index, value in enumerate(one.values)
        if value is not None
    ]


def _lines(series: Sequence[Series], across: Placed, up: Placed) -> tuple[list[Line], list[tuple[float, float, int]]]:
    lines, dots = [], []
    for number, one in enumerate(series):
        points: list[tuple[float, float]] = []
        for index, value in enumerate([*one.values, None]):
            if value is not None:
                points.append((across(index), up(value)))
                continue
            if len(points) > 1:
                lines.append(Line(" ".join(f"{x},{y}" for x, y in points), number))
            # The last point says where it stands now; a point between two gaps has nothing else.
            dots += [(*point, number) for point in points[-1:]]
            points = []
    return lines, dots


def _labels_below(labels: list[str], slot: float, names: bool, across: Placed) -> tuple[list[Mark], float]:  # noqa: FBT001
    """The points' labels and the height they take: level where they fit, upright names, every n-th date."""
    bottom, widest = _TOP + _PLOT_HEIGHT, max(map(text_width, labels))
    if names and widest > slot - 4:
        cut = [shortened(label, _LONGEST_UPRIGHT) for label in labels]
        marks = [Mark(across(i) + TEXT / 3, bottom + 6, text, "end", upright=True) for i, text in enumerate(cut)]
        return marks, max(map(text_width, cut)) + 12
    every = 1 if names else max(1, math.ceil((widest + 8) / slot), math.ceil(len(labels) / _LEVEL_LABELS))
    return [Mark(across(index), bottom + 14, labels[index]) for index in range(0, len(labels), every)], 20


def _values_on(plot: Plot, bars: list[Bar], slot: float, reader: Localizer) -> list[Mark]:
    """Each bar's value above it (below it where negative), where a single series leaves room for them."""
    if len(plot.series) > 1 or len(plot.labels) > _VALUED_BARS:
        return []
    column = replace(plot.series[0].column, unit="")
    values = [value for value in plot.series[0].values if value is not None]
    texts = [reader.cell(column, value) for value in values]
    if max(map(text_width, texts)) > slot - 2:
        return []
    return [
        Mark(round(bar.x + bar.width / 2, 1), round(bar.y - 4 if value >= 0 else bar.y + bar.height + 10, 1), text)
        for bar, value, text in zip(bars, values, texts, strict=True)
    ]


def _tick_labels(column: ShownColumn, ticks: list[float], reader: Localizer) -> list[str]:
    step = (ticks[1] - ticks[0]) * (100 if column.format == "percent" else 1)
    digits = next((digits for digits in range(6) if math.isclose(round(step, digits), step, rel_tol=1e-9)), 6)
    plain = replace(column, digits=digits, format="percent" if column.format == "percent" else "decimal", unit="")
    texts = [reader.cell(plain, tick) for tick in ticks]
    # The unit once, at the top, not on every line.
    return [*texts[:-1], f"{texts[-1]} {column.unit}".strip()]
