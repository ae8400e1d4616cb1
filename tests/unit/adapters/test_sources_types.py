"""Columns whose values change their kind on the way: nothing is lost, nothing fails at row 100,001."""

from __future__ import annotations

import math
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from pipeline.adapters import datasets
from pipeline.adapters.sources import writer as writing
from pipeline.adapters.sources.inference import Inference
from pipeline.errors import PermanentError

BERLIN = ZoneInfo("Europe/Berlin")
NUMBERS = "with recursive n(i) as (select 1 union all select i + 1 from n where i < {}) "


@pytest.fixture
def written(tmp_path: Path):
    """Write one column, a chunk per list; give its type and its values."""

    def write(*chunks: list[Any], zone=UTC, dates_in_text: bool = False) -> tuple[str, list[Any]]:
        writer = writing.DatasetWriter(tmp_path, Inference(zone, dates_in_text))
        for values in chunks:
            writer.append_values({"x": values}, len(values))
        path = tmp_path / "rows.parquet"
        writer.finish(path)
        return str(pq.read_schema(path).field("x").type), [row.x for row in datasets.rows(path)]

    return write


@pytest.fixture(params=["in memory", "on disk"])
def chunks_kept(request, monkeypatch):
    """Every story of several chunks is told twice: while they are still held, and when they are on disk already."""
    if request.param == "on disk":
        monkeypatch.setattr(writing, "_ROW_GROUP", 1)


def test_each_type_of_value_has_its_column(written):
    at = datetime(2026, 11, 16, 7, 0, 0, 250, tzinfo=timezone(timedelta(hours=1)))
    for values, kind, read in [
        ([1, None, -(2**63)], "int64", None),
        ([1.5, None, 2], "double", [1.5, None, 2.0]),
        ([True, None, False], "bool", None),
        (["ä", None, ""], "string", None),
        ([Decimal("12.50"), None, 3], "decimal128(38, 2)", [Decimal("12.50"), None, Decimal("3.00")]),
        ([2**63, None, 1], "decimal128(38, 0)", None),
        ([Decimal(10) ** 50, Decimal("0.5")], "decimal256(76, 1)", None),
        ([date(2026, 11, 16), None], "date32[day]", None),
        ([at, None], "timestamp[us, tz=UTC]", [datetime(2026, 11, 16, 6, 0, 0, 250, tzinfo=UTC), None]),
        ([None, None], "null", None),
        ([{"a": [1, "ä"]}, None], "string", ['{"a": [1, "ä"]}', None]),
        ([[1, None]], "string", ["[1, null]"]),
        ([uuid.UUID(int=1)], "string", ["00000000-0000-0000-0000-000000000001"]),
        ([time(7, 30)], "string", ["07:30:00"]),
        ([timedelta(hours=5)], "string", ["5:00:00"]),
        ([Decimal("NaN"), Decimal("1.50")], "string", ["NaN", "1.5"]),
    ]:
        assert written(values) == (kind, read or values)


def test_bytes_are_refused_by_name(written):
    for value in (b"\x00", bytearray(b"a"), memoryview(b"a")):
        with pytest.raises(PermanentError, match='column "x" holds bytes, which no document can show'):
            written([None, value])


