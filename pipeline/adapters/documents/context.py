"""What a template sees: the same names in every document and, in part, in every message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from pipeline.adapters.documents import charts
from pipeline.adapters.documents.content import EXCERPT_ROWS, MAX_TABLE_ROWS, Content, DocumentFormat
from pipeline.adapters.documents.locales import Localizer
from pipeline.adapters.documents.templates import Templates
from pipeline.errors import PermanentError
from pipeline.presentation import Figure, ShownColumn, Table, figure, humanised, present
from pipeline.report import Chart

# Points: a page's text width upright and on its side, a character of the table's text, and a cell's padding.
_PORTRAIT, _LANDSCAPE = 505.0, 750.0
_LETTER, _PADDING = 4.75, 9.0
# A chart's width in pixels: the page's text width, upright and on its side.
_CHART_WIDTHS = {False: 673, True: 1000}
_LONGEST = 36


@dataclass(frozen=True)
class Heading:
    """A column of the printed table: `align` is "n" for numbers, else empty; `width` is a share of 100."""

    label: str
    align: str
    width: float


@dataclass(frozen=True)
class PrintedFigure:
    """A key figure as text."""

    label: str
    value: str


@dataclass(frozen=True)
class PrintedTable:
    """A table as text: each row is a list of (align, text); `totals` is empty where no column asks for one."""

    columns: list[Heading]
    rows: list[list[tuple[str, str]]]
    totals: list[tuple[str, str]]
    note: str = ""
    landscape: bool = False
    dense: bool = False


def shown(content: Content, *, hide_key: bool) -> tuple[Content, Table]:
    """The content with what build() put in place of its rows, chart or figures, and how its rows are shown.

    Raises PermanentError where build() returned something else than rows, a chart or figures under those names.
    """
    extra, report = content.extra, content.report
    if "rows" in extra:
        rows = list(extra["rows"])
        content = replace(content, rows=rows, columns=tuple(rows[0].keys()) if rows else ())
    if extra.get("chart") is not None:
        try:
            report = report.model_copy(update={"chart": Chart.model_validate(extra["chart"])})
        except ValidationError as error:
            raise PermanentError(f"build() of {content.name} returned a chart that is none: {error}") from error
    table = present(report, content.rows, column_names(content), hide_key=hide_key)
    if "figures" in extra:
        table = replace(table, figures=tuple(_given_figures(extra["figures"], content.name)))
    return content, table


def column_names(content: Content) -> tuple[str, ...]:
    """The dataset's columns: as told, else those of the first row, else those that the report lists."""
    if content.columns:
        return tuple(content.columns)
    if not content.rows:
        return tuple(content.report.columns)
    first: Any = content.rows[0]
    return tuple(first.keys())


def _given_figures(given: Any, name: str) -> Iterator[Figure]:
    pairs: Iterable[Any] = given.items() if isinstance(given, Mapping) else given
    for one in pairs:
        if isinstance(one, Figure):
            yield one
        elif isinstance(one, Mapping) and {"label", "value"} <= one.keys():
            yield figure(one["label"], one["value"], one.get("format"), one.get("digits"), one.get("unit", ""))
        elif isinstance(one, tuple | list) and len(one) == 2:
            yield figure(one[0], one[1])
        else:
            raise PermanentError(f"build() of {name}: figures are {{label: value}} or a list of label, value, format")


def base_context(content: Content, table: Table, reader: Localizer, templates: Templates) -> dict[str, Any]:
    """The names that documents and messages share; the summary is text."""
    words = templates.words(reader)
    figures = [printed_figure(one, reader, words) for one in table.figures]
    context: dict[str, Any] = {
        **content.extra,
        "title": str(content.extra.get("title") or content.report.title),
        "key": content.shown_key,
        "key_label": _key_label(content),
        "name": content.name,
        "period": content.period,
        "period_title": reader.period(content.period),
        "params": content.params,
        "figures": figures,
        "rows_count": len(content.rows),
        "generated_at": content.generated_at,
        "locale": str(reader.locale),
        "zone": content.zone,
        "words": words,
    }
    context["summary"] = _summary(content, context, reader, templates)
    return context


def document_context(
    content: Content, reader: Localizer, templates: Templates, *, format: DocumentFormat
) -> dict[str, Any]:
    """Everything `document.html` may use. Raises PermanentError for more rows than its table can show."""
    content, table = shown(content, hide_key=True)
    context = base_context(content, table, reader, templates)
    rows, note = _rows_shown(content, reader, context["words"])
    printed = print_table(table, rows, reader, context["words"], note)
    plot = table.plot and charts.draw(
        table.plot, reader, context["words"], width=_CHART_WIDTHS[printed.landscape and format == "pdf"]
    )
    return context | {
        "lang": reader.language,
        "dir": reader.direction,
        "rows": content.rows,
        "table": printed,
        "chart": plot,
        "format": format,
        "page": content.report.page,
    }


def _key_label(content: Content) -> str:
    column = content.report.split_by
    if not column:
        return ""
    known = content.report.columns.get(column)
    return (known and known.label) or humanised(column)


def _summary(content: Content, context: Mapping[str, Any], reader: Localizer, templates: Templates) -> str:
    if "summary" in content.extra:
        return str(content.extra["summary"] or "")
    if not content.report.summary:
        return ""
    seen = {**context, "rows": content.rows}
    return templates.render_text(content.report.summary, seen, reader, place=f"report.summary of {content.name}")


def _rows_shown(content: Content, reader: Localizer, words: Mapping[str, Any]) -> tuple[Sequence[Any], str]:
    count = len(content.rows)
    if count <= MAX_TABLE_ROWS:
        return content.rows, ""
    beside = next((one for one in ("xlsx", "csv") if one in content.report.formats), None)
    if beside is None:
        key = f" for {content.shown_key}" if content.shown_key else ""
        raise PermanentError(
            f"{content.name}{key}: {count:,} rows are too many for a page layout (at most {MAX_TABLE_ROWS:,}): "
            "add xlsx to report.formats (this document then shows a summary and refers to it), split_by a column, "
            "or aggregate in the query"
        )
    note = words["cut"].format(shown=reader.number(EXCERPT_ROWS), rows=reader.number(count), format=beside.upper())
    return content.rows[:EXCERPT_ROWS], note


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
    aligns = ["n" if column.numeric else "" for column in columns]
    cells = [[(align, writer(c, row[c.name])) for c, align in zip(columns, aligns, strict=True)] for row in rows]
    totals = _totals(table, aligns, reader, words)
    needs = [
        _letters(column, [row[index][1] for row in (cells[:200] + [totals] if totals else cells[:200])])
        for index, column in enumerate(columns)
    ]
    needed = sum(letters * _LETTER + _PADDING for letters in needs)
    landscape = needed > _PORTRAIT * 1.15
    widths = _widths(columns, needs, _LANDSCAPE if landscape else _PORTRAIT)
    headings = [Heading(c.label, a, w) for c, a, w in zip(columns, aligns, widths, strict=True)]
    return PrintedTable(headings, cells, totals, note, landscape, needed > _LANDSCAPE)


def _cell_writer(reader: Localizer, words: Mapping[str, Any]) -> Any:
    def written(column: ShownColumn, value: Any) -> str:
        if value is True or value is False:
            return str(words["yes" if value else "no"])
        return reader.cell(column, value)

    return written


def _totals(table: Table, aligns: list[str], reader: Localizer, words: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not table.totals or not table.row_count:
        return []
    cells = []
    for column, align in zip(table.columns, aligns, strict=True):
        found = table.totals.get(column.name)
        cells.append((align, reader.cell(found.column, found.value) if found else ""))
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
