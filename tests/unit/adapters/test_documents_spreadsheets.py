"""Workbooks and CSV are opened as a spreadsheet would: with the standard library, cell by cell."""

import csv
import io
import re
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal
from xml.etree import ElementTree as ET

import pytest

from pipeline.adapters.documents import render
from pipeline.adapters.documents.delimited import neutralised
from pipeline.errors import PermanentError
from tests.document_stories import COLUMNS, content, days, report, rows_of, templates

NAMES = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0", "\uff1d1"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return templates(tmp_path_factory.mktemp("base"))


def parsed(data):
    return ET.fromstring(data)  # noqa: S314 - it was written a moment ago, by us


def opened(document):
    """The first sheet as {"A1": (type, value, style)} and the archive itself."""
    archive = zipfile.ZipFile(io.BytesIO(document.data))
    texts = ["".join(part.itertext()) for part in parsed(archive.read("xl/sharedStrings.xml")).findall("m:si", NAMES)]
    cells = {}
    for cell in parsed(archive.read("xl/worksheets/sheet1.xml")).iter(f"{{{NAMES['m']}}}c"):
        value, kind = cell.findtext("m:v", None, NAMES), cell.get("t", "n")
        cells[cell.get("r")] = (kind, texts[int(value)] if kind == "s" else value, int(cell.get("s", 0)))
    return cells, archive


def styles(archive):
    """Each cell style as (number format, whether Excel takes its text literally)."""
    book = parsed(archive.read("xl/styles.xml"))
    formats = {one.get("numFmtId"): one.get("formatCode") for one in book.iter(f"{{{NAMES['m']}}}numFmt")}
    return [
        (formats.get(style.get("numFmtId"), style.get("numFmtId")), style.get("quotePrefix") == "1")
        for style in book.find("m:cellXfs", NAMES)
    ]


def test_cells_are_typed_and_the_header_stays(base):
    cells, archive = opened(render(content(rows=days(3)), "xlsx", base))
    assert [cells[f"{column}1"][1] for column in "ABCD"] == ["Day", "Flights", "Delay", "On time"]
    looks = styles(archive)
    day, flights, delay, on_time = (cells[f"{column}2"] for column in "ABCD")
    assert (day[0], day[1], looks[day[2]][0]) == ("n", str((date(2026, 11, 1) - date(1899, 12, 30)).days), "yyyy-mm-dd")
    assert (flights[0], float(flights[1]), looks[flights[2]][0]) == ("n", days(1)[0].flights, "#,##0")
    assert (float(delay[1]), looks[delay[2]][0]) == (days(1)[0].delay, '#,##0.0 "min"')
    assert (float(on_time[1]), looks[on_time[2]][0]) == (days(1)[0].on_time, "0.0%")
    sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    assert 'topLeftCell="A2"' in sheet
    assert 'state="frozen"' in sheet
    assert '<autoFilter ref="A1:D4"/>' in sheet
    assert len(re.findall(r"<col [^>]*width=", sheet)) == 4


def test_totals_follow_the_filter_and_are_known_before_anything_calculates(base):
    rows = days(3)
    cells, archive = opened(render(content(rows=rows), "xlsx", base))
    sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    assert "<f>SUBTOTAL(109,B2:B4)</f>" in sheet
    assert "<f>SUBTOTAL(101,C2:C4)</f>" in sheet
    assert cells["A5"][1] == "Total"
    assert float(cells["B5"][1]) == sum(row.flights for row in rows)
    assert float(cells["C5"][1]) == pytest.approx(sum(row.delay for row in rows) / 3)


def test_the_file_says_what_it_is_and_when_it_was_made(base):
    archive = opened(render(content(report=report(summary="A quiet week")), "xlsx", base))[1]
    core = archive.read("docProps/core.xml").decode()
    assert "<dc:title>Flights of the week</dc:title>" in core
    assert "2026-11-23T06:00:05Z" in core
    texts = archive.read("xl/sharedStrings.xml").decode()
    for told in ("A quiet week", "Nov 16", "2026-11-23 07:00 Europe/Berlin"):
        assert told in texts, told


@pytest.mark.parametrize("kind", ["xlsx", "csv"])
def test_the_same_content_gives_the_same_bytes(base, kind):
    assert render(content(), kind, base).data == render(content(), kind, base).data


