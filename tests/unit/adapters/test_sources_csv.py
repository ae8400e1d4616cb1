"""CSV sources: what columns hold, and what a wrong line is told."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from pipeline.adapters.sources import csv_rows
from pipeline.errors import PermanentError


@pytest.fixture
def table(fetch, tmp_path: Path):
    """Fetch a CSV file with this content."""

    def read(content: str | bytes, **fields):
        (tmp_path / "x.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
        return fetch({"url": "x.csv", **fields})

    return read


def one_column(*values: str) -> str:
    return "x,y\n" + "".join(f"{value},-\n" for value in values)


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        (("1", "-20", ""), "int64", [1, -20, None]),
        (("1", "2.5", "NA", "1e3"), "double", [1.0, 2.5, None, 1000.0]),
        ((" 1", "2 "), "int64", [1, 2]),
        (("true", "FALSE", ""), "bool", [True, False, None]),
        (("2026-11-16", ""), "date32[day]", [date(2026, 11, 16), None]),
        (("2026-11-16 07:00:00", "NULL"), "timestamp[us, tz=UTC]", [datetime(2026, 11, 16, 7, tzinfo=UTC), None]),
        (("2026-11-16T07:00:00+01:00",), "timestamp[us, tz=UTC]", [datetime(2026, 11, 16, 6, tzinfo=UTC)]),
        (("a", "", "NA"), "string", ["a", "", "NA"]),
        (("", ""), "string", ["", ""]),
        # What a number would lose stays text.
        (("00501", "10115"), "string", ["00501", "10115"]),
        (("1234567890123456", "1"), "int64", [1234567890123456, 1]),
        (("1234567890123456", "1.5"), "string", ["1234567890123456", "1.5"]),
        (("12345678901234567890", "1"), "string", ["12345678901234567890", "1"]),
        (("1", "true"), "string", ["1", "true"]),
        (("2026-02-30",), "string", ["2026-02-30"]),
        (("2026-01-01", "2026-01-01 00:00:00"), "string", ["2026-01-01", "2026-01-01 00:00:00"]),
        (("1,5".replace(",", "."), "1.5.2026"), "string", ["1.5", "1.5.2026"]),
    ],
)
def test_a_column_is_what_all_its_values_are(table, values, kind, read):
    found = table(one_column(*values))
    assert (found.types["x"], found.column("x")) == (kind, read)


def test_a_value_at_the_end_can_contradict_all_before(table, monkeypatch):
    monkeypatch.setattr(csv_rows, "_BLOCK", 4096)
    values = [str(number) for number in range(20_000)]
    assert table(one_column(*values)).column("x")[-1] == 19_999
    found = table(one_column(*values, "n/a for now"))
    assert found.column("x") == [*values, "n/a for now"]


def test_wall_times_are_the_periods_where_the_source_says_so(table):
    content = one_column("2026-07-01 12:00:00")
    assert table(content, time="naive_local").column("x") == [datetime(2026, 7, 1, 10, tzinfo=UTC)]


def test_quotes_delimiters_and_byte_order_marks_are_as_programs_write_them(table):
    found = table(b'\xef\xbb\xbfid;"note; long"\r\n1;"two\r\nlines, ""quoted"""\r\n\r\n2;x\r\n')
    assert found.rows == [{"id": 1, "note; long": 'two\r\nlines, "quoted"'}, {"id": 2, "note; long": "x"}]
    assert table("a\tb\n1\t2\n").rows == [{"a": 1, "b": 2}]
    assert table("a|b\n1|2").rows == [{"a": 1, "b": 2}]
    assert table("a\n1\n2\n").rows == [{"a": 1}, {"a": 2}]


def test_a_header_alone_is_a_dataset_without_rows(table):
    found = table("id, city \n")
    assert found.dataset.columns == ("id", "city")
    assert found.rows == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "the file is empty: its first row must name the columns"),
        ("1,2.5,2026-01-01\n3,4,5\n", "the first row must name the columns, but it holds values: 1, 2.5, 2026-01-01"),
        ("a,,c\n1,2,3\n", "the first row must name the columns: number 2 has no name"),
        ("a,b,a\n1,2,3\n", "the first row names a more than once"),
        ("a,b\n1,2\n3\n4,5\n", "line 3 has 1 values where the first row names 2 columns"),
        ('a,b\n1,"x\ny"\n3,4,5\n', "line 4 has 3 values where the first row names 2 columns"),
        (b"a,b\n1,2\n3,K\xf6ln\n", r"line 3 is not UTF-8 \(byte 0xf6\): save the file as UTF-8"),
        (b"a,K\xf6ln\n1,2\n", r"line 1 is not UTF-8 \(byte 0xf6\)"),
        ("a,b\n".encode("utf-16"), r"line 1 is not UTF-8 \(byte 0xff\)"),
    ],
)
def test_a_wrong_line_is_named(table, content, sentence):
    with pytest.raises(PermanentError, match=rf'^source "shipments" \(x\.csv\): {sentence}'):
        table(content)


def test_a_row_that_is_longer_than_others_is_read_too(table, monkeypatch):
    monkeypatch.setattr(csv_rows, "_BLOCK", 1024)
    found = table("id,text\n" + "1,short\n" * 1000 + f"2,{'x' * 3000}\n" + "3,short\n" * 1000)
    assert [len(row["text"]) for row in found.rows if row["id"] == 2] == [3000]
    assert len(found.rows) == 2001


def test_a_quote_left_open_is_no_riddle(table, monkeypatch):
    monkeypatch.setattr(csv_rows, "_BLOCK", 512)
    monkeypatch.setattr(csv_rows, "_LONGEST", 1024)
    with pytest.raises(PermanentError, match="a row is longer than 1,024 bytes; is a quotation mark left open"):
        table('a,b\n1,"x\n' + "2,y\n" * 1000)


def test_a_wrong_line_far_down_is_named_too(table, monkeypatch):
    monkeypatch.setattr(csv_rows, "_BLOCK", 512)
    monkeypatch.setattr(csv_rows, "_LONGEST", 1024)
    with pytest.raises(PermanentError, match="line 5002 has 3 values"):
        table("a,b\n" + "1,2\n" * 5000 + "1,2,3\n")
