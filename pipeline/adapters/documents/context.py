"""What a template sees: the same names in every document and, in part, in every message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from pipeline.adapters.documents import charts, sections
from pipeline.adapters.documents.content import EXCERPT_ROWS, MAX_TABLE_ROWS, Content, DocumentFormat
from pipeline.adapters.documents.locales import Localizer
from pipeline.adapters.documents.printing import CHART_WIDTHS, PrintedTable, print_table, printed_chart, printed_figure
from pipeline.adapters.documents.sections import Section, column_names
from pipeline.adapters.documents.templates import Templates
from pipeline.columns import humanised
from pipeline.errors import PermanentError
from pipeline.presentation import Figure, Plot, Table, figure, present
from pipeline.report import Chart

# What a condition can compare.
_SCALAR = (bool, int, float, Decimal, str, type(None))


def shown(content: Content, *, hide_key: bool) -> tuple[Content, Table]:
    """The content with what build() put in place of its rows, chart or figures, and how its rows are shown.

    Raises PermanentError where build() returned something else than rows, a chart or figures under those names.
    """
    extra, report = content.extra, content.report
    if "rows" in extra:
        content = replace(content, rows=list(extra["rows"]), columns=())
    if extra.get("chart") is not None:
        try:
            report = report.model_copy(update={"chart": Chart.model_validate(extra["chart"])})
        except ValidationError as error:
            raise PermanentError(f"build() of {content.name} returned a chart that is none: {error}") from error
    table = present(report, content.rows, column_names(content), hide_key=hide_key)
    if "figures" in extra:
        table = replace(table, figures=tuple(_given_figures(extra["figures"], content.name)))
    return content, table


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


def key_figures(content: Content) -> dict[str, Any]:
    """The figures of a document by names that a condition can say, unrounded: `rows`, totals, and build()'s own.

    A figure that build() calls "Late rate" is `late_rate`. Raises PermanentError as `shown` does.
    """
    given = {name: value for name, value in content.extra.items() if isinstance(value, _SCALAR)}
    _, table = shown(content, hide_key=True)
    totals = {name: one.value for name, one in table.totals.items()}
    own = {_word(one.label): one.value for one in table.figures} if "figures" in content.extra else {}
    return {**given, **totals, **own, "rows": len(content.rows)}


def _word(label: str) -> str:
    return re.sub(r"\W+", "_", label.strip().lower()).strip("_")


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
    content: Content,
    reader: Localizer,
    templates: Templates,
    *,
    format: DocumentFormat,  # noqa: A002 - the report's own word
) -> dict[str, Any]:
    """Everything `document.html` may use. Raises PermanentError for more rows than its table can show."""
    content, table = shown(content, hide_key=True)
    context = base_context(content, table, reader, templates)
    words = context["words"]
    given = sections.tables(content)
    shown_tables = [sections.Section("", content.rows, table)] if given is None else given
    tables = [_printed(content, section, reader, words) for section in shown_tables]
    landscape = any(one.landscape for one in tables)
    plots = sections.plots(content)
    width = CHART_WIDTHS[landscape and format == "pdf"]
    drawn = [charts.draw(plot, reader, words, width=width) for plot in (_plots_of(table) if plots is None else plots)]
    printed_charts = [printed_chart(drawing, templates, reader) for drawing in drawn if drawing]
    return context | {
        "lang": reader.language,
        "dir": reader.direction,
        "rows": content.rows,
        "tables": tables,
        "table": tables[0] if tables else None,
        "charts": printed_charts,
        "chart": printed_charts[0] if printed_charts else None,
        "format": format,
        "page": content.report.page,
        "landscape": landscape,
    }


def _plots_of(table: Table) -> list[Plot]:
    return [table.plot] if table.plot else []


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


def _printed(content: Content, section: Section, reader: Localizer, words: Mapping[str, Any]) -> PrintedTable:
    rows, note = _rows_shown(content, section.rows, reader, words)
    return replace(print_table(section.table, rows, reader, words, note), title=section.title)


def _rows_shown(
    content: Content, rows: Sequence[Any], reader: Localizer, words: Mapping[str, Any]
) -> tuple[Sequence[Any], str]:
    count = len(rows)
    if count <= MAX_TABLE_ROWS:
        return rows, ""
    beside = next((one for one in ("xlsx", "csv") if one in content.report.formats), None)
    if beside is None:
        key = f" for {content.shown_key}" if content.shown_key else ""
        raise PermanentError(
            f"{content.name}{key}: {count:,} rows are too many for a page layout (at most {MAX_TABLE_ROWS:,}): "
            "add xlsx to report.formats (this document then shows a summary and refers to it), split_by a column, "
            "or aggregate in the query"
        )
    note = words["cut"].format(shown=reader.number(EXCERPT_ROWS), rows=reader.number(count), format=beside.upper())
    return rows[:EXCERPT_ROWS], note