def test_no_text_of_the_data_is_a_formula(base):
    rows = rows_of(*({"name": text, "amount": -5} for text in FORMULAS))
    whole = content(rows=rows, columns=("name", "amount"), report=report(columns={}))
    cells, archive = opened(render(whole, "xlsx", base))
    looks = styles(archive)
    for number, text in enumerate(FORMULAS, 2):
        kind, value, style = cells[f"A{number}"]
        # _x000D_ is how the format writes a carriage return (ECMA-376 22.9.2.19).
        assert (kind, value.replace("_x000D_", "\r"), looks[style][1]) == ("s", text, True), text
    assert b"<f>" not in archive.read("xl/worksheets/sheet1.xml")
    assert cells["B2"][:2] == ("n", "-5"), "a number is no text"
    read = list(csv.reader(io.StringIO(render(whole, "csv", base).data.decode("utf-8-sig"), newline="")))
    assert [line[0] for line in read[1:]] == [f"'{text}" for text in FORMULAS]
    assert read[1][1] == "-5"


def test_a_header_is_no_formula_either(base):
    whole = content(rows=rows_of({"=HYPERLINK(1)": 1}), columns=("=HYPERLINK(1)",), report=report(columns={}))
    assert render(whole, "csv", base).data.decode("utf-8-sig").startswith("'=")
    assert b"<f>" not in opened(render(whole, "xlsx", base))[1].read("xl/worksheets/sheet1.xml")


def test_harmless_text_is_left_alone():
    for text in ("plain", "a=b", "", "49 +171", "1-2"):
        assert neutralised(text) == text


def test_what_a_spreadsheet_would_change_is_kept_as_text(base):
    rows = rows_of(
        {
            "account": 12345678901234567890,
            "born": date(1850, 1, 1),
            "ok": True,
            "share": float("nan"),
            "price": Decimal("1.10"),
        },
        {"account": 5, "born": date(2000, 1, 1), "ok": None, "share": 0.5, "price": None},
    )
    cells, _ = opened(
        render(content(rows=rows, columns=tuple(rows[0].keys()), report=report(columns={})), "xlsx", base)
    )
    assert cells["A2"][:2] == ("s", "12345678901234567890")
    assert cells["A3"][0] == "n"
    assert cells["B2"][:2] == ("s", "1850-01-01")
    assert cells["B3"][0] == "n"
    assert cells["C2"][:2] == ("b", "1")
    assert "D2" not in cells
    assert float(cells["E2"][1]) == 1.1


def test_instants_are_local_to_the_reader(base):
    rows = rows_of({"at": datetime(2026, 7, 1, 22, 30, tzinfo=UTC)}, {"at": datetime(2026, 12, 1, 22, 30, tzinfo=UTC)})
    whole = content(rows=rows, columns=("at",), report=report(columns={}))
    text = render(whole, "csv", base).data.decode("utf-8-sig")
    assert text == "At\r\n2026-07-02 00:30:00+02:00\r\n2026-12-01 23:30:00+01:00\r\n"
    cells, _ = opened(render(whole, "xlsx", base))
    assert float(cells["A2"][1]) % 1 == pytest.approx(0.5 / 24)


def test_a_text_longer_than_a_cell_is_refused_with_its_place(base):
    whole = content(rows=rows_of({"note": "x" * 40_000}), columns=("note",), report=report(columns={}))
    with pytest.raises(PermanentError, match=r'flights: row 1, column "note": 40,000 characters are more'):
        render(whole, "xlsx", base)


def test_csv_is_what_rfc_4180_says_and_excel_reads_its_umlauts(base):
    rows = rows_of({"name": 'Zürich, "HB"\nSchweiz', "amount": 1.5}, {"name": None, "amount": None})
    data = render(
        content(rows=rows, columns=("name", "amount"), report=report(columns={"name": "Ort"})), "csv", base
    ).data
    assert data == b"\xef\xbb\xbf" + 'Ort\r\n"Zürich, ""HB""\nSchweiz"\r\n""\r\n'.encode()


def test_many_rows_go_through_a_file_and_come_out_the_same(base, monkeypatch):
    monkeypatch.setattr("pipeline.adapters.documents.workbook._STREAM_FROM", 2)
    document = render(content(rows=days(5)), "xlsx", base)
    sheet = zipfile.ZipFile(io.BytesIO(document.data)).read("xl/worksheets/sheet1.xml").decode()
    assert sheet.count("<row ") == 7
    assert document.data == render(content(rows=days(5)), "xlsx", base).data


def test_the_key_column_stays_in_files_that_are_put_together_again(base):
    rows = rows_of({"carrier": "UA", "flights": 1}, {"carrier": "UA", "flights": 2})
    whole = content(rows=rows, key="UA", columns=("carrier", "flights"), report=report(columns={}, split_by="carrier"))
    assert render(whole, "csv", base).data.decode("utf-8-sig").startswith("Carrier,Flights\r\nUA,1")


def test_no_rows_still_have_a_header(base):
    assert render(content(rows=[]), "csv", base).data.decode("utf-8-sig") == "Day,Flights,Delay,On time\r\n"
    cells, _ = opened(render(content(rows=[]), "xlsx", base))
    assert len([cell for cell in cells if cell.endswith("1")]) >= len(COLUMNS)
