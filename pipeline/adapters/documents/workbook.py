"""XLSX: typed cells under a frozen header, totals that follow the filter, and no text that runs as a formula."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import xlsxwriter
from xlsxwriter.utility import xl_range

from pipeline.adapters.documents.content import Content, Document
from pipeline.adapters.documents.context import base_context, shown
from pipeline.adapters.documents.delimited import FORMULA_SIGNS
from pipeline.adapters.documents.locales import localizer
from pipeline.adapters.documents.sections import Section, tables
from pipeline.adapters.documents.templates import opened
from pipeline.columns import Number, ShownColumn, coerced
from pipeline.errors import PermanentError

# Excel's limits: rows of a sheet, characters of a cell, digits a number keeps, the first day it counts right.
_MOST_ROWS = 1_048_576
_MOST_CHARACTERS = 32_767
_MOST_DIGITS = 15
_FIRST_DAY = date(1900, 3, 1)
# Rows from which the sheet goes through a temporary file instead of being kept in memory.
_STREAM_FROM = 5_000
# SUBTOTAL's functions that leave out filtered rows.
_SUBTOTALS = {"sum": 109, "mean": 101, "min": 105, "max": 104, "count": 103}
_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def render(content: Content, templates: Path) -> Document:
    """A workbook: a sheet with the rows, one for each table of build(), and one on what they are.

    Dates are local to the content's zone. Raises PermanentError for more rows or longer texts than a sheet holds.
    """
    content, table = shown(content, hide_key=False)
    count = len(content.rows)
    if count + 2 > _MOST_ROWS:
        raise PermanentError(f"{content.name}: {count:,} rows are more than an XLSX sheet holds: use csv")
    out = io.BytesIO()
    streamed = count > _STREAM_FROM
    options = {"constant_memory": streamed, "in_memory": not streamed}
    book = xlsxwriter.Workbook(out, {**options, "strings_to_formulas": False, "strings_to_urls": False})
    reader = localizer(content.locale, content.zone)
    context = base_context(content, table, reader, opened(templates, content.template))
    _describe(book, content, context)
    own = Section(str(context["words"]["data"]), content.rows, table)
    for section in [own, *(tables(content) or [])]:
        _Sheet(book, section, content, context["words"]).write()
    _write_about(book, context)
    book.close()
    return Document(out.getvalue(), _MEDIA_TYPE, ".xlsx")


def _describe(book: Any, content: Content, context: dict[str, Any]) -> None:
    # Without a time of its own the file would say when it was rendered, and no two would be alike.
    created = content.generated_at.replace(tzinfo=None)
    title = " - ".join(filter(None, [context["title"], context["key"]]))
    book.set_properties({"title": title, "subject": context["period_title"], "created": created, "author": ""})


@dataclass(frozen=True)
class _Place:
    """Where a column's cells are and how they look."""

    index: int
    column: ShownColumn
    look: Any


class _Sheet:
    """A sheet of rows: the report's own, or a table that build() gave."""

    def __init__(self, book: Any, section: Section, content: Content, words: dict[str, Any]) -> None:
        self.book, self.table, self.rows, self.content, self.words = book, section.table, section.rows, content, words
        self.zone = ZoneInfo(content.zone)
        self.sheet = book.add_worksheet(_sheet_name(section.title, book))
        self.quoted = book.add_format({"quote_prefix": True})
        self.places = [
            _Place(index, column, book.add_format({"num_format": _number_format(column)}))
            for index, column in enumerate(self.table.columns)
        ]

    def write(self) -> None:
        rows = self.rows
        self._write_header(rows)
        for number, row in enumerate(rows, 1):
            for place in self.places:
                self._write_cell(number, place, coerced(place.column, row[place.column.name]))
        if rows and self.table.totals:
            self._write_totals(len(rows))

    def _write_header(self, rows: Sequence[Any]) -> None:
        head = self.book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "bottom"})
        for place in self.places:
            self.sheet.set_column(place.index, place.index, _width(place.column, rows))
            self.sheet.write_string(0, place.index, place.column.label, head)
        self.sheet.freeze_panes(1, 0)
        if rows and self.places:
            self.sheet.autofilter(0, 0, len(rows), len(self.places) - 1)

    def _write_cell(self, row: int, place: _Place, value: Any) -> None:
        if value is None:
            return
        if isinstance(value, bool):
            self.sheet.write_boolean(row, place.index, value)
        elif isinstance(value, Number) and _keeps_digits(value):
            self.sheet.write_number(row, place.index, value, place.look)
        elif isinstance(value, date) and (moment := self._moment(value)):
            self.sheet.write_datetime(row, place.index, moment, place.look)
        else:
            self._write_text(row, place, str(value))

    def _write_text(self, row: int, place: _Place, text: str) -> None:
        """As a string a formula is shown, not run; the quote prefix keeps it a string after somebody edits the cell."""
        look = self.quoted if text.startswith(FORMULA_SIGNS) else None
        if self.sheet.write_string(row, place.index, text, look):
            raise PermanentError(
                f'{self.content.name}: row {row:,}, column "{place.column.name}": {len(text):,} characters are more '
                f"than a cell holds ({_MOST_CHARACTERS:,}): shorten it in the query, or use csv"
            )

    def _moment(self, value: date) -> date | None:
        """`value` as Excel keeps it: local time without a zone; None where its calendar does not reach back."""
        if isinstance(value, datetime):
            value = value.astimezone(self.zone).replace(tzinfo=None) if value.tzinfo else value
            return value if value.date() >= _FIRST_DAY else None
        return value if value >= _FIRST_DAY else None

    def _write_totals(self, count: int) -> None:
        row = count + 1
        for place in self.places:
            figure = self.table.totals.get(place.column.name)
            shown_as = figure.column if figure else place.column
            look = self.book.add_format({"bold": True, "top": 1, "num_format": _number_format(shown_as)})
            if figure is None or not isinstance(figure.value, Number | date):
                self.sheet.write_string(row, place.index, self.words["total"] if place.index == 0 else "", look)
                continue
            cells = xl_range(1, place.index, count, place.index)
            formula = f"=SUBTOTAL({_SUBTOTALS[figure.total or 'sum']},{cells})"
            self.sheet.write_formula(row, place.index, formula, look, self._known(figure.value))

    def _known(self, value: Any) -> Any:
        """What a viewer that does not calculate shows for a formula: a number, or Excel's number of a day."""
        if not isinstance(value, date):
            return value
        moment = self._moment(value) or _FIRST_DAY
        moment = moment if isinstance(moment, datetime) else datetime.combine(moment, time())
        return (moment - datetime(1899, 12, 30)) / timedelta(days=1)  # noqa: DTZ001 - Excel's calendar has no zone


