"""Datasets: keys counted as text, rows split into batches, rows as templates and build() see them."""

from __future__ import annotations

import random
import time
from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jinja2 import StrictUndefined, UndefinedError
from jinja2.sandbox import SandboxedEnvironment

from pipeline.adapters import datasets
from pipeline.adapters.datasets import splitting
from pipeline.errors import PermanentError

AT = datetime(2026, 11, 16, 7, tzinfo=UTC)


@pytest.fixture
def dataset(tmp_path: Path):
    """Write a dataset from columns, as Arrow arrays or lists."""

    def write(**columns) -> Path:
        path = tmp_path / "rows.parquet"
        pq.write_table(pa.table(columns), path)
        return path

    return write


@pytest.mark.parametrize(
    ("array", "keys"),
    [
        (pa.array([42, -1, None]), ["42", "-1", None]),
        (pa.array([42.0, 1.5, -0.0, 1e20, 123456789012.5, 1e-7, float("nan")]),
         ["42", "1.5", "0", "100000000000000000000", "123456789012.5", "0.0000001", "nan"]),
        (pa.array([Decimal("42.00"), Decimal("1.50"), Decimal("100.00"), Decimal("0.00")], pa.decimal128(38, 2)),
         ["42", "1.5", "100", "0"]),
        (pa.array([Decimal("1E-20"), Decimal(5)], pa.decimal128(38, 20)), ["0.00000000000000000001", "5"]),
        (pa.array([Decimal(100)], pa.decimal128(38, 0)), ["100"]),
        (pa.array(["ACME", "", " x ", None]), ["ACME", "", " x ", None]),
        (pa.array([True, False, None]), ["true", "false", None]),
        (pa.array([date(2026, 11, 16), None]), ["2026-11-16", None]),
        (pa.array([AT, AT.replace(microsecond=1500), None], pa.timestamp("us", "UTC")),
         ["2026-11-16T07:00:00Z", "2026-11-16T07:00:00.001500Z", None]),
        (pa.nulls(2), [None, None]),
    ],
)  # fmt: skip
def test_a_key_is_one_text_whatever_its_type(dataset, array, keys):
    assert datasets.as_text(array).to_pylist() == keys
    assert datasets.count_keys(dataset(key=array), "key") == Counter(keys)
    assert [key for key, _ in datasets.rows_by_key(dataset(key=array), "key")] == [
        key for key in keys if key is not None
    ]


def test_keys_are_counted_over_all_row_groups_in_order_of_appearance(tmp_path: Path):
    table = pa.table({"carrier": ["UA", "AA", None, "UA", "B6", None, "UA"], "other": range(7)})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=2)
    counts = datasets.count_keys(tmp_path / "rows.parquet", "carrier")
    assert list(counts.items()) == [("UA", 3), ("AA", 1), (None, 2), ("B6", 1)]


def test_a_missing_key_column_is_named_with_what_there_is(dataset, tmp_path: Path):
    path = dataset(carrier=["UA"], dest=["SEA"])
    sentence = 'column "carier" is not in the rows: they have carrier, dest; did you mean carrier?'
    for refused in (
        lambda: datasets.count_keys(path, "carier"),
        lambda: datasets.split(path, "carier", {"UA": 0}, tmp_path / "batches"),
        lambda: list(datasets.rows_by_key(path, "carier")),
    ):
        with pytest.raises(PermanentError) as error:
            refused()
        assert str(error.value) == sentence


def test_a_dataset_without_rows_and_columns_has_no_keys(dataset, tmp_path: Path):
    path = dataset()
    assert datasets.shape(path) == datasets.Shape(0, ())
    assert datasets.count_keys(path, "carrier") == {}
    assert datasets.rows(path) == []
    batches = datasets.split(path, "carrier", {"UA": 0}, tmp_path / "batches")
    assert datasets.rows(batches[0]) == list(datasets.rows_by_key(batches[0], "carrier")) == []


