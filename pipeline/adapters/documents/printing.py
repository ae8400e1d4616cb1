"""Rows, figures and charts as text: what a template has to do is to say where they stand."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.adapters.documents.drawing import Drawing
from pipeline.adapters.documents.locales import Localizer
from pipeline.adapters.documents.templates import Templates
from pipeline.columns import ShownColumn
from pipeline.presentation import Figure, Table

# Points: a page's text width upright and on its side, a character of the table's text, and a cell's padding.
_PORTRAIT, _LANDSCAPE = 505.0, 750.0
_LETTER, _PADDING = 5.2, 9.0
# A chart's width in pixels: the page's text width, upright and on its side.
CHART_WIDTHS = {False: 673, True: 1000}
_LONGEST = 36


@dataclass(frozen=True)
class Heading:
    """A column of the printed table: `kind` is "n" for numbers, "d" for dates, else empty; `width` a share of 100."""

    label: str
    kind: str
    width: float


@dataclass(frozen=True)
class PrintedFigure:
    """A key figure as text."""

    label: str
    value: str


@dataclass(frozen=True)
class PrintedChart:
    """A chart as an SVG file; `title` and `description` together are its alternative text."""

    title: str
    description: str
    legend: list[str]
    note: str
    svg: str

    @property
    def source(self) -> str:
        """The address for an <img>: as an image it is read by a parser in C, in the page by one in Python."""
        return "data:image/svg+xml;base64," + b64encode(self.svg.encode()).decode()


@dataclass(frozen=True)
class PrintedTable:
    """A table as text: each row is a list of (kind, text); `totals` is empty where no column asks for one."""

    columns: list[Heading]
    rows: list[list[tuple[str, str]]]
    totals: list[tuple[str, str]]
    note: str = ""
    landscape: bool = False
    dense: bool = False
    title: str = ""


def printed_chart(drawing: Drawing, templates: Templates, reader: Localizer) -> PrintedChart:
    """The chart drawn by the template `chart.svg`."""
    svg = templates.render("chart.svg", {"drawing": drawing}, reader)
    return PrintedChart(drawing.title, drawing.description, drawing.legend, drawing.note, svg)


def printed_figure(one: Figure, reader: Localizer, words: Mapping[str, Any]) -> PrintedFigure:
    """A key figure as text, its label said in the reader's language where it was made from a column."""
    if one.column.name == "rows" and one.total == "count":
        label = words["rows"]
    elif one.total in {"mean", "min", "max", "count"}:
        label = words[one.total].format(label=one.label)
    else:
        label = one.label
    return PrintedFigure(label, reader.cell(one.column, one.value))


def print_table(
    table: Table, rows: Sequence[Any], reader: Localizer, words: Mapping[str, Any], note: str = ""
) -> PrintedTable:
    """The table as text, with columns as wide as what stands in them."""
    columns, writer = table.columns, _cell_writer(reader, words)
    kinds = ["n" if column.numeric else "d" if column.format != "text" else "" for column in columns]
    cells = [[(kind, writer(c, row[c.name])) for c, kind in zip(columns, kinds, strict=True)] for row in rows]
    totals = _totals(table, kinds, reader, words)
    needs = [
        _letters(column, [row[index][1] for row in ([*cells[:200], totals] if totals else cells[:200])])
        for index, column in enumerate(columns)
    ]
    needed = sum(letters * _LETTER + _PADDING for letters in needs)
    landscape = needed > _PORTRAIT * 1.15
    widths = _widths(columns, needs, _LANDSCAPE if landscape else _PORTRAIT)
    headings = [Heading(c.label, k, w) for c, k, w in zip(columns, kinds, widths, strict=True)]
    return PrintedTable(headings, cells, totals, note, landscape, needed > _LANDSCAPE)


def _cell_writer(reader: Localizer, words: Mapping[str, Any]) -> Any:
    def written(column: ShownColumn, value: Any) -> str:
        if value is True or value is False:
            return str(words["yes" if value else "no"])
        return reader.cell(column, value)

    return written


def _totals(table: Table, kinds: list[str], reader: Localizer, words: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not table.totals or not table.row_count:
        return []
    cells = []
    for column, kind in zip(table.columns, kinds, strict=True):
        found = table.totals.get(column.name)
        text = reader.cell(found.column, found.value) if found else ""
        # A mean in a line called total must say that it is one.
        cells.append((kind, words.get(f"{column.total}_short", "{value}").format(value=text) if found else ""))
    # The word stands in the first column, unless that has a total of its own.
    if not cells[0][1]:
        cells[0] = (cells[0][0], words["total"])
    return cells


def _letters(column: ShownColumn, texts: list[str]) -> float:
    """How many letters wide a column wants to be: numbers and dates are never broken, long texts may be."""
    lengths = [len(text) for text in texts] or [1]
    word = max(len(word) for word in column.label.split() or [""])
    if column.format != "text":
        return max(*lengths, word + 1, 4)
    usual = (max(lengths) + sum(lengths) / len(lengths)) / 2
    return min(max(usual, word + 1, 4), _LONGEST)


def _widths(columns: Sequence[ShownColumn], needs: list[float], page: float) -> list[float]:
    """Shares of 100: each column what it needs; room that is left goes to texts, then to all alike."""
    points = [letters * _LETTER + _PADDING for letters in needs]
    spare = page - sum(points)
    texts = [index for index, column in enumerate(columns) if column.format == "text"] or list(range(len(columns)))
    if spare > 0:
        # Half of the room to the texts: numbers pressed to one edge are as hard to read as numbers lost in space.
        points = [one + spare / 2 / len(points) for one in points]
        for index in texts:
            points[index] += spare / 2 / len(texts)
    total = sum(points)
    return [round(100 * one / total, 2) for one in points]