def _write_about(book: Any, context: dict[str, Any]) -> None:
    """The second sheet: title, key, period, summary, figures, parameters and when it was made."""
    words, sheet = context["words"], book.add_worksheet(_sheet_name(str(context["words"]["about"]), book))
    bold, wrapped = book.add_format({"bold": True, "valign": "top"}), book.add_format({"text_wrap": True})
    made = context["generated_at"].astimezone(ZoneInfo(context["zone"]))
    told = [
        (words["report"], context["title"]),
        (context["key_label"], context["key"]),
        (words["period"], context["period_title"]),
        ("", context["summary"]),
        *((figure.label, figure.value) for figure in context["figures"]),
        *((str(name), str(value)) for name, value in context["params"].items()),
        (words["generated"], f"{made:%Y-%m-%d %H:%M} {context['zone']}"),
    ]
    sheet.set_column(0, 0, 24)
    sheet.set_column(1, 1, 60)
    for row, (label, value) in enumerate((label, value) for label, value in told if value):
        sheet.write_string(row, 0, label, bold)
        sheet.write_string(row, 1, value, wrapped)


def _sheet_name(title: str, book: Any) -> str:
    """What a sheet may be called: 31 characters at most, some of them not, and no two alike."""
    name = re.sub(r"[\[\]:*?/\\]", " ", title)[:31].strip("' ") or "Data"
    taken = {sheet.get_name().lower() for sheet in book.worksheets()}
    numbered = (f"{name[:28]} {number}" for number in range(2, 100))
    return name if name.lower() not in taken else next(one for one in numbered if one.lower() not in taken)


def _keeps_digits(value: Any) -> bool:
    """Whether Excel shows the number as it is: it keeps 15 digits, and a long customer number must not change."""
    return not isinstance(value, int) or len(str(abs(value))) <= _MOST_DIGITS


def _number_format(column: ShownColumn) -> str:
    """Excel's code for a column's format; Excel shows its separators in the reader's own locale."""
    digits = f"0.{'0' * column.digits}".rstrip(".")
    unit = column.unit.replace('"', "")
    match column.format:
        case "integer" | "decimal":
            return f"#,##{digits}" + (f' "{unit}"' if unit else "")
        case "percent":
            return f"{digits}%"
        case "date":
            return "yyyy-mm-dd"
        case "datetime":
            return "yyyy-mm-dd hh:mm"
        case _:
            return "General"


def _width(column: ShownColumn, rows: Sequence[Any]) -> float:
    """A column's width in characters, from its label and first hundred values."""
    typed = {"date": 11, "datetime": 17}.get(column.format)
    lengths = [typed] if typed else [len(_sized(column, row[column.name])) for row in rows[:100]]
    return min(max(6, len(column.label) + 3, *lengths) + 1, 60)


def _sized(column: ShownColumn, value: Any) -> str:
    if column.numeric and isinstance(value, Number):
        return f"{value:,.{column.digits}f} {column.unit}"
    return str(value)
