"""PDFs are rendered by the real WeasyPrint and read back: text, tags, language, pages, and the very bytes."""

import hashlib
import subprocess
import sys
from dataclasses import replace

import pytest

from pipeline.adapters.documents import render
from pipeline.errors import PermanentError
from tests.document_stories import (
    COLUMNS,
    content,
    days,
    extended,
    read_pdf,
    report,
    rows_of,
    tags_of,
    templates,
    text_of,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return templates(tmp_path_factory.mktemp("base"))


def test_a_report_shows_its_title_period_figures_chart_table_and_total(base):
    document = render(content(report=report(summary="{{ rows_count }} days without rain")), "pdf", base)
    text = text_of(document)
    assert (document.media_type, document.suffix, document.pages) == ("application/pdf", ".pdf", 1)
    for shown in (
        "Flights of the week",
        "Nov 16",
        "22, 2026",
        "10 days without rain",
        "Flights by Day",
        "Nov 10, 2026",
    ):
        assert shown in text, shown
    flights = [row.flights for row in days()]
    assert text.count(f"{sum(flights):,}") == 2  # key figure and total
    assert "avg " in text
    assert "Page 1 of 1" in text
    assert "Generated Nov 23, 2026, 7:00 AM" in text  # Berlin's clock, not UTC's


def test_it_is_tagged_titled_in_a_language_and_dated_by_its_content(base):
    reader = read_pdf(render(content(), "pdf", base))
    assert str(reader.root_object["/MarkInfo"]["/Marked"]).lower() == "true"
    assert reader.root_object["/Lang"] == "en"
    assert reader.metadata.title.startswith("Flights of the week, Nov 16")
    assert reader.metadata.creation_date_raw == "D:20261123060005Z"
    assert b"pdfuaid:part" in reader.root_object["/Metadata"].get_object().get_data()


def test_the_chart_is_a_figure_with_words_for_who_cannot_see_it(base):
    figures = [alt for kind, alt in tags_of(render(content(), "pdf", base)) if kind == "/Figure"]
    assert len(figures) == 1
    assert figures[0].startswith("Flights by Day. Line chart of 10 points by Day. Flights: highest 1,")


def test_the_table_has_header_cells_and_the_page_number_is_no_part_of_the_text(base):
    tags = [kind for kind, _ in tags_of(render(content(), "pdf", base))]
    assert tags.count("/TH") == 4
    assert tags.count("/TD") == 4 * 11
    assert {"/H1", "/THead", "/TBody", "/TFoot"} <= set(tags)


def test_the_same_content_gives_the_same_bytes_in_any_process(base):
    script = (
        "import hashlib, sys; from pathlib import Path\n"
        "from tests.document_stories import content\n"
        "from pipeline.adapters.documents import render\n"
        "print(hashlib.sha256(render(content(), 'pdf', Path(sys.argv[1])).data).hexdigest())"
    )
    here = hashlib.sha256(render(content(), "pdf", base).data).hexdigest()
    render(content(rows=days(3)), "pdf", base)
    assert hashlib.sha256(render(content(), "pdf", base).data).hexdigest() == here
    env = {"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "12345", "PYTHONPATH": "."}
    there = subprocess.run(
        [sys.executable, "-c", script, str(base)], env=env, capture_output=True, text=True, check=True
    )
    assert there.stdout.strip() == here


def test_another_second_gives_other_bytes(base):
    later = replace(content(), generated_at=content().generated_at.replace(second=6))
    assert render(later, "pdf", base).data != render(content(), "pdf", base).data


def test_a_long_table_repeats_its_header_and_totals_once(base):
    document = render(content(rows=days(90)), "pdf", base)
    assert document.pages == 3
    pages = [page.extract_text() for page in read_pdf(document).pages]
    assert all("On time" in page for page in pages)
    assert [page.count("Total") for page in pages] == [0, 0, 1]
    assert ["Page 3 of 3" in page for page in pages] == [False, False, True]
    # The running head says on every further page what this is.
    assert ["Flights of the week" in page for page in pages] == [True, True, True]


def test_the_total_never_stands_alone_on_a_page(tmp_path):
    small = '@import "_base/document.css"; @page { size: 180mm 70mm }'
    folder = templates(tmp_path, document_css=small, document_html=extended(chart="", figures=""))
    pages = {}
    for count in range(6, 11):
        document = render(content(rows=days(count)), "pdf", folder)
        pages[document.pages] = read_pdf(document).pages[-1].extract_text()
        assert "Nov" in pages[document.pages].partition("Total")[0].replace("Nov 16", ""), f"{count} rows"
    assert len(pages) > 1, "a row count at which the page breaks was among them"


@pytest.mark.parametrize(("size", "points"), [("A4", (595, 842)), ("Letter", (612, 792))])
def test_paper_is_a4_or_letter(base, size, points):
    page = read_pdf(render(content(report=report(page=size)), "pdf", base)).pages[0]
    assert (round(page.mediabox.width), round(page.mediabox.height)) == points


def test_a_wide_table_turns_the_page(base):
    wide = rows_of(*({"name": f"Row {n}", **{f"measure_{m}": n * m * 1_000 for m in range(12)}} for n in range(3)))
    page = read_pdf(
        render(content(rows=wide, columns=tuple(wide[0].keys()), report=report(columns={})), "pdf", base)
    ).pages[0]
    assert page.mediabox.width > page.mediabox.height


def test_german_readers_get_german_numbers_dates_and_words(base):
    text = text_of(render(content(locale="de_DE", rows=days(3)), "pdf", base))
    for shown in ("01.11.2026", "Summe", "Seite 1 von 1", "Erstellt 23.11.2026, 07:00", "Flights nach Day"):
        assert shown in text, shown
    assert f"{sum(row.flights for row in days(3)):,}".replace(",", ".") in text
    assert read_pdf(render(content(locale="de_DE"), "pdf", base)).root_object["/Lang"] == "de-DE"


def test_pdf_a_3a_for_archives(base):
    document = render(content(report=report(pdf="pdf/a-3a")), "pdf", base)
    metadata = read_pdf(document).root_object["/Metadata"].get_object().get_data()
    assert b'pdfaid:part="3"' in metadata
    assert b'pdfaid:conformance="A"' in metadata
    assert "/OutputIntents" in read_pdf(document).root_object
    assert render(content(report=report(pdf="pdf/a-3a")), "pdf", base).data == document.data


def test_a_key_is_named_and_its_column_is_not_repeated_in_every_row(base):
    rows = rows_of(*({"carrier_name": "Übersee", "day": f"Tag {n}", "flights": n} for n in range(3)))
    whole = content(
        rows=rows,
        key="Übersee",
        columns=("carrier_name", "day", "flights"),
        report=report(columns={}, split_by="carrier_name"),
    )
    text = text_of(render(whole, "pdf", base))
    assert "Carrier name Übersee" in text
    assert text.count("Übersee") == 1
    assert read_pdf(render(whole, "pdf", base)).metadata.title.startswith("Flights of the week \N{EN DASH} Übersee, ")


def test_one_row_and_no_rows_are_documents_too(base):
    assert "Nov 1, 2026" in text_of(render(content(rows=days(1)), "pdf", base))
    empty = text_of(render(content(rows=[]), "pdf", base))
    assert "Nothing to report in this period." in empty
    assert "Nothing to report" in text_of(render(content(rows=[], columns=(), report=report(columns={})), "pdf", base))


def test_more_rows_than_a_page_layout_holds_refer_to_the_xlsx_beside_it(base):
    many = days(2) * 1_001
    document = render(content(rows=many, report=report(formats=["pdf", "xlsx"])), "pdf", base)
    text = text_of(document)
    assert "The first 40 of 2,002 rows; figures and totals are of all of them. The XLSX file has every row." in text
    assert f"{sum(row.flights for row in many):,}" in text
    assert document.pages <= 3


def test_more_rows_than_a_page_layout_holds_and_nothing_beside_it_is_refused(base):
    with pytest.raises(PermanentError, match=r"flights: 2,002 rows are too many .* add xlsx to report.formats"):
        render(content(rows=days(2) * 1_001), "pdf", base)


def test_more_rows_than_allowed_are_refused_before_anything_is_laid_out(base):
    with pytest.raises(PermanentError, match=r"flights: 10 rows are more than the 9 .*PIPELINE_DOCUMENT_MAX_ROWS"):
        render(content(), "pdf", base, max_rows=9)


def test_letters_of_the_world_come_out_and_a_missing_one_is_a_warning(base):
    names = ["Ελλάδα", "Россия", "Łódź", "naïve café", "עברית", "العربية"]
    rows = rows_of(*({"name": name, "amount": index} for index, name in enumerate(names)))
    document = render(content(rows=rows, columns=("name", "amount"), report=report(columns={})), "pdf", base)
    text = text_of(document)
    assert all(name in text for name in names[:4])
    assert document.warnings == ()
    rows = rows_of({"name": "\U00013080 hieroglyph", "amount": 1}, {"name": "b", "amount": 2})
    document = render(content(rows=rows, columns=("name", "amount"), report=report(columns={})), "pdf", base)
    assert any("U+13080" in warning for warning in document.warnings)


def test_text_of_the_data_is_text_whatever_it_looks_like(base):
    rows = rows_of(
        {"name": "<img src='http://example.com/x.png'> & {{ 7 * 7 }}", "amount": 1}, {"name": "b", "amount": 2}
    )
    text = text_of(render(content(rows=rows, columns=("name", "amount"), report=report(columns={})), "pdf", base))
    assert "<img src='http://example.com/x.png'> & {{ 7 * 7 }}" in text


def test_a_template_changes_a_block_and_keeps_the_rest(tmp_path):
    folder = templates(
        tmp_path, document_html=extended(figures="<p>{{ late|length }} late, {{ on_time|percent(0) }} on time</p>")
    )
    built = {"late": [1, 2, 3], "on_time": 0.914}
    text = text_of(render(content(extra=built), "pdf", folder))
    assert "3 late, 91% on time" in text
    assert "Page 1 of 1" in text


def test_build_may_bring_its_own_rows_figures_summary_and_chart(base):
    built = {
        "rows": [{"carrier": "United", "share": 0.5}, {"carrier": "Delta", "share": 0.25}],
        "figures": [{"label": "On time", "value": 0.914, "format": "percent", "digits": 0}, ("Carriers", 2)],
        "summary": "Two carriers < three",
        "chart": {"x": "carrier", "y": "share", "title": "Shares"},
    }
    document = render(content(report=report(columns={}), extra=built), "pdf", base)
    text = text_of(document)
    for shown in ("91% On time", "2 Carriers", "Two carriers < three", "Shares", "United", "0.25"):
        assert shown in text, shown
    assert any("Bar chart of 2 values by Carrier" in (alt or "") for _, alt in tags_of(document))


@pytest.mark.parametrize(
    ("built", "sentence"),
    [
        ({"figures": ["many"]}, "figures are"),
        ({"chart": {"x": "day"}}, "a chart that is none"),
        ({"rows": [1, 2]}, "rows of int"),
    ],
)
def test_build_that_brings_something_else_is_told_so(base, built, sentence):
    with pytest.raises(PermanentError, match=sentence):
        render(content(extra=built), "pdf", base)


def test_a_stylesheet_of_its_own_adds_to_the_base_or_replaces_it(tmp_path):
    folder = templates(tmp_path, document_css='@import "_base/document.css"; @page { size: A5 }')
    page = read_pdf(render(content(), "pdf", folder)).pages[0]
    assert (round(page.mediabox.width), round(page.mediabox.height)) == (420, 595)


def test_a_column_that_the_query_does_not_give_is_named(base):
    with pytest.raises(
        PermanentError, match=r'report.columns: the query gives no column "flihgts": did you mean flights'
    ):
        render(content(report=report(columns={**COLUMNS, "flihgts": "Oops"})), "pdf", base)
