"""JSON sources: where the rows are, and what is said when they are not there."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from pipeline.errors import PermanentError

ROWS = [{"id": 1, "city": "Kiel"}, {"id": 2, "city": "Åre"}]


@pytest.fixture
def document(fetch, tmp_path: Path):
    """Fetch a JSON file with this content."""

    def read(content, **fields):
        data = content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode()
        (tmp_path / "x.json").write_bytes(data)
        return fetch({"url": "x.json", **fields})

    return read


def lines(*rows) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def test_rows_are_a_list_or_lie_deeper_or_are_lines(document):
    assert document(ROWS).rows == ROWS
    assert document({"data": {"n": 2, "items": ROWS}}, rows_at="data.items").rows == ROWS
    assert document(lines(*ROWS)).rows == ROWS
    assert document(b"\xef\xbb\xbf  \n" + json.dumps(ROWS).encode()).rows == ROWS
    assert document(b'{"id": 1}\n\n{"id": 2}\r\n').column("id") == [1, 2]
    assert document(b'{"id": 1}').column("id") == [1]


def test_one_line_may_be_one_row(document, fetch, tmp_path: Path):
    row = {"id": 1, "tags": ["a"], "items": [{"n": 1}]}
    assert document({"id": 1, "tags": ["a"]}).column("tags") == ['["a"]']
    (tmp_path / "day.jsonl").write_text(json.dumps(row))
    assert fetch({"url": "day.jsonl"}).column("id") == [1]
    (tmp_path / "day.jsonl").write_text("")
    assert fetch({"url": "day.jsonl"}).rows == []


def test_no_rows_are_no_rows(document):
    assert document([]).dataset.rows == 0
    found = document({"data": {"items": []}}, rows_at="data.items")
    assert (found.dataset.columns, found.rows) == ((), [])


def test_values_are_typed_as_in_a_database(document):
    found = document(
        [
            {
                "n": 1,
                "f": 2,
                "b": True,
                "day": "2026-11-16",
                "at": "2026-11-16T07:00:00Z",
                "big": 2**70,
                "deep": {"a": [1.5]},
            },
            {"n": None, "f": 2.5, "later": "x"},
        ]
    )
    assert found.rows == [
        {"n": 1, "f": 2.0, "b": True, "day": date(2026, 11, 16), "at": datetime(2026, 11, 16, 7, tzinfo=UTC),
         "big": 2**70, "deep": '{"a": [1.5]}', "later": None},
        {"n": None, "f": 2.5, "b": None, "day": None, "at": None, "big": None, "deep": None, "later": "x"},
    ]  # fmt: skip
    assert found.types["f"] == "double"


def test_numbers_too_large_for_a_float_stay_what_they_are(document):
    assert document(b'[{"x": 1e400}, {"x": 1.5}]').column("x") == ["1" + "0" * 400, "1.5"]


def test_many_rows_are_streamed(document):
    rows = [{"id": number, "text": "x" * 50} for number in range(30_000)]
    assert document(rows).column("id")[-1] == 29_999
    assert document(lines(*rows)).dataset.rows == 30_000


ONE_OBJECT = "the file is one object, not a list of rows"


@pytest.mark.parametrize(
    ("content", "fields", "sentence"),
    [
        (b"", {}, r"the file is empty: no rows would be \[\]"),
        (b"  \n", {}, "the file is empty"),
        (b"<html>login</html>", {}, "is not JSON: .*<html>"),
        (b'[{"a": 1}, {"a":', {}, "is not JSON: .*premature EOF"),
        (b'[{"a": 1}] trailing', {}, "is not JSON: .*trailing garbage"),
        (b'{\n "a": 1\n}', {}, "line 1 is not JSON: Expecting property name"),
        (b'{"a": 1}\n{"a": "\xf6"}', {}, "line 2 is not JSON: invalid start byte"),
        (b'{"a": 1}\n{"a": 2]\n{"a": 3}', {}, "line 2 is not JSON: Expecting ',' delimiter at column 8"),
        ([1, 2], {}, "row 1 is no object of column names and values but 1$"),
        ([{"a": 1}, [2]], {}, r"row 2 is no object of column names and values but \[2\]"),
        ({"data": {"items": ROWS}}, {}, f"{ONE_OBJECT}: set rows_at to one of its lists: data.items$"),
        (
            b'{\n "data": {\n  "items": [{"a": [1]}]}}',
            {},
            f"{ONE_OBJECT}: set rows_at to one of its lists: data.items$",
        ),
        (
            {"data": {"items": ROWS}, "links": []},
            {"rows_at": "data.item"},
            'rows_at "data.item": set rows_at to one of its lists: data.items, links; did you mean data.items',
        ),
        ({"data": {"items": {"a": 1}}}, {"rows_at": "data.items"}, 'there is no list at rows_at "data.items"$'),
        (ROWS, {"rows_at": "data"}, 'the file is a list itself: leave out rows_at "data"'),
    ],
)
def test_what_is_wrong_is_said(document, content, fields, sentence):
    with pytest.raises(PermanentError, match=rf'^source "shipments" \(x\.json\): .*{sentence}'):
        document(content, **fields)