@pytest.mark.parametrize(
    ("chunks", "kind", "read"),
    [
        (([None], [1]), "int64", [None, 1]),
        (([1], [None], [2.5]), "double", [1.0, None, 2.5]),
        (([2.5], [1]), "double", [2.5, 1.0]),
        (([2**53 + 1], [2.5]), "string", ["9007199254740993", "2.5"]),
        (([2.5], [2**53 + 1]), "string", ["2.5", "9007199254740993"]),
        (([1], ["a"]), "string", ["1", "a"]),
        (([1.0, 1.5, 1e300], ["a"]), "string", ["1", "1.5", "1" + "0" * 300, "a"]),
        (([True], ["a"]), "string", ["true", "a"]),
        (([True], [2]), "string", ["true", "2"]),
        (([Decimal("1.5")], [Decimal("1.55")]), "decimal128(38, 2)", [Decimal("1.50"), Decimal("1.55")]),
        (([1], [Decimal("1.5")]), "decimal128(38, 1)", [Decimal("1.0"), Decimal("1.5")]),
        (([10**30], [Decimal("0.00000000001")]), "decimal256(76, 11)", [Decimal(10) ** 30, Decimal("0.00000000001")]),
        (([Decimal("0.5")], [10**80]), "string", ["0.5", "1" + "0" * 80]),
        (([Decimal("0.5")], [0.5]), "string", ["0.5", "0.5"]),
        (([date(2026, 1, 2)], ["later"]), "string", ["2026-01-02", "later"]),
        (([datetime(2026, 1, 2, tzinfo=UTC)], ["later"]), "string", ["2026-01-02T00:00:00Z", "later"]),
        (([date(2026, 1, 2)], [datetime(2026, 1, 2, tzinfo=UTC)]), "string", ["2026-01-02", "2026-01-02T00:00:00Z"]),
        (([1], [1.5], ["a"], [None], [2]), "string", ["1", "1.5", "a", None, "2"]),
    ],
)
def test_later_chunks_widen_a_column_and_lose_nothing(written, chunks_kept, chunks, kind, read):
    assert written(*chunks) == (kind, read)


@pytest.mark.parametrize(
    ("values", "read"),
    [
        ([1, "a", 2.5, 42.0, True, None], ["1", "a", "2.5", "42", "true", None]),
        ([date(2026, 1, 2), datetime(2026, 1, 2, 3, tzinfo=UTC)], ["2026-01-02", "2026-01-02T03:00:00Z"]),
        ([Decimal("1.50"), 2.5], ["1.5", "2.5"]),
        ([2**60 + 1, 2.5], ["1152921504606846977", "2.5"]),
    ],
)
def test_values_that_do_not_fit_together_become_text_within_a_chunk(written, values, read):
    assert written(values) == ("string", read)


