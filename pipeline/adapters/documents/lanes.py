"""Bars on their side, for long names: one lane each from the top, the name at the left, the value at the bar's end."""

from __future__ import annotations

from dataclasses import replace

from pipeline.adapters.documents.drawing import Bar, Drawing, Mark, shortened, text_width
from pipeline.adapters.documents.locales import Localizer
from pipeline.presentation import Plot

# Pixels: a lane with one bar, each further bar, what is left free of a lane.
_LANE, _FURTHER, _GAP = 18, 11, 6
_TOP = 4
_LONGEST_NAME = 34


def lay_out(empty: Drawing, plot: Plot, labels: list[str], reader: Localizer) -> Drawing:
    """Place a lane per label; at least one value of `plot` is a number."""
    names = [shortened(label, _LONGEST_NAME) for label in labels]
    columns = [replace(one.column, unit="") for one in plot.series]
    texts = [[reader.cell(c, v) for v in one.values] for c, one in zip(columns, plot.series, strict=True)]
    numbers = [value for one in plot.series for value in one.values if value is not None]
    low, high = min(0, *numbers), max(0, *numbers)
    room = max(text_width(text) for row in texts for text in row) + 8
    margin = max(map(text_width, names)) + 10
    left = margin + (room if low < 0 else 0)

    def right(value: float) -> float:
        return round(left + (value - low) / ((high - low) or 1) * (empty.width - left - room), 1)

    lane = _LANE + _FURTHER * (len(plot.series) - 1)
    thick = (lane - _GAP) / len(plot.series)
    bars, marks = [], []
    for index, name in enumerate(names):
        top = _TOP + lane * index
        marks.append(Mark(round(margin - 8, 1), round(top + lane / 2 + 3, 1), name, "end"))
        for number, one in enumerate(plot.series):
            value = one.values[index]
            if value is None:
                continue
            y, end = top + _GAP / 2 + number * thick, right(value)
            width = round(abs(end - right(0)), 1)
            bars.append(Bar(min(right(0), end), round(y, 1), width, round(thick - 1, 1), number))
            place, anchor = (end + 5, "start") if value >= 0 else (end - 5, "end")
            marks.append(Mark(round(place, 1), round(y + thick / 2 + 2.5, 1), texts[number][index], anchor))
    height = 2 * _TOP + lane * len(names)
    return replace(empty, height=height, bars=bars, marks=marks, baseline=(right(0), 2, right(0), height - 2))
