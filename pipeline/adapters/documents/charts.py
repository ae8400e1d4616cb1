"""From a plot to a drawing: round numbers on the axis, a layout that fits the labels, words for who cannot see it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipeline.adapters.documents import lanes, upright
from pipeline.adapters.documents.drawing import Drawing, text_width
from pipeline.adapters.documents.locales import Localizer
from pipeline.presentation import Plot

# As many named bars may lie on their side, one below the other, where their names would not fit below them.
_LANES = range(4, 25)


def draw(plot: Plot, reader: Localizer, words: Mapping[str, Any], *, width: float) -> Drawing | None:
    """Lay out `plot` in `width` pixels; None where no series has a number."""
    numbers = [value for series in plot.series for value in series.values if value is not None]
    if not numbers:
        return None
    labels = reader.axis(plot.x, plot.labels)
    title = plot.title or words["chart_title"].format(y=", ".join(s.column.label for s in plot.series), x=plot.x.label)
    drawing = Drawing(title, _description(plot, labels, reader, words), width)
    if len(plot.series) > 1:
        drawing = replace(drawing, legend=[series.column.label for series in plot.series])
    if plot.left_out:
        counts = {"shown": reader.number(len(labels)), "all": reader.number(len(labels) + plot.left_out)}
        drawing = replace(drawing, note=words["chart_cut"].format(**counts))
    crowded = max(map(text_width, labels)) > width * 0.92 / len(labels) - 4
    if plot.kind == "bar" and plot.x.format == "text" and crowded and len(labels) in _LANES:
        return lanes.lay_out(drawing, plot, labels, reader)
    ticks = nice_ticks(min(numbers), max(numbers), from_zero=plot.kind == "bar")
    return upright.lay_out(drawing, plot, labels, ticks, reader)


def nice_ticks(low: float, high: float, *, from_zero: bool) -> list[float]:
    """Two to six round numbers around `low` and `high`; zero is one of them where it is near, or asked for."""
    # Values that differ in the seventh digit only would fill the whole height with noise.
    alike = high - low <= 1e-6 * max(abs(low), abs(high))
    if from_zero or alike or 0 <= low <= high * 0.6 or low * 0.6 <= high <= 0:
        low, high = min(low, 0), max(high, 0)
    # Below this a float has no digits left to divide.
    span = high - low if high - low > 1e-290 else 1
    size = 10.0 ** math.floor(math.log10(span / 4))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if span / (size * factor) <= 4)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    # Twelve significant digits: 0.1 + 0.2 is no tick that anybody wants to read.
    return [float(f"{index * step:.12g}") for index in range(first, max(last, first + 1) + 1)]


def _description(plot: Plot, labels: list[str], reader: Localizer, words: Mapping[str, Any]) -> str:
    """What a reader who cannot see the chart is told: kind, extent, highest and lowest value of each series."""
    told = [words[f"chart_{plot.kind}"].format(points=reader.number(len(labels)), x=plot.x.label)]
    for one in plot.series:
        found = [(value, label) for value, label in zip(one.values, labels, strict=True) if value is not None]
        if found:
            high, low = max(found, key=lambda pair: pair[0]), min(found, key=lambda pair: pair[0])
            ends = {"high": reader.cell(one.column, high[0]), "low": reader.cell(one.column, low[0])}
            told.append(words["chart_range"].format(y=one.column.label, **ends, high_at=high[1], low_at=low[1]))
    return " ".join(told)