def test_timestamps_without_a_zone_are_read_in_the_sources_zone(written):
    walls = ["2026-10-25 01:30", "2026-10-25 03:30", "2026-10-25 02:30", "2026-03-29 02:30"]
    summer, winter, twice, missing = map(datetime.fromisoformat, walls)
    _, read = written([summer, winter, twice, missing, None, datetime(2026, 1, 1, tzinfo=UTC)], zone=BERLIN)
    assert read == [
        datetime(2026, 10, 24, 23, 30, tzinfo=UTC),
        datetime(2026, 10, 25, 2, 30, tzinfo=UTC),
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
        None,
        datetime(2026, 1, 1, tzinfo=UTC),
    ]
    assert written([summer])[1] == [summer.replace(tzinfo=UTC)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-11-16", date(2026, 11, 16)),
        ("2026-11-16 07:00:00", datetime(2026, 11, 16, 6, tzinfo=UTC)),
        ("2026-11-16T07:00:00", datetime(2026, 11, 16, 6, tzinfo=UTC)),
        ("2026-11-16T07:00:00.250", datetime(2026, 11, 16, 6, 0, 0, 250_000, tzinfo=UTC)),
        ("2026-11-16T07:00:00Z", datetime(2026, 11, 16, 7, tzinfo=UTC)),
        ("2026-11-16T07:00:00.123456Z", datetime(2026, 11, 16, 7, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-11-16 07:00:00+02:00", datetime(2026, 11, 16, 5, tzinfo=UTC)),
    ],
)
def test_iso_text_is_read_as_dates_and_instants_where_the_source_has_no_such_types(written, chunks_kept, text, value):
    assert written([text, None], zone=BERLIN)[1] == [text, None]
    assert written([text, None], zone=BERLIN, dates_in_text=True)[1] == [value, None]
    if "+" not in text:
        # A later chunk shows that it was text after all: it is again what it was, to the letter.
        assert written([None], [text], ["n/a"], zone=BERLIN, dates_in_text=True)[1] == [None, text, "n/a"]


@pytest.mark.parametrize(
    "text", ["2026-02-30", "2026-11-16 07:00", "16.11.2026", "2026-11-16 25:00:00", "20261116", ""]
)
def test_what_is_no_date_stays_text(written, text):
    assert written([text], dates_in_text=True) == ("string", [text])


def test_two_ways_of_writing_instants_in_one_column_stay_text(written, chunks_kept):
    texts = ["2026-11-16 07:00:00", "2026-11-16T07:00:00Z"]
    assert written(texts, dates_in_text=True)[1] == texts
    assert written(*[[text] for text in texts], dates_in_text=True)[1] == texts


def test_columns_may_come_later_or_go_missing(tmp_path: Path, chunks_kept):
    writer = writing.DatasetWriter(tmp_path, Inference())
    writer.append_values({"a": [1]}, 1)
    writer.append_values({"b": ["x"]}, 1)
    writer.append_values({"c": [2.5], "a": [Decimal("0.1")]}, 1)
    writer.finish(tmp_path / "rows.parquet")
    assert [tuple(row) for row in datasets.rows(tmp_path / "rows.parquet")] == [
        (Decimal("1.0"), None, None),
        (None, "x", None),
        (Decimal("0.1"), None, 2.5),
    ]


VALUES = some.one_of(
    some.none(),
    some.booleans(),
    some.integers(-(10**40), 10**40),
    some.floats(allow_nan=False),
    some.decimals(allow_nan=False, allow_infinity=False, places=3),
    some.text(some.characters(codec="utf-8"), max_size=5),
    some.sampled_from(["2026-01-01", "2026-01-01 00:00:00"]),
    some.dates(),
)


@settings(max_examples=60)
@given(
    chunks=some.lists(some.lists(VALUES, min_size=1, max_size=4), min_size=1, max_size=5),
    on_disk=some.booleans(),
    dates=some.booleans(),
)
def test_whatever_comes_every_value_can_be_told_again(tmp_path_factory, chunks, on_disk, dates):
    folder = tmp_path_factory.mktemp("any")
    writer = writing.DatasetWriter(folder, Inference(UTC, dates))
    with pytest.MonkeyPatch.context() as patch:
        if on_disk:
            patch.setattr(writing, "_ROW_GROUP", 1)
        for values in chunks:
            writer.append_values({"x": values}, len(values))
        writer.finish(folder / "rows.parquet")
    read = [row.x for row in datasets.rows(folder / "rows.parquet")]
    for before, after in zip([value for values in chunks for value in values], read, strict=True):
        assert told(after) == told(before)


def told(value: Any) -> Any:
    """A value in a form that does not tell 1 from 1.0 or from "1", nor a date from its text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isinf(value):
        return str(value)
    if isinstance(value, int | float | Decimal):
        number = Decimal(str(value)) if not isinstance(value, float) else Decimal(repr(value))
        digits = format(number, "f")
        digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
        return "0" if digits == "-0" else digits
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return str(value) if isinstance(value, date) else value


def test_row_100_001_may_be_text(fetch, warehouse):
    sql = NUMBERS.format(100_002) + (
        "select case when i <= 100000 then i when i = 100001 then 2.5 else 'none' end as number,"
        " case when i > 100000 then 'late' end as note, i from n"
    )
    found = fetch({"sql": sql})
    assert found.dataset.rows == 100_002
    assert found.column("number")[:2] == ["1", "2"]
    assert found.column("number")[99_999:] == ["100000", "2.5", "none"]
    assert found.column("note")[99_999:] == [None, "late", "late"]
    assert found.types == {"number": "string", "note": "string", "i": "int64"}


def test_wide_rows_come_in_smaller_chunks(fetch, warehouse):
    sizes: list[int] = []
    fetch({"sql": NUMBERS.format(1_000) + "select hex(zeroblob(20000)) as text from n"}, on_progress=sizes.append)
    assert sizes[0] == 500
    assert sizes[1] - sizes[0] < 60
    assert sizes[-1] == 1_000