@pytest.mark.parametrize("portion", [1, 16 * 1024 * 1024])
def test_each_batch_gets_its_keys_rows_in_their_order(dataset, tmp_path: Path, monkeypatch, portion):
    monkeypatch.setattr(splitting, "_PORTION", portion)
    chance = random.Random(5)
    keys = [chance.choice([None, *range(50)]) for _ in range(40_000)]
    path = dataset(key=pa.array(keys, pa.float64()), position=range(40_000), at=pa.array([AT] * 40_000))
    batch_of = {str(key): key // 10 for key in range(40)} | {"nobody": 9}
    files = datasets.split(path, "key", batch_of, tmp_path / "batches")
    assert list(files) == [0, 1, 2, 3, 9]
    assert sorted(file.name for file in (tmp_path / "batches").iterdir()) == sorted(
        file.name for file in files.values()
    )
    for number, file in files.items():
        expected = [
            position for position, key in enumerate(keys) if key is not None and batch_of.get(str(key)) == number
        ]
        assert [row.position for row in datasets.rows(file)] == expected
        for key, rows in datasets.rows_by_key(file, "key"):
            assert [row.position for row in rows] == [i for i, k in enumerate(keys) if str(k) == key]
    assert datasets.shape(files[9]) == datasets.Shape(0, ("key", "position", "at"))


def test_keys_come_in_order_of_appearance_and_rows_without_one_stay_away(dataset):
    path = dataset(key=["b", None, "a", "b"], n=[1, 2, 3, 4])
    found = [(key, [row.n for row in rows]) for key, rows in datasets.rows_by_key(path, "key")]
    assert found == [("b", [1, 4]), ("a", [3])]


def test_splitting_again_replaces_the_files(dataset, tmp_path: Path):
    path = dataset(key=["a"], n=[1])
    for _ in range(2):
        files = datasets.split(path, "key", {"a": 0}, tmp_path / "batches")
    assert datasets.rows(files[0])[0].n == 1


@pytest.fixture
def row(dataset):
    columns = {"customer": "ACME", "count": 3, "keys": "k", "items": [1], "class": "first", "_id": 7, "sum(x)": 1.5}
    return datasets.rows(dataset(**{name: [value] for name, value in columns.items()}))[0]


def test_a_row_has_attributes_and_items(row):
    assert row.customer == row["customer"] == "ACME"
    # Also where a tuple has a method of that name, and where Python would not allow the name.
    assert (row.count, row.items, row["keys"], getattr(row, "class"), row._id, row["sum(x)"]) == (
        3,
        [1],
        "k",
        "first",
        7,
        1.5,
    )
    assert dict(row)["class"] == "first"
    assert list(dict(row)) == ["customer", "count", "keys", "items", "class", "_id", "sum(x)"]
    assert repr(row).startswith("Row(customer='ACME', count=3")


def test_an_unknown_column_is_answered_with_those_there_are(row):
    sentence = r'no column "custmer": the columns are customer, count, .*; did you mean customer\?'
    with pytest.raises(AttributeError, match=sentence):
        _ = row.custmer
    with pytest.raises(KeyError, match=sentence):
        _ = row["custmer"]
    assert not hasattr(row, "__html__")


def test_jinja2_reads_rows_either_way_and_refuses_what_is_not_there(dataset):
    rows = datasets.rows(dataset(customer=["ACME", "Åre"], count=[3, 4]))
    jinja = SandboxedEnvironment(undefined=StrictUndefined, autoescape=True)
    template = "{% for r in rows %}{{ r.customer }}{{ r['count'] }} {% endfor %}{{ rows | sum(attribute='count') }}"
    assert jinja.from_string(template).render(rows=rows) == "ACME3 Åre4 7"
    with pytest.raises(UndefinedError, match="custmer"):
        jinja.from_string("{{ rows[0].custmer }}").render(rows=rows)


def test_values_are_pythons_own(dataset):
    path = dataset(
        at=pa.array([AT, datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC), None]),
        money=pa.array([Decimal("9.90"), None, None, None], pa.decimal128(38, 2)),
        day=[date(2026, 11, 16), None, None, None],
        flag=[True, None, None, None],
    )
    first, early, late, none = datasets.rows(path)
    assert (first.at, first.money, first.day, first.flag) == (AT, Decimal("9.90"), date(2026, 11, 16), True)
    assert (early.at.year, late.at, tuple(none)) == (1, datetime.max.replace(tzinfo=UTC), (None,) * 4)
    assert first.at.tzinfo is UTC
    assert str(first.money) == "9.90"


def test_a_hundred_thousand_rows_are_read_in_a_moment(dataset):
    count = 100_000
    path = dataset(
        key=[f"customer {number % 100}" for number in range(count)],
        at=pa.array([AT] * count),
        amount=[number / 4 for number in range(count)],
        text=["some text"] * count,
    )
    started = time.process_time()
    assert sum(row.amount for row in datasets.rows(path)) > 0
    assert time.process_time() - started < 3
