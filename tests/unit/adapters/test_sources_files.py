"""Files as sources: where they may lie, and what is said when they cannot be read."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import PermanentError, TransientError

CSV = "customer_id,city\n1,Kiel\n2,Åre\n"
ROWS = [{"customer_id": 1, "city": "Kiel"}, {"customer_id": 2, "city": "Åre"}]


def test_a_path_is_relative_to_the_home(fetch, tmp_path: Path):
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / "cities.csv").write_text(CSV)
    assert fetch({"url": "exports/cities.csv"}).rows == ROWS


def test_outside_the_home_only_a_full_path_will_do(fetch, tmp_path: Path, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "cities.csv"
    outside.write_text(CSV)
    assert fetch({"url": str(outside)}).rows == ROWS
    assert fetch({"url": f"file://{outside}"}).rows == ROWS
    for url in (f"../{outside.parent.name}/cities.csv", "exports/../../x.csv", "file:///srv/../etc/x.csv"):
        with pytest.raises(PermanentError, match=r'must not contain "\.\."'):
            fetch({"url": url})


@pytest.mark.parametrize(
    ("name", "compress"),
    [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)],
)
def test_compressed_files_are_unpacked(fetch, tmp_path: Path, name, compress):
    (tmp_path / f"cities.csv.{name}").write_bytes(compress(CSV.encode()))
    assert fetch({"url": f"cities.csv.{name}"}).rows == ROWS


def test_a_zip_with_one_file_is_unpacked(fetch, tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "cities.csv.zip", "w") as archive:
        archive.writestr("cities.csv", CSV)
    assert fetch({"url": "cities.csv.zip"}).rows == ROWS


def test_a_compressed_bomb_stops_at_the_cap(fetch, tmp_path: Path):
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"a\n" * 5_000_000))
    with pytest.raises(
        PermanentError, match="sends more than 1,000,000 bytes, the limit that PIPELINE_SOURCE_MAX_BYTES"
    ):
        fetch({"url": "bomb.csv.gz"}, max_bytes=1_000_000)


def test_any_fsspec_url_will_do(fetch):
    memory = fsspec.filesystem("memory")
    memory.pipe("/exports/cities.csv", CSV.encode())
    assert fetch({"url": "memory://exports/cities.csv"}).rows == ROWS
    with pytest.raises(PermanentError, match="does not exist"):
        fetch({"url": "memory://exports/nothing.csv"})


def test_a_damaged_file_is_permanent_and_a_remote_failure_is_not(fetch, tmp_path: Path, monkeypatch):
    (tmp_path / "cities.csv.gz").write_bytes(gzip.compress(CSV.encode())[:-10])
    with pytest.raises(PermanentError, match=r'source "shipments" \(cities.csv.gz\): cannot be read'):
        fetch({"url": "cities.csv.gz"})

    def fail(*_, **__):
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr("fsspec.open", fail)
    with pytest.raises(TransientError, match=r"\(s3://bucket/x.csv\): Connection reset by peer"):
        fetch({"url": "s3://key:secret@bucket/x.csv"})


def test_a_missing_package_is_answered_with_the_command(fetch):
    with pytest.raises(PermanentError, match=r"a package for s3:// is missing: pip install s3fs"):
        fetch({"url": "s3://bucket/x.csv"})
    with pytest.raises(PermanentError, match=r"cannot be read: Protocol not known: nosuch"):
        fetch({"url": "nosuch://bucket/x.csv"})


def test_a_file_that_cannot_be_read_is_named(fetch, tmp_path: Path):
    with pytest.raises(PermanentError, match=r"missing\.csv does not exist"):
        fetch({"url": "missing.csv"})
    with pytest.raises(PermanentError, match="is a folder, not a file"):
        fetch({"url": str(tmp_path)})


def test_the_format_is_told_by_the_ending_or_by_format(fetch, tmp_path: Path):
    (tmp_path / "cities.dat").write_text(CSV)
    assert fetch({"url": "cities.dat", "format": "csv"}).rows == ROWS
    with pytest.raises(PermanentError, match=r"\(cities.dat\): neither its ending nor its type tells the format"):
        fetch({"url": "cities.dat"})


def test_a_path_may_name_the_period_and_parameters(fetch, tmp_path: Path):
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / "2026-11-09-eu.csv").write_text(CSV)
    found = fetch({"url": "exports/{start_date}-{region}.csv"}, region="eu")
    assert found.rows == ROWS
    assert found.dataset.bound == {"region": "eu", "start_date": "2026-11-09"}
    for region in ("../secret", "a/b", "a\\b", ".."):
        with pytest.raises(PermanentError, match="must not contain a slash or two dots"):
            fetch({"url": "exports/{region}.csv"}, region=region)


def test_parquet_keeps_its_types_in_the_datasets_forms(fetch, tmp_path: Path):
    at = datetime.fromisoformat("2026-07-01 12:00")
    table = pa.table(
        {
            "small": pa.array([1, None], pa.int8()),
            "huge": pa.array([2**64 - 1, None], pa.uint64()),
            "half": pa.array([0.5, None], pa.float32()),
            "money": pa.array([Decimal("9.90"), None], pa.decimal128(5, 2)),
            "city": pa.array(["Kiel", None]).dictionary_encode(),
            "large": pa.array(["x", None], pa.large_string()),
            "day": pa.array([date(2026, 7, 1), None], pa.date64()),
            "wall": pa.array([at, None], pa.timestamp("ns")),
            "instant": pa.array([at.replace(tzinfo=UTC), None], pa.timestamp("ns", "America/New_York")),
            "flag": pa.array([True, None]),
            "nested": pa.array([{"a": [1]}, None]),
            "nothing": pa.nulls(2),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=1)
    found = fetch({"url": "x.parquet", "time": "naive_local"})
    assert found.rows[0] == {
        "small": 1, "huge": 2**64 - 1, "half": 0.5, "money": Decimal("9.90"), "city": "Kiel", "large": "x",
        "day": date(2026, 7, 1), "wall": datetime(2026, 7, 1, 10, tzinfo=UTC), "instant": at.replace(tzinfo=UTC),
        "flag": True, "nested": '{"a": [1]}', "nothing": None,
    }  # fmt: skip
    assert set(found.rows[1].values()) == {None}
    assert found.types["small"] == "int64"
    assert found.types["money"] == "decimal128(38, 2)"
    assert fetch({"url": "x.parquet"}).column("wall")[0] == at.replace(tzinfo=UTC)


def test_parquet_that_is_none_or_holds_bytes_is_refused(fetch, tmp_path: Path):
    (tmp_path / "x.parquet").write_text("not parquet at all")
    with pytest.raises(PermanentError, match=r'source "shipments" \(x\.parquet\): .*[Pp]arquet'):
        fetch({"url": "x.parquet"})
    pq.write_table(pa.table({"photo": [b"\x00"]}), tmp_path / "x.parquet")
    with pytest.raises(PermanentError, match='column "photo" holds bytes'):
        fetch({"url": "x.parquet"})


def test_an_empty_parquet_file_has_its_columns(fetch, tmp_path: Path):
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), tmp_path / "x.parquet")
    assert fetch({"url": "x.parquet"}).dataset.columns == ("a",)
