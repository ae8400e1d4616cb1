"""Memory stays flat, however many rows a source has: each story in a process of its own, whose peak is then known."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROWS = 1_000_000
# Megabytes by which the peak may grow, whatever the rows (issue 2, point 5).
MOST = 300

FETCH = """
import json, sys
from datetime import UTC, datetime
from pathlib import Path
# What a worker has loaded anyway.
import httpx, ijson, pyarrow.csv, pyarrow.parquet, sqlalchemy
from pipeline.adapters import datasets, sources
from pipeline.report import Source
from pipeline.timing import period

def peak():
    # Not getrusage's: that one is inherited from the process that started this.
    return next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

fields, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
before = peak()
dataset = sources.fetch(
    Source(**fields), name="rows", period=period("last_week", datetime(2026, 11, 16, tzinfo=UTC), "UTC"), parameters={},
    destination=folder / "rows.parquet", home=folder, database_url={"warehouse": "sqlite:///warehouse.db"}.__getitem__,
    timeout=600, max_bytes=10**10,
)
fetched = peak() - before
counts = datasets.count_keys(folder / "rows.parquet", "customer_id")
batch_of = {key: number // 10 for number, key in enumerate(counts)}
files = datasets.split(folder / "rows.parquet", "customer_id", batch_of, folder / "batches")
rows = sum(datasets.shape(file).rows for file in files.values())
assert sum(len(found) for _, found in datasets.rows_by_key(files[399], "customer_id")) == dataset.rows // 400
print(json.dumps({"rows": dataset.rows, "fetched": fetched, "keys": len(counts), "batches": len(files), "read": rows,
                  "peak": peak() - before}))
"""

QUERY = f"""
with recursive n(i) as (select 1 union all select i + 1 from n where i < {ROWS})
select i as id, i % 4000 as customer_id, 'customer ' || (i * 7919 % 100003) as name, i * 0.37 as amount,
       datetime(1767225600 + i, 'unixepoch') as at, case when i % 3 then 'note ' || i end as note
from n
"""


def measured(fields: dict[str, str], folder: Path) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", FETCH, json.dumps(fields), folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("late", ["i", "case when i = 1000000 then 'text' else i end"], ids=["numbers", "late text"])
def test_a_million_rows_of_a_query_need_no_more_memory_than_a_few(tmp_path: Path, late: str):
    (tmp_path / "warehouse.db").touch()
    found = measured({"database": "warehouse", "sql": QUERY.replace("i as id", f"{late} as id")}, tmp_path)
    assert found["rows"] == found["read"] == ROWS
    assert (found["keys"], found["batches"]) == (4000, 400)
    assert found["fetched"] < MOST
    assert found["peak"] < MOST


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_a_file_of_a_million_rows_neither(tmp_path: Path, ending: str):
    write(tmp_path / f"rows.{ending}")
    found = measured({"url": f"rows.{ending}"}, tmp_path)
    assert found["rows"] == found["read"] == ROWS
    assert found["peak"] < MOST


def write(path: Path) -> None:
    rows = [(i, i % 4000, f"note {i}") for i in range(ROWS)]
    if path.suffix == ".parquet":
        columns = dict(zip(("id", "customer_id", "note"), zip(*rows, strict=True), strict=True))
        # One row group, as some programs write it.
        pq.write_table(pa.table(columns), path, row_group_size=ROWS)
    elif path.suffix == ".csv":
        path.write_text("id,customer_id,note\n" + "".join(f"{i},{key},{note}\n" for i, key, note in rows))
    else:
        objects = ",".join(f'{{"id": {i}, "customer_id": {key}, "note": "{note}"}}' for i, key, note in rows)
        path.write_text(f"[{objects}]")
