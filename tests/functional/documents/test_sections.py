"""Charts and tables that build() adds over rows of its own: in the document, the workbook, and when they are wrong."""

from __future__ import annotations

import io
import re
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pypdf import PdfReader

from pipeline import timing
from pipeline.adapters.documents import Content, bundle, render, unpack
from pipeline.errors import PermanentError
from pipeline.report import Report

AT = datetime(2026, 11, 16, 6, 0, tzinfo=UTC)
LATE = {
    "title": "Late",
    "rows": [{"route": "A-B", "share": 0.25}],
    "columns": {"share": {"label": "On time", "format": "percent"}},
}
BY_DAY = {
    "title": "Per day",
    "x": "day",
    "y": "count",
    "rows": [{"day": "Mon", "count": 2}, {"day": "Tue", "count": 1}],
}


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(bundle(Path("nowhere"), "shipments"), tmp_path_factory.mktemp("bundles") / "base")


def content(rows=({"customer": "ACME", "shipped": 3}, {"customer": "ACME", "shipped": 4}), formats="html", **extra):
    fields = {"title": "Shipments", "database": "warehouse", "sql": "select 1", "formats": formats}
    return Content(
        report=Report.model_validate(fields), name="shipments", key="all", rows=list(rows), params={}, extra=extra,
        period=timing.period("2026-W46", AT, "UTC"), generated_at=AT, locale="en", zone="UTC",
    )  # fmt: skip


def html(templates, **extra):
    return render(content(**extra), "html", templates).data.decode()


def sheets(templates, **extra):
    book = zipfile.ZipFile(io.BytesIO(render(content(**extra), "xlsx", templates).data))
    return re.findall(r'<sheet name="([^"]*)"', book.read("xl/workbook.xml").decode())


def test_tables_stand_in_place_of_the_rows_under_their_titles(templates):
    page = html(templates, tables=[LATE, {"title": "None", "rows": []}])
    assert re.findall(r"<h2>(.*)</h2>", page) == ["Late", "None"]
    assert "<td>A-B</td>" not in page  # only the columns that the table lists
    assert '<td class="n">25.0%</td>' in page
    assert "ACME" not in page
    assert "Nothing to report in this period." in page


def test_without_any_the_rows_are_the_table(templates):
    assert html(templates, tables=None).count("<td>ACME</td>") == 2
    assert "<table" not in html(templates, tables=[])


def test_charts_are_drawn_over_rows_of_their_own_and_over_the_documents(templates):
    own = {"title": "Shipped", "x": "customer", "y": "shipped", "kind": "line", "columns": {"shipped": "Parcels"}}
    page = html(templates, charts=[BY_DAY, own, {**BY_DAY, "rows": []}])
    alternatives = re.findall(r'<img alt="(.*?)"', page)
    assert [text.partition(".")[0] for text in alternatives] == ["Per day", "Shipped"]
    assert "Parcels: highest 4 (ACME), lowest 3 (ACME)." in alternatives[1]


def test_the_workbook_keeps_the_rows_and_has_a_sheet_for_each_table(templates):
    tables = [
        LATE,
        {**LATE, "title": "late"},
        {**LATE, "title": "Data"},
        {**LATE, "title": "A: very [long] title that goes on"},
    ]
    assert sheets(templates, tables=tables) == [
        "Data", "Late", "late 2", "Data 2", "A  very  long  title that goes", "About",
    ]  # fmt: skip
    assert sheets(templates) == ["Data", "About"]


def test_a_table_too_wide_for_the_page_lays_it_on_its_side(templates):
    wide = {"title": "Wide", "rows": [{f"measure_of_{n}": 123_456_789 for n in range(12)}]}
    pdf = render(content(tables=[wide]), "pdf", templates).data
    page = PdfReader(io.BytesIO(pdf)).pages[0].mediabox
    assert page.width > page.height


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"tables": [{"rows": []}]}, "build() of shipments: tables[0] title: Field required"),
        ({"tables": [LATE, {"title": "x", "rows": 3}]}, "tables[1] rows: Input should be a valid list"),
        ({"tables": [{**LATE, "column": {}}]}, "tables[0] column: Extra inputs are not permitted"),
        ({"charts": [{**BY_DAY, "kind": "pie"}]}, "charts[0] kind: Input should be 'bar' or 'line'"),
        (
            {"charts": [{**BY_DAY, "y": "cuont"}]},
            '"Per day": chart: its rows have no column "cuont": did you mean count?',
        ),
        ({"tables": [{**LATE, "columns": ["on_time"]}]}, '"Late": columns: its rows have no column "on_time"'),
        ({"tables": [{"title": "x", "rows": [1]}]}, "rows of int: they must be mappings"),
    ],
)
def test_what_cannot_be_meant_is_told_with_its_place(templates, extra, said):
    with pytest.raises(PermanentError, match=re.escape(said)):
        html(templates, **extra)
