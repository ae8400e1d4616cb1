"""What build() adds to a document over rows of its own: charts and tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from pipeline.adapters.documents.content import Content
from pipeline.columns import Row
from pipeline.errors import PermanentError
from pipeline.presentation import Plot, Table, present
from pipeline.report import Chart, Columns, Model


class GivenTable(Model):
    """One of the `tables` that build() returns: shown in place of the report's rows, and a sheet of the workbook."""

    title: str
    rows: list[Any]
    columns: Columns = Field({})


class GivenChart(Chart):
    """One of the `charts` that build() returns; `columns` label what it draws. Without rows: over the report's."""

    rows: list[Any] | None = None
    columns: Columns = Field({})


@dataclass(frozen=True)
class Section:
    """A table with the rows it shows; the report's own has no title."""

    title: str
    rows: Sequence[Row]
    table: Table


Given = TypeVar("Given", bound=Model)


def tables(content: Content) -> list[Section] | None:
    """The tables that build() gave; None where it gave none, and the rows are the table.

    Raises PermanentError, as `plots` does, for what is no table or shows a column that its rows do not have.
    """
    if content.extra.get("tables") is None:
        return None
    return [
        Section(given.title, given.rows, _presented(content, given.rows, given.columns, None, given.title))
        for given in _read(content, "tables", GivenTable)
    ]


def plots(content: Content) -> list[Plot] | None:
    """What the charts that build() gave draw, without those that have no rows; None where it gave none."""
    if content.extra.get("charts") is None:
        return None
    found = [
        _presented(content, content.rows if given.rows is None else given.rows, given.columns, given, given.title).plot
        for given in _read(content, "charts", GivenChart)
    ]
    return [plot for plot in found if plot]


def column_names(content: Content) -> tuple[str, ...]:
    """The dataset's columns: as told, else those of the first row, else those that the report lists."""
    if content.columns:
        return tuple(content.columns)
    if not content.rows:
        return tuple(content.report.columns)
    first: Any = content.rows[0]
    if not hasattr(first, "keys"):
        raise PermanentError(
            f"build() of {content.name} returned rows of {type(first).__name__}: they must be mappings"
        )
    return tuple(first.keys())


def _read(content: Content, field: str, kind: type[Given]) -> Iterator[Given]:
    for number, given in enumerate(content.extra[field], 1):
        try:
            yield given if isinstance(given, kind) else kind.model_validate(given)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            what = f"{field}[{number - 1}] {where}".strip()
            raise PermanentError(f"build() of {content.name}: {what}: {problem['msg']}") from None


def _presented(
    content: Content, rows: Sequence[Any], columns: Mapping[str, Any], chart: Chart | None, title: str | None
) -> Table:
    report = content.report.model_copy(update={"columns": columns, "chart": chart, "split_by": None})
    with _telling(content, title):
        return present(report, rows, column_names(replace(content, report=report, rows=rows, columns=())))


@contextmanager
def _telling(content: Content, title: str | None) -> Iterator[None]:
    """Errors tell of build() and the title, not of a query and the schedule's file."""
    try:
        yield
    except PermanentError as error:
        said = str(error).removeprefix("report.").replace("the query gives", "its rows have")
        raise PermanentError(f'build() of {content.name}: "{title or "chart"}": {said}') from error
